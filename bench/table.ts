/** What was measured on one server; the medians of the rounds. */
export interface Row {
  readonly name: string;
  /** As many as there are columns. */
  readonly values: readonly number[];
  /** Percent of one core; null where it is not known. */
  readonly serverCpu: number | null;
  readonly clientsCpu: number;
}

/** Prints a measurement. Beside each value stands the ratio of the last row's to it. */
export function table(
  title: string,
  columns: readonly { readonly title: string; readonly digits: number }[],
  rows: readonly Row[],
): string {
  const own = rows.at(-1);
  const ratioTitle = `${own?.name}/ref`;
  const lines = [
    ['', ...columns.flatMap((column) => [column.title, ratioTitle]), 'CPU server', 'CPU clients'],
    ...rows.map((row) => [
      row.name,
      ...columns.flatMap(({ digits }, index) => {
        const value = row.values[index] ?? Number.NaN;
        return [value.toFixed(digits), row === own ? '' : ((own?.values[index] ?? Number.NaN) / value).toFixed(2)];
      }),
      row.serverCpu === null ? 'n/a' : `${row.serverCpu.toFixed(0)} %`,
      `${row.clientsCpu.toFixed(0)} %`,
    ]),
  ];
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  const text = lines.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  '),
  );
  return `\n${title}\n${text.map((line) => `  ${line}`).join('\n')}`;
}
