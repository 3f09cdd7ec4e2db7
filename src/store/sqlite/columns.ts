/**
 * The columns of a table are declared once, by the properties of the model: `readSeq` is the column `read_seq`. The
 * SELECT and the function that reads its rows follow from the declaration.
 */

import { expressions } from '../literal.ts';

/** How a property is read, as SQL; an empty declaration reads the column as it is. */
export interface Column {
  readonly read?: string;
  readonly boolean?: true;
}

/** A row as `jsonRow` selects it: an array, read by the expressions of `cellsOf`. */
export interface Row<Model> {
  readonly of: Model;
}

export function columnOf(property: string): string {
  return property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** SQL for one JSON array of the declared columns, of the table with this name. */
export function jsonRow(table: string, columns: Readonly<Record<string, Column>>): string {
  const cells = Object.entries(columns).map(([property, { read }]) => read ?? `${table}.${columnOf(property)}`);
  return `json_array(${cells.join(', ')})`;
}

/** For `compileLiteral`: reads each property from `row`. */
export function cellsOf<Property extends string>(columns: Readonly<Record<Property, Column>>) {
  return expressions(Object.keys(columns) as Property[], (property, index) =>
    // SQLite has no booleans, but 0 and 1.
    columns[property].boolean ? `row[${index}] === 1` : `row[${index}]`,
  );
}
