import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import {
  buildSchema,
  type DocumentNode,
  execute,
  GraphQLError,
  type GraphQLFieldResolver,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNullableType,
  getOperationAST,
  getVariableValues,
  isAbstractType,
  isEnumType,
  isListType,
  isObjectType,
  type OperationDefinitionNode,
  parse,
  validate,
} from 'graphql';
import { expect, onTestFinished, test } from 'vitest';
import { compile } from '../../../src/execution/compiler/compiler.ts';
import type { RunOptions } from '../../../src/execution/compiler/run.ts';
import { createSchema } from '../../../src/graphql/schema.ts';
import { operations } from '../../support/operations.ts';

/** A schema of all kinds of types, in which null is allowed in some places and not in others. */
const createAllKinds = () =>
  buildSchema(`
    interface Named { name: String! }
    interface Deep implements Named { name: String! inner: Deep! }
    type Cat implements Named { name: String! lives: Int kittens: [Cat!] owner: Person }
    type Person implements Named & Deep {
      name: String! inner: Deep! age: Int! pets(first: Int = 2): [Pet!]! friend: Person colors: [[Color!]]
    }
    type Rock { weight: Float! tags: [ID!]! any: Any strict: [Any!]! }
    union Pet = Cat | Person | Rock
    enum Color { RED GREEN BLUE }
    scalar Any
    input Where @oneOf { id: ID at: At }
    input At { x: Int! = 3 y: [Float!] color: Color = RED }
    type Query {
      named(where: Where): Named
      pets(first: Int, ids: [ID!] = ["a"]): [Pet]
      person(id: ID!): Person!
      deep: Deep
      rock: Rock
      flag(on: Boolean! = true, color: Color, text: String): Boolean!
    }
    type Mutation { add(at: At): Rock name(to: String!): Person! count: Int! }
    type Subscription { pet: Pet! rock: Rock }
  `);

/** A number that is the same for the same parts. */
function hash(...parts: readonly unknown[]): number {
  let sum = 2166136261;
  for (const character of JSON.stringify(parts)) sum = Math.imul(sum ^ character.charCodeAt(0), 16777619);
  return (sum ^ (sum >>> 13)) >>> 0;
}

const TEXTS = ['', 'x', 'a "quoted" \\ \u2028 \u{1F30D}\n', '\ud800', '__proto__', '12'];
const ODD = [{ a: 1 }, Number.NaN, 2 ** 40, 1.5, 'x', true, [], new Map(), -0, ''];

/** A promise that may be left. */
function later(value: () => unknown): Promise<unknown> {
  const promise = Promise.resolve().then(value);
  promise.catch(() => {});
  return promise;
}

/** Values for the fields of a schema: mostly of the right type, and the same for the same seed. */
class Data {
  readonly #schema: GraphQLSchema;
  readonly #promises: boolean;

  /** Adds resolvers to every other field; the values of the others are in their objects. */
  constructor(schema: GraphQLSchema, promises: boolean) {
    this.#schema = schema;
    this.#promises = promises;
    for (const type of Object.values(schema.getTypeMap())) {
      if (isAbstractType(type))
        type.resolveType = ({ type, seed }) => (promises && seed % 5 === 0 ? Promise.resolve(type) : type);
      if (!isObjectType(type) || type.name.startsWith('__')) continue;
      for (const [i, field] of Object.values(type.getFields()).entries()) {
        field.resolve = (source, args) => this.#value(field.type, hash(source?.seed, field.name, args));
        if (i % 2 === 1) delete field.resolve;
      }
    }
  }

  object(type: GraphQLObjectType, seed: number): object {
    const object = { seed, type: type.name };
    for (const field of Object.values(type.getFields())) {
      if (field.resolve) continue;
      const get = (args?: unknown) => this.#value(field.type, hash(seed, field.name, args));
      Object.defineProperty(object, field.name, seed % 3 === 0 ? { value: get } : { get });
    }
    return object;
  }

