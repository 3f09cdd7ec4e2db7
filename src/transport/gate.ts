import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import {
  type DocumentNode,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLErrorExtensions,
  type GraphQLSchema,
  getOperationAST,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  OperationTypeNode,
  parse,
  specifiedRules,
  validate,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import { badInput, ChatError, type ErrorCode, outcomeUnknown } from '../chat/errors.ts';
import type { Limits } from '../config.ts';
import type { Logger, Metrics } from '../observe.ts';
import type { Context } from '../operations/context.ts';
import { StoreUnavailable } from '../store/store.ts';
import { costOf } from './cost.ts';
import { createKeeping } from './keeping.ts';
import { operationLimits } from './limits.ts';
import { type Live, openLive } from './live.ts';
import { nestsTooDeep } from './nesting.ts';
import { createPacing, FREE_COST } from './pacing.ts';
import { createSharing } from './sharing.ts';
import { unconditionalSubscriptions } from './unconditional.ts';

/** An operation as a transport received it. */
interface OperationRequest {
  /** The text, or a document that was parsed and validated with `gate.prepare`. */
  readonly query: string | DocumentNode;
  readonly variables?: Record<string, unknown> | null | undefined;
  readonly operationName?: string | null | undefined;
  /** What it is to wait for before it runs; the time for its answer begins at once. */
  readonly after?: Promise<unknown> | undefined;
  /** Whether somebody still waits for the answer: a query is not begun for nobody. */
  readonly wanted?: () => boolean;
}

export type OperationResult = ExecutionResult | Live;

export interface Gate {
  readonly schema: GraphQLSchema;
  /** Parses and validates; the errors are ready to be shown. What is valid is kept by text. */
  prepare(query: string): DocumentNode | readonly GraphQLError[];
  /** The operation that would run, or undefined where the document does not say which. */
  kind(document: DocumentNode, operationName: string | null | undefined): OperationTypeNode | undefined;
  /** Runs an operation. Never throws: whatever goes wrong is in the result, masked. */
  run(request: OperationRequest, context: Context): Promise<OperationResult>;
  /** The JSON of a result, in UTF-8 and not to be changed: for results that are kept it is made once. */
  json(result: ExecutionResult): Buffer;
  /** Resolves when no operation waits for its result any more. */
  settled(): Promise<void>;
  /** The error as a client may see it: a code of the contract, and no detail of a fault. Idempotent. */
  mask(error: unknown): GraphQLError;
}

/** By when every operation is answered, whatever the store does, in milliseconds. */
const ANSWER_MS = 9000;
/** Mistakes in a document that are told of. */
const MAX_ERRORS = 10;
/** What a subscription may cost is this part of what others may: it is executed for each event. */
const SUBSCRIPTION_SHARE = 20;
/** Characters of operation text whose parsed and validated documents are kept. */
const CACHED_CHARACTERS = 250_000;
/** What a document counts as at least beyond its text: many small ones are much, too. */
const MINIMUM_CHARACTERS = 250;

export interface GateOptions {
  readonly schema: GraphQLSchema;
  readonly limits: Pick<Limits, 'depth' | 'aliases' | 'directives' | 'cost' | 'tokens'>;
  readonly introspection: boolean;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** The one way from a transport to the schema: the same limits, the same errors, whatever brought the operation. */
export function createGate({ schema, limits, introspection, logger, metrics }: GateOptions): Gate {
  const bounds = [operationLimits(limits)];
  const rules = [
    ...specifiedRules,
    unconditionalSubscriptions,
    ...(introspection ? [] : [NoSchemaIntrospectionCustomRule]),
  ];
  const sharing = createSharing(schema);
  const keeping = createKeeping(sharing);
  const paced = createPacing();
  const options = { maxErrors: MAX_ERRORS, hideSuggestions: !introspection };
  const prepared = new LRUCache<string, DocumentNode>({
    maxSize: CACHED_CHARACTERS,
    sizeCalculation: (_, query) => query.length + MINIMUM_CHARACTERS,
  });

  const shown = new WeakSet<GraphQLError>();
  function mask(error: unknown): GraphQLError {
    if (error instanceof GraphQLError && shown.has(error)) return error;
    const masked = toShow(error);
    shown.add(masked);
    return masked;
  }

  function toShow(error: unknown): GraphQLError {
    const located = error instanceof GraphQLError ? error : undefined;
    const original = located?.originalError ?? error;
    const show = (message: string, extensions: { code: ErrorCode; retryAfterMs?: number }) =>
      relabel(located, message, extensions);

    if (original instanceof ChatError) {
      const { code, message, retryAfterMs } = original;
      return show(message, { code, ...(retryAfterMs !== null && { retryAfterMs }) });
    }
    if (original instanceof StoreUnavailable)
      return show(`The store did not answer in time: ${original.message}.`, { code: 'UNAVAILABLE' });
    if (original instanceof GraphQLError) return show(original.message, { code: 'BAD_USER_INPUT' });
    const id = randomUUID();
    logger.error({ err: original, id, path: located?.path }, 'operation failed');
    return show(`Internal server error ${id}.`, { code: 'INTERNAL_SERVER_ERROR' });
  }

  function masked(result: ExecutionResult): ExecutionResult {
    return result.errors ? { ...result, errors: result.errors.map(mask) } : result;
  }

  function prepare(query: string): DocumentNode | readonly GraphQLError[] {
    const known = prepared.get(query);
    if (known) return known;
    try {
      const document = parse(query, { maxTokens: limits.tokens });
      // What is within the bounds is looked at in detail: that takes the square of what is there.
      const outside = validate(schema, document, bounds);
      const errors = outside.length > 0 ? outside : validate(schema, document, rules, options);
      // Not kept where it is wrong: an error holds on to much, and anybody can make many.
      if (errors.length > 0) return errors.map(mask);
      prepared.set(query, document);
      return document;
    } catch (error) {
      return [mask(error)];
    }
  }

  /** What each operation costs whatever its variables are, by its name. */
  const costs = new WeakMap<DocumentNode, Map<string, number>>();

  /** @throws ChatError where it is more than is allowed */
  function checkedCost(
    { operation, name }: OperationDefinitionNode,
    document: DocumentNode,
    variables: OperationRequest['variables'],
  ): number {
    const key = name?.value ?? '';
    const known = costs.get(document) ?? new Map<string, number>();
    const highest = known.get(key) ?? costOf(schema, document, name?.value);
    costs.set(document, known.set(key, highest));
    const most = operation === OperationTypeNode.SUBSCRIPTION ? limits.cost / SUBSCRIPTION_SHARE : limits.cost;
    const cost = highest > Math.min(FREE_COST, most) ? costOf(schema, document, name?.value, variables) : highest;
    if (cost > most) throw badInput(`The operation asks for more than ${most} values.`);
    return cost;
  }

  /** Operations that wait for their result. */
  let running = 0;
  const whenIdle: (() => void)[] = [];

  async function settled(): Promise<void> {
    // What is answered may be what another has waited for.
    for (await setImmediate(); running > 0; await setImmediate())
      await new Promise<void>((resolve) => whenIdle.push(resolve));
  }

  async function run(
    { query, variables, operationName, after, wanted }: OperationRequest,
    context: Context,
  ): Promise<OperationResult> {
    const started = performance.now();
    running++;
    let kind: OperationTypeNode | undefined;
    let timer: NodeJS.Timeout | undefined;
    try {
      const document = typeof query === 'string' ? prepare(query) : query;
      if (!('kind' in document)) return { errors: document };
      const operation = getOperationAST(document, operationName);
      if (!operation) throw badInput('The document does not say which operation to run.');
      kind = operation.operation;
      if (nestsTooDeep(variables)) throw badInput('The variables nest too deep.');
      const cost = checkedCost(operation, document, variables);
      const hideSuggestions = !introspection;
      const spend = createBudget(limits.cost);
      const contextValue: Context = kind === OperationTypeNode.SUBSCRIPTION ? context : { ...context, spend };
      const args = { schema, document, contextValue, variableValues: variables, operationName, hideSuggestions };
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(kind === OperationTypeNode.MUTATION ? outcomeUnknown() : unanswered()),
          ANSWER_MS,
        );
      });
      if (after) await Promise.race([after, late]);
      const turn = paced(context.viewer?.email ?? '', cost);
      if (turn) await Promise.race([turn, late]);
      if (kind === OperationTypeNode.QUERY && wanted?.() === false) throw badInput('Nobody waits for the answer.');
      if (kind === OperationTypeNode.QUERY) {
        const run = async (contextValue: Context) => masked(await execute({ ...args, contextValue }));
        return await Promise.race([keeping.read(args, run), late]);
      }
      if (kind === OperationTypeNode.MUTATION) return masked(await Promise.race([execute(args), late]));
      const opening = openLive({ args, sharing, masked });
      return await Promise.race([opening, late]).catch((error: unknown) => {
        // Whoever was answered does not follow any more.
        void abandon(opening);
        throw error;
      });
    } catch (error) {
      return { errors: [mask(error)] };
    } finally {
      clearTimeout(timer);
      if (--running === 0) for (const listener of whenIdle.splice(0)) listener();
      metrics.answered(kind ?? 'invalid', performance.now() - started);
    }
  }

  return {
    schema,
    prepare,
    run,
    settled,
    json: keeping.json,
    mask,
    kind: (document, operationName) => getOperationAST(document, operationName)?.operation,
  };
}

/** Ends a subscription once it has begun, for one that comes too late. */
async function abandon(opening: Promise<OperationResult>): Promise<void> {
  const live = await opening.catch(() => null);
  if (live && Symbol.asyncIterator in live) await live.return?.();
}

function unanswered(): ChatError {
  return new ChatError('UNAVAILABLE', 'The store did not answer in time.');
}

/** What lists may come to whose length the operation does not tell. @throws ChatError where it is more */
function createBudget(most: number): (values: number) => void {
  let spent = 0;
  return (values) => {
    spent += values;
    if (spent > most) throw badInput(`The operation comes to more than ${most} values.`);
  };
}

/** A new error at the place of the given one: where in the document, where in the result. */
export function relabel(
  at: GraphQLError | undefined,
  message: string,
  extensions: GraphQLErrorExtensions,
): GraphQLError {
  const { nodes = null, source = null, positions = null, path = null } = at ?? {};
  return new GraphQLError(message, { nodes, source, positions, path, extensions });
}
