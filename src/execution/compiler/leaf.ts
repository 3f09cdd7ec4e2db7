import { GraphQLBoolean, GraphQLID, GraphQLInt, type GraphQLLeafType, GraphQLString, isEnumType } from 'graphql';
import type { Run } from './run.ts';

/** Characters that JSON escapes, and surrogates, which it escapes if unpaired. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON escapes control characters
const ESCAPED = /["\\\u0000-\u001f\ud800-\udfff]/;

/** The JSON of a string. The search for characters to escape takes half as long as `JSON.stringify`. */
function quote(text: string): string {
  return ESCAPED.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** The JSON of the usual values of a type; null for others. */
type WriteUsual = (value: unknown) => string | null;

const writeText: WriteUsual = (value) => (typeof value === 'string' ? quote(value) : null);
const USUAL = new Map<GraphQLLeafType, WriteUsual>([
  [GraphQLString, writeText],
  [GraphQLID, writeText],
  [GraphQLBoolean, (value) => (typeof value === 'boolean' ? String(value) : null)],
  // GraphQL `Int` has 32 bits.
  [GraphQLInt, (value) => (typeof value === 'number' && (value | 0) === value ? String(value) : null)],
]);

/** A writer for the values of a scalar or an enum. It throws for an invalid value. */
export function leafWriter(type: GraphQLLeafType): (value: unknown, run: Run) => string {
  const values = isEnumType(type) ? type.getValues() : [];
  const names = new Map<unknown, string>(values.map(({ name, value }) => [value, quote(name)]));
  const writeUsual = USUAL.get(type) ?? ((value) => names.get(value) ?? null);
  return (value, run) => {
    const text = writeUsual(value) ?? writeUnusual(type, value);
    run.count(text.length);
    return text;
  };
}

function writeUnusual(type: GraphQLLeafType, value: unknown): string {
  const serialized: unknown = type.serialize(value);
  if (serialized === null || serialized === undefined) throw new Error(`${type.name} was serialized to nothing`);
  return typeof serialized === 'string' ? quote(serialized) : JSON.stringify(serialized);
}
