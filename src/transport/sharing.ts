import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  type GraphQLError,
  type GraphQLObjectType,
  type GraphQLSchema,
  getOperationAST,
  separateOperations,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import type { Room } from '../chat/feed.ts';
import type { Context } from '../operations/context.ts';
import { createResponseBudget, LARGE_BYTES, type ResponseBudget, writeJson } from './response-writer.ts';
import { isMarked, type Split, splitSubscription } from './split-selection.ts';

/** Hides what clients are not to see in the errors of a result. */
export type Masked = (result: ExecutionResult) => ExecutionResult;

/** How long the fields of an event are kept for the other viewers, whose turns come in slices, in milliseconds. */
const FIELDS_MS = 250;

/** JSON in UTF-8, in parts that are not to be changed. */
export type Json = readonly Buffer[];

/** One subscription as many subscribers run it: executed, and its JSON made, once for each event. */
export interface Shared {
  /** The JSON of the result for an event. */
  json(event: object): Json | Promise<Json>;
  /** To be called once by each who joined. */
  leave(): void;
}

export interface Sharing {
  /** The subscription as it is shared now: with all viewers as far as its result is the same for them. */
  join(args: ExecutionArgs): Shared;
  /** Whether a query is about one conversation alone, and the same for all who may see that. */
  ofOneConversation(document: DocumentNode, operationName: string | null | undefined): boolean;
}

export interface SharingOptions {
  readonly schema: GraphQLSchema;
  readonly masked: Masked;
  /** Bytes that the JSON of one event may have. */
  readonly responseBytes: number;
  /** As in `FairScheduler`. */
  readonly slice: (user: string) => Promise<void> | null;
}

/** The JSON of each field of an event, by its key; null where there are errors, or it is too large. */
type Fields = ReadonlyMap<string, Buffer> | null;

/**
 * Something made once for each event, for all who ask for it soon. It is not kept longer: results may be many and
 * large.
 */
class Memo<Value> {
  readonly #make: (event: object) => Value | Promise<Value>;
  readonly #later: (forget: () => void) => unknown;
  readonly #made = new Map<object, Value | Promise<Value>>();

  /** @param later calls back when what was made until then is to be forgotten */
  constructor(make: (event: object) => Value | Promise<Value>, later: (forget: () => void) => unknown) {
    this.#make = make;
    this.#later = later;
  }

