/** How deep a value from a client may nest; no input of the schema comes near. */
const MAX_NESTING = 50;

/** Whether JSON that was read can be written again: reading takes any depth, writing runs out of stack. */
export function nestsTooDeep(value: unknown, levels = MAX_NESTING): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => nestsTooDeep(inner, levels - 1));
}
