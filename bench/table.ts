import type { Values } from './clients.ts';
import type { Measurement } from './settings.ts';

/** What was measured on one server; the medians of the rounds, NaN for what is not known. */
export interface Row {
  readonly name: string;
  readonly values: Values;
}

/** Makes the table of a measurement. Beside each value stands the ratio of the last row's to it. */
export function table({ title, columns }: Measurement, rows: readonly Row[]): string {
  const own = rows.at(-1);
  return align(title, [
    ['', ...columns.flatMap((column) => [column.title, `${own?.name}/ref`]), 'CPU server', 'CPU clients'],
    ...rows.map((row) => [
      row.name,
      ...columns.flatMap(({ value, digits }) => [
        fixed(valueIn(row, value), digits),
        row === own ? '' : fixed(valueIn(own, value) / valueIn(row, value), 2),
      ]),
      percent(valueIn(row, 'serverCpu')),
      percent(valueIn(row, 'clientsCpu')),
    ]),
  ]);
}

/** Says which goals of a measurement are met, with a line of cells for each. */
export function judge({ title, columns, goals = [] }: Measurement, rows: readonly Row[]): string[][] {
  return goals.map(({ value, beside, atLeast = 0, atMost = Number.POSITIVE_INFINITY }) => {
    const reference = rows.find(({ name }) => name === beside);
    const ratio = valueIn(rows.at(-1), value) / (beside === null ? 1 : valueIn(reference, value));
    return [
      title.split(/[,;]/)[0] ?? title,
      `${columns.find((column) => column.value === value)?.title}${beside === null ? '' : ` to ${beside}`}`,
      atLeast > 0 ? `>= ${atLeast}` : `<= ${atMost}`,
      fixed(ratio, 2),
      ratio >= atLeast && ratio <= atMost ? 'met' : 'missed',
    ];
  });
}

/** Puts lines of cells below each other. */
export function align(title: string, lines: readonly (readonly string[])[]): string {
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  const text = lines.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  '),
  );
  return `\n${title}\n${text.map((line) => `  ${line}`).join('\n')}`;
}

function valueIn(row: Row | undefined, value: string): number {
  return row?.values[value] ?? Number.NaN;
}

function fixed(value: number, digits: number): string {
  return Number.isNaN(value) ? 'n/a' : value.toFixed(digits);
}

function percent(value: number): string {
  return `${fixed(value, value < 10 ? 1 : 0)} %`;
}