  get(event: object): Value | Promise<Value> {
    if (this.#made.size === 0) this.#later(() => this.#made.clear());
    return getOrMake(this.#made, event, () => this.#make(event));
  }

  /** Forgets what was made for an event when this turn of the event loop is over. */
  forget(event: object): void {
    setImmediate(() => this.#made.delete(event));
  }
}

/** What is kept for each key as long as it is used. */
class Kept<Value> {
  readonly #entries = new Map<string, { readonly value: Value; users: number }>();

  /** The value of the key, made unless it is kept, and what gives it back. */
  use(key: string, make: () => Value): { readonly value: Value; leave(): void } {
    const entry = getOrMake(this.#entries, key, () => ({ value: make(), users: 0 }));
    entry.users++;
    const leave = () => {
      if (--entry.users === 0) this.#entries.delete(key);
    };
    return { value: entry.value, leave };
  }
}

/** What is known, and kept, of one operation of a document. */
interface Operation extends Dependencies {
  readonly split: Split | null;
  readonly whole: Kept<Memo<Json>>;
  readonly fields: Kept<Memo<Fields>>;
}

/**
 * Shares what subscribers of the same document with the same values of the variables that the result depends on get for
 * an event: with all of them what the schema does not mark as `@perViewer`, the rest with the subscriptions of one
 * viewer.
 */
export function createSharing({ schema, masked, responseBytes, slice }: SharingOptions): Sharing {
  const operations = new WeakMap<DocumentNode, Map<string, Operation>>();

  function operationOf(document: DocumentNode, operationName: string | null | undefined): Operation {
    const node = getOperationAST(document, operationName);
    const name = node?.name?.value ?? '';
    return getOrMake(
      getOrMake(operations, document, () => new Map<string, Operation>()),
      name,
      () => {
        const found = findDependencies(schema, separateOperations(document)[name] ?? document);
        const split = found.perViewer && node ? splitSubscription(schema, document, node) : null;
        return { ...found, split, whole: new Kept(), fields: new Kept() };
      },
    );
  }

  function executed(args: ExecutionArgs, contextOf: ContextOf, event: object, budget: ResponseBudget) {
    const result = execute({ ...args, rootValue: event, contextValue: contextOf(args.contextValue, budget) });
    return result instanceof Promise ? result.then(masked) : masked(result);
  }

  function failed(error: unknown): Json {
    return [Buffer.from(JSON.stringify(masked({ errors: [error as GraphQLError] })))];
  }

  /** The whole result of an event. */
  function whole(args: ExecutionArgs, contextOf: ContextOf): Memo<Json> {
    return new Memo((event) => {
      const budget = createResponseBudget(responseBytes);
      const write = (result: ExecutionResult) =>
        then(
          writeJson(result, budget, () => slice('')),
          (json): Json => [json],
        );
      return rescued(() => then(executed(args, contextOf, event, budget), write), failed);
      // Followers who keep up ask in the same turn.
    }, setImmediate);
  }

  /** The fields of an event that a part of the operation selects. */
  function fields(args: ExecutionArgs, contextOf: ContextOf, { root }: Split): Memo<Fields> {
    const memo: Memo<Fields> = new Memo(
      (event) => {
        const budget = createResponseBudget(responseBytes);
        const write = ({ data, errors }: ExecutionResult): Fields | Promise<Fields> => {
          if (budget.spent > LARGE_BYTES) memo.forget(event);
          const value = data?.[root];
          if (errors || typeof value !== 'object' || value === null) return null;
          const parts: [string, Buffer | Promise<Buffer>][] = Object.entries(value).map(([key, field]) => [
            key,
            writeJson(field, budget, () => slice('')),
          ]);
          if (parts.every((part): part is [string, Buffer] => part[1] instanceof Buffer)) return new Map(parts);
          return Promise.all(parts.map(async ([key, json]) => [key, await json] as const)).then((all) => new Map(all));
        };
        return rescued(
          () => then(executed(args, contextOf, event, budget), write),
          () => null,
        );
      },
      (forget) => setTimeout(forget, FIELDS_MS).unref(),
    );
    return memo;
  }

  /** Puts the fields of an event together; null where there were errors, or they are too large together. */
  function joined({ root, keys }: Split, shared: Fields, own: Fields): Json | null {
    if (!shared || !own) return null;
    const parts: Buffer[] = [];
    let bytes = 0;
    for (const key of keys) {
      const json = shared.get(key) ?? own.get(key);
      if (!json) continue;
      const before = parts.length === 0 ? `{"data":{${JSON.stringify(root)}:{` : ',';
      parts.push(Buffer.from(`${before}${JSON.stringify(key)}:`), json);
      bytes += json.length;
    }
    parts.push(Buffer.from('}}}'));
    return bytes > responseBytes ? null : parts;
  }

  return {
    join(args) {
      const operation = operationOf(args.document, args.operationName);
      const { variableValues } = args;
      // Null is a value; what is absent may have a default.
      const values = operation.variables.map((variable) =>
        variableValues && Object.hasOwn(variableValues, variable) ? [variableValues[variable]] : 0,
      );
      const key = JSON.stringify(values);
      if (!operation.perViewer) {
        const { value, leave } = operation.whole.use(key, () => whole(args, forNobody));
        return { json: (event) => value.get(event), leave };
      }
      const { viewer } = args.contextValue as Context;
      const mine = JSON.stringify([values, viewer]);
      const alone = operation.whole.use(mine, () => whole(args, forViewer));
      const { split } = operation;
      if (!split) return { json: (event) => alone.value.get(event), leave: alone.leave };
      const shared = operation.fields.use(key, () => fields({ ...args, document: split.shared }, forNobody, split));
      const own = operation.fields.use(mine, () => fields({ ...args, document: split.own }, forViewer, split));
      return {
        json: (event) =>
          then(shared.value.get(event), (all) =>
            // Errors are those of the whole: their places are in it.
            then(own.value.get(event), (some) => joined(split, all, some) ?? alone.value.get(event)),
          ),
        leave() {
          for (const { leave } of [alone, shared, own]) leave();
        },
      };
    },
    ofOneConversation(document, operationName) {
      const { perViewer, oneConversation } = operationOf(document, operationName);
      return oneConversation && !perViewer;
    },
  };
}

/** What comes after a value, at once where it is no promise. */
function then<From, To>(value: From | Promise<From>, next: (value: From) => To | Promise<To>): To | Promise<To> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** What is made, or, where that fails, what stands for it; at once where it is no promise. */
function rescued<Value>(
  make: () => Value | Promise<Value>,
  instead: (error: unknown) => Value,
): Value | Promise<Value> {
  try {
    const made = make();
    return made instanceof Promise ? made.catch(instead) : made;
  } catch (error) {
    return instead(error);
  }
}

function getOrMake<Key, Value>(
  map: { get(key: Key): Value | undefined; set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

/** What the result of an operation depends on, as the schema marks it. */
interface Dependencies {
  /** A field depends on who asks. */
  readonly perViewer: boolean;
  /** Its one root field is about one conversation alone. */
  readonly oneConversation: boolean;
  /** Those that matter below the root field: its own arguments choose what the result is of. */
  readonly variables: readonly string[];
}

function findDependencies(schema: GraphQLSchema, document: DocumentNode): Dependencies {
  const typeInfo = new TypeInfo(schema);
  const roots = [schema.getQueryType(), schema.getSubscriptionType()];
  const variables = new Set<string>();
  const rootFields: boolean[] = [];
  let perViewer = false;
  visit(
    document,
    visitWithTypeInfo(typeInfo, {
      Field() {
        const field = typeInfo.getFieldDef();
        perViewer ||= isMarked(field, 'perViewer');
        if (roots.includes(typeInfo.getParentType() as GraphQLObjectType))
          rootFields.push(isMarked(field, 'oneConversation'));
      },
      Argument() {
        perViewer ||= isMarked(typeInfo.getArgument(), 'perViewer');
      },
      Variable({ name }) {
        const parent = typeInfo.getParentType();
        // The definitions have no parent.
        if (parent && (!roots.includes(parent as GraphQLObjectType) || typeInfo.getDirective()))
          variables.add(name.value);
      },
    }),
  );
  const oneConversation = rootFields.length === 1 && rootFields[0] === true;
  return { perViewer, oneConversation, variables: [...variables] };
}

/** The context of an event that is executed for more than one subscription. */
type ContextOf = (context: unknown, budget: ResponseBudget) => Context;

const NO_SOCKET: Room = { free: () => true, drained: async () => {} };

const forViewer: ContextOf = (context, { spend }) => {
  const { chat, viewer } = context as Context;
  return { chat, viewer, spend, ...NO_SOCKET, audit() {} };
};

const forNobody: ContextOf = (context, { spend }) => ({
  chat: (context as Context).chat,
  spend,
  ...NO_SOCKET,
  audit() {},
  get viewer() {
    return noViewer();
  },
});

/** Makes sure that what is made for many depends on nobody: a field that does, and is not marked, fails loudly. */
export function noViewer(): never {
  throw new Error('A field that depends on the viewer is not marked @perViewer.');
}
