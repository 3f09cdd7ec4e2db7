import fc from 'fast-check';
import {
  type GraphQLArgument,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
} from 'graphql';
import { oddJson } from './arbitraries.ts';

/** An operation as a client sends it, variables as JSON text. */
export interface Operation {
  readonly query: string;
  readonly variables: string;
}

/** A literal of each scalar type, as GraphQL writes it; the test supplies texts and ids. */
const SCALARS: Readonly<Record<string, readonly string[]>> = {
  Int: ['1', '0', '2', '100', '-1', '101', '2147483648'],
  Boolean: ['true', 'false'],
  DateTime: ['"2024-02-05T18:58:32.921Z"', '"2024-02-31T00:00:00Z"', '"0001-01-01T00:00:00Z"'],
};
const LITERALS = [
  '""',
  '"x"',
  '0',
  '-1',
  '1',
  '100',
  '2147483648',
  '1.5',
  'true',
  'null',
  '[]',
  '{}',
  'OPEN',
  'nothing',
];
const DIRECTIVES = ['@skip(if: true)', '@skip(if: $b)', '@include(if: false)', '@include(if: "x")', '@nothing'];
const MAX_DEPTH = 6;

/**
 * Operations written along a schema, most of them valid: the choices are a list of numbers, so that fewer and smaller
 * ones are simpler.
 */
export function operations(schema: GraphQLSchema, names: readonly string[]): fc.Arbitrary<Operation> {
  const choices = fc.array(fc.nat({ max: 1000 }), { maxLength: 200, size: 'max' });
  return fc.tuple(choices, fc.array(oddJson, { maxLength: 3 })).map(([list, odd]) => {
    let at = 0;
    /** A number below `n`; 0, the simplest, when the list is used up. */
    const choose = (n: number) => (list[at++] ?? 0) % n;
    return writeOperation(
      schema,
      names.map((name) => JSON.stringify(name)),
      odd,
      choose,
    );
  });
}

function writeOperation(
  schema: GraphQLSchema,
  names: readonly string[],
  odd: readonly string[],
  choose: (n: number) => number,
): Operation {
  const one = <T>(list: readonly T[]): T => list[choose(list.length)] as T;
  /** Whether it is to be wrong in some places; the others are nearly always valid. */
  const wild = choose(3) === 2;
  const seldom = (n: number) => wild && choose(n) === n - 1;
  const declared = new Map<string, string>(wild ? [['b', 'Boolean = true']] : []);
  const values = new Map<string, string>();
  const fragments: string[] = [];
  let aliases = 0;

  /** A value of the type, as GraphQL writes it or as JSON. */
  function value(type: GraphQLInputType, depth: number, json: boolean): string {
    if (seldom(8)) return json ? 'null' : one(LITERALS);
    const bare = getNullableType(type);
    if (isListType(bare))
      return `[${Array.from({ length: choose(3) }, () => value(bare.ofType, depth + 1, json)).join()}]`;
    const named = (name: string) => (json ? JSON.stringify(name) : name);
    if (isEnumType(bare)) return named(one(bare.getValues()).name);
    if (isInputObjectType(bare) && depth < MAX_DEPTH) {
      const fields = Object.values(bare.getFields());
      // Of those of which exactly one is to be given, one.
      const given = bare.isOneOf && !seldom(6) ? [one(fields)] : fields.filter(isGiven);
      return `{${given.map((field) => `${named(field.name)}: ${value(field.type, depth + 1, json)}`).join()}}`;
    }
    return one(SCALARS[String(bare)] ?? names);
  }

  function isGiven({ type }: { type: GraphQLInputType }): boolean {
    return isNonNullType(type) || choose(3) === 2;
  }

  function variable(type: GraphQLInputType): string {
    const name = `v${declared.size}`;
    declared.set(name, seldom(4) ? one(['Int', 'String', '[ID!]', 'Nothing', 'Message']) : String(type));
    const json = odd.length > 0 && choose(2) === 1 ? one(odd) : value(type, 0, true);
    if (!seldom(5)) values.set(name, json);
    return `$${name}`;
  }

  function argumentsOf(args: readonly GraphQLArgument[]): string {
    const given = args.filter(isGiven);
    if (given.length === 0) return '';
    const argument = ({ name, type }: GraphQLArgument) =>
      `${name}: ${choose(3) === 2 ? variable(type) : value(type, 0, false)}`;
    return `(${given.map(argument).join(', ')})`;
  }

  function condition(): string {
    const name = `c${declared.size}`;
    declared.set(name, 'Boolean!');
    values.set(name, choose(2) === 1 ? 'true' : 'false');
    return `@${one(['include', 'skip'])}(if: $${name})`;
  }

  function selection(type: GraphQLNamedType, depth: number): string {
    const fields = 'getFields' in type && isCompositeType(type) ? Object.values(type.getFields()) : [];
    const types: GraphQLNamedType[] = isAbstractType(type) ? [type, ...schema.getPossibleTypes(type)] : [type];
    const parts = Array.from({ length: type === schema.getSubscriptionType() ? 1 : 1 + choose(3) }, (): string => {
      const kind = choose(10);
      if (seldom(10)) return 'nothing';
      if (kind === 9) return '__typename';
      const directive = seldom(8) ? ` ${one(DIRECTIVES)}` : choose(9) === 8 ? ` ${condition()}` : '';
      if (kind === 8 && depth < MAX_DEPTH) {
        if (choose(3) === 2) return `...${directive} ${selection(type, depth + 1)}`;
        const on = one(types);
        return `... on ${wild ? one([on.name, 'Message']) : on.name}${directive} ${selection(on, depth + 1)}`;
      }
      if (kind === 7 && depth < MAX_DEPTH) {
        // Reserves its own place first, as others may be nested inside; naming a later one could make a cycle.
        const index = fragments.push('') - 1;
        const on = one(types);
        fragments[index] = `fragment F${index} on ${on.name} ${selection(on, depth + 1)}`;
        return `...F${index + (seldom(4) ? 1 : 0)}${directive}`;
      }
      if (fields.length === 0) return '__typename';
      const field = one(fields);
      const inner = getNamedType(field.type);
      if (isCompositeType(inner) && depth >= MAX_DEPTH) return '__typename';
      const given = argumentsOf(field.args);
      // Two of one name with different arguments would be refused.
      const alias = seldom(4) ? one(['a: ', '__proto__: ', 'constructor: ', 'length: ']) : given && `a${aliases++}: `;
      const below = isCompositeType(inner) ? ` ${selection(inner, depth + 1)}` : '';
      return `${alias}${field.name}${given}${directive}${below}`;
    });
    return `{ ${parts.join(' ')} }`;
  }

  const [kind, root] = one([
    ['query', schema.getQueryType()],
    ['mutation', schema.getMutationType()],
    ['subscription', schema.getSubscriptionType()],
  ] as const);
  const body = root ? selection(root, 0) : '{ __typename }';
  const definitions = [...declared].map(([name, type]) => `$${name}: ${type}`).join(', ');
  const variables = [...values].map(([name, json]) => `${JSON.stringify(name)}:${json}`).join();
  return { query: `${kind} Q(${definitions}) ${body} ${fragments.join(' ')}`, variables: `{${variables}}` };
}
