import { type ExecutionResult, type GraphQLError, type GraphQLSchema, getVariableValues } from 'graphql';
import type { Backpressure } from '../chat/live/event-stream.ts';
import type { Context } from '../graphql/context.ts';
import type { Compiled } from './compiler/compiler.ts';
import type { Written } from './compiler/run.ts';
import { Memo } from './memo.ts';
import type { PreparedOperation } from './prepared-operation.ts';
import { encode, type Json, jsonOf, LARGE_BYTES } from './response-writer.ts';
import type { Fields } from './sharing.ts';
import type { Part, Split } from './split-selection.ts';

/** Masks the errors of a result. */
export type Masked = (result: ExecutionResult) => ExecutionResult;

/** How long the fields of an event are kept for the other viewers, in milliseconds: their work comes in slices. */
const FIELDS_MS = 250;

const COMMA = Buffer.from(',');
const END = Buffer.from('}}}');

/** A subscription shared by many subscribers: executed and encoded once for each event. */
export interface Shared {
  /** The JSON of the result for an event. */
  json(event: object): Json | Promise<Json>;
  /** Called once for each `join`. */
  leave(): void;
}

export interface SharedExecution {
  /** Joins the shared execution of a subscription. */
  join(operation: PreparedOperation, variables: Variables, context: Context): Shared;
}

export interface SharedExecutionOptions {
  readonly schema: GraphQLSchema;
  readonly masked: Masked;
  /** Largest JSON of one event, in bytes. */
  readonly responseBytes: number;
  /** See `FairScheduler`. */
  readonly slice: (user: string) => Promise<void> | null;
}

type Variables = Readonly<Record<string, unknown>> | null | undefined;

/**
 * Shares the results of events between subscriptions with the same document and the same values of the variables on
 * which the result depends: fields that the schema does not mark `@perViewer` between all viewers, the others between
 * the subscriptions of one viewer.
 */
export function createSharedExecution({
  schema,
  masked,
  responseBytes,
  slice,
}: SharedExecutionOptions): SharedExecution {
  const sliceForAll = () => slice('');

  function failed(error: unknown): Json {
    return [Buffer.from(JSON.stringify(masked({ errors: [error as GraphQLError] })))];
  }

  /** Runs an operation, or a part of it, for events. The start of the subscription has checked its variables. */
  function runner(run: Compiled, { node }: PreparedOperation, values: Variables, context: Context) {
    let variables: Record<string, unknown> | undefined;
    return (root: object) => {
      variables ??= getVariableValues(schema, node.variableDefinitions ?? [], values ?? {}).coerced ?? {};
      return run({ root, context, variables, max: responseBytes, slice: sliceForAll });
    };
  }

  /** The whole result of an event. */
  function whole(operation: PreparedOperation, variables: Variables, context: Context) {
    const run = runner(operation.run, operation, variables, context);
    const write = ({ data, errors }: Written): Json | Promise<Json> => {
      const { errors: shown = [] } = errors.length > 0 ? masked({ errors }) : {};
      return then(encode(jsonOf(data, shown), responseBytes, sliceForAll), (json): Json => [json]);
    };
    // Subscribers that keep up ask in the same turn of the event loop.
    return new Memo<Json>((event) => withFallback(() => then(run(event), write), failed), setImmediate);
  }

  /** The fields of an event, for some parts of the operation. */
  function fields(
    operation: PreparedOperation,
    variables: Variables,
    root: string,
    parts: readonly Part[],
    context: Context,
  ) {
    const runs = parts.map(({ run }) => runner(run, operation, variables, context));
    const head = `{${JSON.stringify(root)}:{`;
    const make = (event: object): Fields | Promise<Fields> => {
      const write = (all: readonly (Written | null)[]): Fields | Promise<Fields> => {
        const texts = all.flatMap((one) => (one && one.errors.length === 0 ? one.data : []));
        if (texts.length < parts.length || !texts.every((text) => text.startsWith(head))) return null;
        if (texts.reduce((sum, text) => sum + text.length, 0) > LARGE_BYTES) memo.forget(event);
        return resolveAll(
          texts.map((text) => encode(text.slice(head.length, -'}}'.length), responseBytes, sliceForAll)),
        );
      };
      const made = runs.map((run) =>
        withFallback<Written | null>(
          () => run(event),
          () => null,
        ),
      );
      return withFallback(
        () => then(resolveAll(made), write),
        () => null,
      );
    };
    const memo: Memo<Fields> = new Memo(make, (forget) => setTimeout(forget, FIELDS_MS).unref());
    return memo;
  }

  /** Joins the fields of an event; null if there were errors, or the result is too large. */
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
    join(operation, variables, context) {
      const { sharing } = operation;
      // Null is a value; an absent variable may have a default.
      const values = sharing.variables.map((variable) =>
        variables && Object.hasOwn(variables, variable) ? [variables[variable]] : 0,
      );
      const key = JSON.stringify(values);
      if (!sharing.perViewer) {
        const { value, leave } = sharing.whole.use(key, () => whole(operation, variables, withoutViewer(context)));
        return { json: (event) => value.get(event), leave };
      }
      const viewerKey = JSON.stringify([values, context.viewer]);
      const alone = sharing.whole.use(viewerKey, () => whole(operation, variables, withViewer(context)));
      const { split } = sharing;
      if (!split) return { json: (event) => alone.value.get(event), leave: alone.leave };
      const { root, parts } = split;
      const fieldsOf = (ownParts: boolean, context: Context) =>
        fields(
          operation,
          variables,
          root,
          parts.filter(({ own }) => own === ownParts),
          context,
        );
      const shared = sharing.fields.use(key, () => fieldsOf(false, withoutViewer(context)));
      const own = sharing.fields.use(viewerKey, () => fieldsOf(true, withViewer(context)));
      return {
        json: (event) =>
          then(shared.value.get(event), (all) =>
            // Report errors of the whole operation: their paths refer to it.
            then(own.value.get(event), (some) => joined(split, all, some) ?? alone.value.get(event)),
          ),
        leave() {
          for (const { leave } of [alone, shared, own]) leave();
        },
      };
    },
  };
}

/** Applies `next` to a value: synchronously unless the value is a promise. */
function then<From, To>(value: From | Promise<From>, next: (value: From) => To | Promise<To>): To | Promise<To> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** The value made, or its substitute if that fails; synchronous unless it is a promise. */
function withFallback<Value>(
  make: () => Value | Promise<Value>,
  fallback: (error: unknown) => Value,
): Value | Promise<Value> {
  try {
    const made = make();
    return made instanceof Promise ? made.catch(fallback) : made;
  } catch (error) {
    return fallback(error);
  }
}

/** All values; synchronous unless one is a promise. */
function resolveAll<Value>(values: readonly (Value | Promise<Value>)[]): Value[] | Promise<Value[]> {
  return values.some((value) => value instanceof Promise) ? Promise.all(values) : (values as Value[]);
}

const NO_SOCKET: Backpressure = { free: () => true, drained: async () => {} };

/** The context of events executed for all subscriptions of a viewer. */
const withViewer = ({ chat, viewer }: Context): Context => ({ chat, viewer, ...NO_SOCKET, audit() {} });

/** The context of events executed for many viewers. */
const withoutViewer = ({ chat }: Context): Context => ({
  chat,
  ...NO_SOCKET,
  audit() {},
  get viewer() {
    return noViewer();
  },
});

/** Throws if a shared execution reads the viewer: an unmarked field that depends on the viewer fails loudly. */
export function noViewer(): never {
  throw new Error('A field that depends on the viewer is not marked @perViewer.');
}
