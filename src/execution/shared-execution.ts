import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLObjectType,
  type GraphQLSchema,
  getOperationAST,
  getVariableValues,
  type OperationDefinitionNode,
  separateOperations,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import type { Backpressure } from '../chat/live/event-stream.ts';
import type { Context } from '../graphql/context.ts';
import { compile } from './compiler/compiler.ts';
import type { Written } from './compiler/run.ts';
import { getOrMake, Kept, Memo } from './memo.ts';
import { encode, jsonOf, LARGE_BYTES } from './response-writer.ts';
import { isMarked, type Part, type Split, splitSubscription } from './split-selection.ts';

/** Hides what clients are not to see in the errors of a result. */
export type Masked = (result: ExecutionResult) => ExecutionResult;

/** How long the fields of an event are kept for the other viewers, whose turns come in slices, in milliseconds. */
const FIELDS_MS = 250;

const COMMA = Buffer.from(',');
const END = Buffer.from('}}}');

/** JSON in UTF-8, in parts that are not to be changed. */
export type Json = readonly Buffer[];

/** One subscription as many subscribers run it: executed, and its JSON made, once for each event. */
export interface Shared {
  /** The JSON of the result for an event. */
  json(event: object): Json | Promise<Json>;
  /** To be called once by each who joined. */
  leave(): void;
}

export interface SharedExecution {
  /** The subscription as it is shared now: with all viewers as far as its result is the same for them. */
  join(args: ExecutionArgs): Shared;
  /** Whether a query is about one conversation alone, and the same for all who may see that. */
  ofOneConversation(document: DocumentNode, operationName: string | null | undefined): boolean;
}

export interface SharedExecutionOptions {
  readonly schema: GraphQLSchema;
  readonly masked: Masked;
  /** Bytes that the JSON of one event may have. */
  readonly responseBytes: number;
  /** As in `FairScheduler`. */
  readonly slice: (user: string) => Promise<void> | null;
}

type Values = ExecutionArgs['variableValues'];

/** The fields of an event in parts of a split, as JSON; null where there are errors, or it is too large. */
type Fields = readonly Buffer[] | null;

/** What is known, and kept, of one operation of a document. */
interface Operation extends Dependencies {
  readonly node: OperationDefinitionNode;
  readonly split: Split | null;
  readonly whole: Kept<Memo<Json>>;
  readonly fields: Kept<Memo<Fields>>;
}

/**
 * Shares what subscribers of the same document with the same values of the variables that the result depends on get for
 * an event: with all of them what the schema does not mark as `@perViewer`, the rest with the subscriptions of one
 * viewer.
 */
