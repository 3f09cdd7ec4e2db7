import type { Values } from './clients.ts';
import type { Measurement } from './settings.ts';

/** What was measured on one server; the medians of the rounds, NaN for what is not known. */
export interface Row {
  readonly name: string;
  readonly values: Values;
}

/** CPU microseconds by thread and process, see meter.ts. */
const CPU = { cpuUs: 'all', mainUs: 'main', secondUs: '2nd', othersUs: 'others', mongodUs: 'mongod' };

/** Makes the table of a measurement. */
export function table({ title, columns, per }: Measurement, rows: readonly Row[]): string {
  const own = rows.at(-1);
  const cpu = Object.entries(CPU).filter(([value]) => !Number.isNaN(valueIn(own, value)));
  return align(title, [
    [
      '',
      ...columns.flatMap(({ title, compared }) => [title, ...(compared ? ['ratio'] : [])]),
      ...cpu.map(([, name], index) => (index === 0 ? `µs/${per}: ${name}` : name)),
      'clients',
      'elsewhere',
    ],
    ...rows.map((row) => [
      row.name,
      ...columns.flatMap(({ value, digits, compared }) => {
        const ratio = row === own ? '' : fixed(valueIn(own, value) / valueIn(row, value), 2);
        return [fixed(valueIn(row, value), digits), ...(compared ? [ratio] : [])];
      }),
      ...cpu.map(([value]) => microseconds(valueIn(row, value))),
      `${fixed(valueIn(row, 'clientsCpu'), 0)} %`,
      `${fixed(valueIn(row, 'elsewhereCpu'), 0)} %`,
    ]),
  ]);
}

/** Says which goals of a measurement are met, with a line of cells for each. */
export function judge({ title, columns, per, goals = [] }: Measurement, rows: readonly Row[]): string[][] {
  return goals.map(({ value, beside, atLeast = 0, atMost = Number.POSITIVE_INFINITY }) => {
    const reference = rows.find(({ name }) => name === beside);
    const ratio = valueIn(rows.at(-1), value) / (beside === undefined ? 1 : valueIn(reference, value));
    const name =
      columns.find((column) => column.value === value)?.title ?? `µs/${per}: ${CPU[value as keyof typeof CPU]}`;
    return [
      title.split(/[:,;]/)[0] ?? title,
      beside === undefined ? name : `${name} to ${beside}`,
      atLeast > 0 ? `>= ${atLeast}` : `<= ${atMost}`,
      fixed(ratio, beside === undefined && ratio > 10 ? 0 : 2),
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

function microseconds(value: number): string {
  return fixed(value, value < 20 ? 1 : 0);
}
