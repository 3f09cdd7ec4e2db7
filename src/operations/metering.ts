import {
  defaultFieldResolver,
  type GraphQLFieldResolver,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isListType,
  isObjectType,
} from 'graphql';
import type { Context } from './context.ts';

type Resolve = GraphQLFieldResolver<unknown, Context>;

/** Scalars whose values may be long; all others are short. */
const TEXTS: ReadonlySet<string> = new Set(['String', 'ID', 'EmailAddress']);
/** Scalars that no resolver works long for. */
const QUICK: ReadonlySet<string> = new Set(['ID', 'Boolean']);
/** Bytes that each element of a list counts as, beside the texts in it. */
const ELEMENT_BYTES = 16;

/**
 * Makes every field report what it adds to the answer while the answer is made, and every field that is worked for
 * wait for its slice of the event loop. So an answer that becomes too large ends early, and a long one yields.
 */
export function meter(schema: GraphQLSchema): void {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue;
    for (const field of Object.values(type.getFields())) {
      const bytesOf = createSizer(field.type);
      const isLong = field.resolve !== undefined && !QUICK.has(getNamedType(field.type).name);
      if (bytesOf || isLong) field.resolve = metered(field.resolve ?? defaultFieldResolver, bytesOf, isLong);
    }
  }
}

function metered(resolve: Resolve, bytesOf: ((value: unknown) => number) | null, isLong: boolean): Resolve {
  const resolveAndCount: Resolve = (source, args, context, info) => {
    const value: unknown = resolve(source, args, context, info);
    if (!bytesOf || !context.spend) return value;
    const count = (made: unknown) => {
      context.spend?.(bytesOf(made));
      return made;
    };
    return value instanceof Promise ? value.then(count) : count(value);
  };
  if (!isLong) return resolveAndCount;
  return (source, args, context, info) => {
    const turn = context.slice?.();
    return turn
      ? turn.then(() => resolveAndCount(source, args, context, info))
      : resolveAndCount(source, args, context, info);
  };
}

/**
 * Gives the bytes a value of this type takes at least, what is inside its objects left out; null for what is always
 * short.
 */
function createSizer(type: GraphQLOutputType): ((value: unknown) => number) | null {
  const isText = TEXTS.has(getNamedType(type).name);
  if (!isListType(getNullableType(type))) return isText ? lengthOf : null;
  return (value) => {
    if (!Array.isArray(value)) return 0;
    let bytes = value.length * ELEMENT_BYTES;
    if (isText) for (const text of value) bytes += lengthOf(text);
    return bytes;
  };
}

function lengthOf(value: unknown): number {
  return typeof value === 'string' ? value.length : 0;
}
