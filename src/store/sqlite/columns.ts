/**
 * The columns of a table are declared once, by the properties of the model: `readSeq` is the column `read_seq`. The
 * SELECT and the literal that reads its rows follow from the declaration, and the compiler checks one against the
 * other.
 */

/** How a property is read, as SQL; an empty declaration reads the column as it is. */
export interface Column {
  readonly read?: string;
}

/** The value of one property in a row; of a type of its own, so that no other property can be given it. */
interface Cell<Property> {
  readonly of: Property;
}

/** A row as `jsonRow` selects it: an array, typed by property and read through `indexesOf`. */
export type Row<Model> = { readonly [Property in keyof Model]: Cell<Property> };

export function columnOf(property: string): string {
  return property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** SQL for one JSON array of the declared columns, of the table with this name. */
export function jsonRow(table: string, columns: Readonly<Record<string, Column>>): string {
  const cells = Object.entries(columns).map(([property, { read }]) => read ?? `${table}.${columnOf(property)}`);
  return `json_array(${cells.join(', ')})`;
}

/** The index of each property in a row. */
export function indexesOf<P extends string>(
  columns: Readonly<Record<P, Column>>,
): { readonly [Property in P]: Property } {
  return Object.fromEntries(Object.keys(columns).map((property, index) => [property, index])) as never;
}
