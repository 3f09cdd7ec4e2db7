import {
  GraphQLBoolean,
  type GraphQLEnumType,
  GraphQLID,
  GraphQLInt,
  type GraphQLLeafType,
  GraphQLString,
  isEnumType,
} from 'graphql';

/** The JSON of a value that is usual for a type; null for every other. */
export type WriteUsual = (value: unknown) => string | null;

const writeString: WriteUsual = (value) => (typeof value === 'string' ? JSON.stringify(value) : null);

/** What each built-in type serialises as it is. */
const USUAL = new Map<GraphQLLeafType, WriteUsual>([
  [GraphQLString, writeString],
  [GraphQLID, writeString],
  [GraphQLBoolean, (value) => (value === true ? 'true' : value === false ? 'false' : null)],
  // 32 bits.
  [GraphQLInt, (value) => (typeof value === 'number' && (value | 0) === value ? `${value}` : null)],
]);

export function usualOf(type: GraphQLLeafType): WriteUsual {
  return isEnumType(type) ? valuesOf(type) : (USUAL.get(type) ?? (() => null));
}

function valuesOf(type: GraphQLEnumType): WriteUsual {
  const names = new Map<unknown, string>(type.getValues().map(({ name, value }) => [value, JSON.stringify(name)]));
  return (value) => names.get(value) ?? null;
}

/** The JSON of any value of the type. @throws where it is none */
export function writeLeaf(type: GraphQLLeafType, value: unknown): string {
  if (value instanceof Error) throw value;
  const serialized: unknown = type.serialize(value);
  if (serialized === null || serialized === undefined) throw new Error(`${type.name} was serialized to nothing`);
  return JSON.stringify(serialized) ?? 'null';
}