  #value(type: GraphQLOutputType, seed: number): unknown {
    const choose = (n: number, of: string) => hash(seed, of) % n;
    const kind = choose(80, 'kind');
    if (kind === 0) throw new Error(`thrown ${seed}`);
    if (kind === 1) throw new GraphQLError(`refused ${seed}`);
    if (kind === 2) return new Error(`given ${seed}`);
    if (this.#promises && kind === 3) return later(() => Promise.reject(new Error(`rejected ${seed}`)));
    if (kind === 4) return ODD[choose(ODD.length, 'odd')];
    if (kind < 8) return null;
    if (kind === 8) return undefined;
    if (this.#promises && kind < 20) return later(() => this.#value(type, hash(seed)));
    const bare = getNullableType(type);
    if (isListType(bare)) {
      const element = (_: unknown, i: number) => {
        try {
          return this.#value(bare.ofType, hash(seed, i));
        } catch (error) {
          return error;
        }
      };
      const elements = Array.from({ length: choose(4, 'length') }, element);
      return choose(5, 'set') === 0 ? new Set(elements) : elements;
    }
    if (isAbstractType(bare)) {
      const types = this.#schema.getPossibleTypes(bare);
      return this.object(types[choose(types.length, 'type')] as GraphQLObjectType, seed);
    }
    if (isObjectType(bare)) return this.object(bare, seed);
    if (isEnumType(bare)) return bare.getValues()[choose(bare.getValues().length, 'value')]?.value;
    if (bare.name === 'Boolean') return choose(2, 'value') === 0;
    if (['Int', 'DateTime'].includes(bare.name)) return choose(100, 'value');
    if (bare.name === 'Float') return choose(100, 'value') / 8;
    return TEXTS[choose(TEXTS.length, 'text')];
  }
}

/** Errors as clients see them: messages of internal errors are masked. */
const shown = (errors: readonly GraphQLError[]) =>
  errors.map((error) => {
    const fault = !((error.originalError ?? error) instanceof GraphQLError) || /^Abstract type/.test(error.message);
    return { ...error.toJSON(), message: fault ? 'fault' : error.message };
  });

function validDocument(schema: GraphQLSchema, query: string): DocumentNode | null {
  try {
    const document = parse(query);
    return validate(schema, document).length === 0 ? document : null;
  } catch {
    return null;
  }
}

/** The paths that are null because of an error, at its own path or a parent's. */
function nullPlaces(data: unknown, errors: readonly GraphQLError[]): Set<string> {
  const placeOf = ({ path = [] }: GraphQLError) => {
    let value = data;
    const length = path.findIndex((key) => {
      if (value === null) return true;
      value = (value as Record<string, unknown>)[key];
      return false;
    });
    return JSON.stringify(length === -1 ? path : path.slice(0, length));
  };
  return new Set(errors.map(placeOf).sort());
}

/** Calls back for promises that are left to fail unseen, instead of the test runner. */
function onUnhandled(listener: (error: unknown) => void): void {
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', listener);
  onTestFinished(() => {
    process.removeAllListeners('unhandledRejection');
    for (const other of others) process.on('unhandledRejection', other);
  });
}

test.each([
  ['at once, of a schema with all kinds of types', createAllKinds(), false],
  ['at once, of the schema that is served', createSchema(), false],
  ['later, of a schema with all kinds of types', createAllKinds(), true],
  ['later, of the schema that is served', createSchema(), true],
])('a compiled operation writes the result of graphql-js: %s', async (_, schema, promises) => {
  const data = new Data(schema, promises);
  const unhandled: unknown[] = [];
  onUnhandled((error) => unhandled.push(error));
  await fc.assert(
    fc.asyncProperty(operations(schema, ['a', 'b']), fc.nat(), async ({ query, variables }, seed) => {
      const document = validDocument(schema, query);
      const operation = document && getOperationAST(document);
      if (!operation) return;
      const rootValue = data.object(schema.getRootType(operation.operation) as GraphQLObjectType, seed);
      const variableValues = JSON.parse(variables);
      const { coerced } = getVariableValues(schema, operation.variableDefinitions ?? [], variableValues);
      if (!coerced) return;
      const expected = await execute({ schema, document, rootValue, variableValues });
      // Of graphql-js's own promises some are left.
      await setImmediate();
      unhandled.length = 0;
      const options = { root: rootValue, context: {}, variables: coerced, max: 1e9, slice: () => null };
      const run = compile(schema, document, operation);
      for (let i = 0; i < 2; i++) {
        const { data, errors } = await run(options);
        expect(data).toBe(JSON.stringify(expected.data));
        // Of several errors that make the same path null, the first is reported.
        if (promises)
          expect(nullPlaces(expected.data, errors)).toEqual(nullPlaces(expected.data, expected.errors ?? []));
        else expect(shown(errors)).toEqual(shown(expected.errors ?? []));
      }
      await setImmediate();
      expect(unhandled).toEqual([]);
    }),
    { numRuns: 1000 },
  );
});

/** The output of an operation, with resolvers by type and field. */
function runWith(
  sdl: string,
  resolvers: Record<string, Record<string, GraphQLFieldResolver<unknown, unknown>>>,
  query: string,
  options: Partial<RunOptions> = {},
) {
  const schema = buildSchema(sdl);
  for (const [type, fields] of Object.entries(resolvers))
    for (const [name, resolve] of Object.entries(fields))
      Object.assign((schema.getType(type) as GraphQLObjectType).getFields()[name] ?? {}, { resolve });
  const document = parse(query);
  const [operation] = document.definitions as OperationDefinitionNode[];
  if (!operation) throw new Error('there is no operation');
  const compiled = compile(schema, document, operation);
  const run = (more: Partial<RunOptions> = {}) =>
    compiled({ context: {}, variables: {}, max: 1e9, slice: () => null, ...options, ...more });
  return run;
}

test('the fields of a mutation run one after the other, each once, also if one fails', async () => {
  const begun: string[] = [];
  const ended: string[] = [];
  const resolve: GraphQLFieldResolver<unknown, unknown> = async (_, { name }) => {
    expect(ended).toEqual(begun);
    begun.push(name);
    await setImmediate();
    ended.push(name);
    if (name === 'b') throw new Error('b failed');
    return name;
  };
  const query = 'mutation { a: do(name: "a") b: do(name: "b") c: do(name: "c") }';
  const run = runWith(
    'type Query { a: Int } type Mutation { do(name: String): String }',
    { Mutation: { do: resolve } },
    query,
  );
  expect((await run()).data).toBe('{"a":"a","b":null,"c":"c"}');
  expect(begun).toEqual(['a', 'b', 'c']);
});

test('a result that becomes too large ends early at any nullable field', async () => {
  let calls = 0;
  const text = () => {
    calls++;
    return 'x'.repeat(1000);
  };
  const run = runWith(
    'type Query { list: [Item] } type Item { text: String }',
    { Query: { list: () => Array.from({ length: 100 }, () => ({})) }, Item: { text } },
    '{ list { text } }',
  );
  expect(() => run({ max: 10_000 })).toThrow('larger than 10000 bytes');
  expect(calls).toBe(10);
  await expect(Promise.resolve(run()).then(({ data }) => data.length)).resolves.toBeGreaterThan(100_000);
});

test('a rejected promise that is no longer awaited, as the result became too large, is handled', async () => {
  const unhandled: unknown[] = [];
  onUnhandled((error) => unhandled.push(error));
  const run = runWith(
    'type Query { later: [String] long: String }',
    { Query: { later: async () => ['x'], long: () => 'x'.repeat(1000) } },
    '{ later long }',
  );
  expect(() => run({ max: 100 })).toThrow('larger than 100 bytes');
  await setImmediate();
  expect(unhandled).toEqual([]);
});

test('other work runs between pieces of a long list, and before slow resolvers', async () => {
  let slices = 0;
  const slice = () => {
    slices++;
    return setImmediate();
  };
  const list = Array.from({ length: 100 }, (_, i) => ({ text: `${i}${'x'.repeat(10_000)}` }));
  const run = runWith(
    'type Query { list: [Item!]! } type Item { text: String! }',
    { Query: { list: () => list } },
    '{ list { text } }',
    { slice },
  );
  expect((await run()).data).toBe(JSON.stringify({ list }));
  expect(slices).toBe(14);
  expect((await run({ sliceFields: true })).data).toBe(JSON.stringify({ list }));
  expect(slices).toBe(29);
});

test('a resolver gets its own copy of arguments that it could change', async () => {
  const taken: unknown[][] = [];
  const take = (_: unknown, { list, first }: Record<string, unknown>) => {
    taken.push(list as unknown[]);
    (list as unknown[]).push('mine');
    return first;
  };
  const run = runWith(
    'type Query { take(list: [String], first: Int = 3): Int }',
    { Query: { take } },
    '{ take(list: ["a"]) }',
  );
  for (let i = 0; i < 2; i++) expect(await run()).toEqual({ data: '{"take":3}', errors: [] });
  expect(taken).toEqual([
    ['a', 'mine'],
    ['a', 'mine'],
  ]);
});

test('the selection is decided again for other values of the variables', async () => {
  const names = [...'abc'];
  const query = `query (${names.map((name) => `$${name}: Boolean!`).join()}) {
    ${names.map((name) => `${name}: one @include(if: $${name})`).join(' ')} }`;
  const run = runWith('type Query { one: Int }', { Query: { one: () => 1 } }, query);
  for (let turn = 0; turn < 2; turn++) {
    for (let bits = 0; bits < 8; bits++) {
      const variables = Object.fromEntries(names.map((name, i) => [name, (bits >> i) % 2 === 1]));
      const expected = Object.fromEntries(names.filter((name) => variables[name]).map((name) => [name, 1]));
      expect(await run({ variables })).toEqual({ data: JSON.stringify(expected), errors: [] });
    }
  }
});
