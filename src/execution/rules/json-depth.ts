/** Deepest nesting of a value from a client; inputs of the schema are far below. */
export const MAX_NESTING = 50;

/** True if a parsed value nests too deep: `JSON.parse` reads any depth, `JSON.stringify` runs out of stack. */
export function nestsTooDeep(value: unknown, levels = MAX_NESTING): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => nestsTooDeep(inner, levels - 1));
}