export function createSharedExecution({
  schema,
  masked,
  responseBytes,
  slice,
}: SharedExecutionOptions): SharedExecution {
  const operations = new WeakMap<DocumentNode, Map<string, Operation>>();
  const sliceForAll = () => slice('');

  function operationOf(document: DocumentNode, operationName: string | null | undefined): Operation {
    const node = getOperationAST(document, operationName);
    const name = node?.name?.value ?? '';
    return getOrMake(
      getOrMake(operations, document, () => new Map<string, Operation>()),
      name,
      () => {
        if (!node) throw new Error('the document does not say which operation it is');
        const found = findDependencies(schema, separateOperations(document)[name] ?? document);
        const split = found.perViewer ? splitSubscription(schema, document, node) : null;
        return { ...found, node, split, whole: new Kept(), fields: new Kept() };
      },
    );
  }

  function failed(error: unknown): Json {
    return [Buffer.from(JSON.stringify(masked({ errors: [error as GraphQLError] })))];
  }

  /** Runs an operation for events. Its variables were checked when the subscription began. */
  function runner(document: DocumentNode, node: OperationDefinitionNode, variableValues: Values, context: Context) {
    const run = compile(schema, document, node);
    let variables: Record<string, unknown> | undefined;
    return (root: object) => {
      variables ??= getVariableValues(schema, node.variableDefinitions ?? [], variableValues ?? {}).coerced ?? {};
      return run({ root, context, variables, max: responseBytes, slice: sliceForAll });
    };
  }

  /** The whole result of an event. */
  function whole({ document, variableValues }: ExecutionArgs, node: OperationDefinitionNode, context: Context) {
    const run = runner(document, node, variableValues, context);
    const write = ({ data, errors }: Written): Json | Promise<Json> => {
      const { errors: shown = [] } = errors.length > 0 ? masked({ errors }) : {};
      return then(encode(jsonOf(data, shown), responseBytes, sliceForAll), (json): Json => [json]);
    };
    // Followers who keep up ask in the same turn.
    return new Memo<Json>((event) => rescued(() => then(run(event), write), failed), setImmediate);
  }

  /** The fields of an event in parts of the operation. */
  function fields({ variableValues }: ExecutionArgs, root: string, parts: readonly Part[], context: Context) {
    const runs = parts.map(({ document, operation }) => runner(document, operation, variableValues, context));
    const head = `{${JSON.stringify(root)}:{`;
    const make = (event: object): Fields | Promise<Fields> => {
      const write = (all: readonly (Written | null)[]): Fields | Promise<Fields> => {
        const texts = all.flatMap((one) => (one && one.errors.length === 0 ? one.data : []));
        if (texts.length < parts.length || !texts.every((text) => text.startsWith(head))) return null;
        if (texts.reduce((sum, text) => sum + text.length, 0) > LARGE_BYTES) memo.forget(event);
        return together(texts.map((text) => encode(text.slice(head.length, -'}}'.length), responseBytes, sliceForAll)));
      };
      const made = runs.map((run) =>
        rescued<Written | null>(
          () => run(event),
          () => null,
        ),
      );
      return rescued(
        () => then(together(made), write),
        () => null,
      );
    };
    const memo: Memo<Fields> = new Memo(make, (forget) => setTimeout(forget, FIELDS_MS).unref());
    return memo;
  }

  /** Puts the fields of an event together; null where there were errors, or they are too large together. */
  function joined({ root, parts }: Split, shared: Fields, own: Fields): Json | null {
    if (!shared || !own) return null;
    const json: Buffer[] = [Buffer.from(`{"data":{${JSON.stringify(root)}:{`)];
    const next = { shared: 0, own: 0 };
    let bytes = 0;
    for (const { own: isOwn } of parts) {
      const part = isOwn ? own[next.own++] : shared[next.shared++];
      if (!part || part.length === 0) continue;
      if (json.length > 1) json.push(COMMA);
      json.push(part);
      bytes += part.length;
    }
    json.push(END);
    return bytes > responseBytes ? null : json;
  }

  return {
    join(args) {
      const operation = operationOf(args.document, args.operationName);
      const { variableValues } = args;
      const context = args.contextValue as Context;
      // Null is a value; what is absent may have a default.
      const values = operation.variables.map((variable) =>
        variableValues && Object.hasOwn(variableValues, variable) ? [variableValues[variable]] : 0,
      );
      const key = JSON.stringify(values);
      if (!operation.perViewer) {
        const { value, leave } = operation.whole.use(key, () => whole(args, operation.node, forNobody(context)));
        return { json: (event) => value.get(event), leave };
      }
      const mine = JSON.stringify([values, context.viewer]);
      const alone = operation.whole.use(mine, () => whole(args, operation.node, forViewer(context)));
      const { split } = operation;
      if (!split) return { json: (event) => alone.value.get(event), leave: alone.leave };
      const { root, parts } = split;
      const partsThat = (areOwn: boolean) => parts.filter(({ own }) => own === areOwn);
      const shared = operation.fields.use(key, () => fields(args, root, partsThat(false), forNobody(context)));
      const own = operation.fields.use(mine, () => fields(args, root, partsThat(true), forViewer(context)));
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

/** All values, at once where none is a promise. */
function together<Value>(values: readonly (Value | Promise<Value>)[]): Value[] | Promise<Value[]> {
  return values.some((value) => value instanceof Promise) ? Promise.all(values) : (values as Value[]);
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

const NO_SOCKET: Backpressure = { free: () => true, drained: async () => {} };

/** The context of events that are executed for all subscriptions of a viewer. */
const forViewer = ({ chat, viewer }: Context): Context => ({ chat, viewer, ...NO_SOCKET, audit() {} });

/** The context of events that are executed for many viewers. */
const forNobody = ({ chat }: Context): Context => ({
  chat,
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
