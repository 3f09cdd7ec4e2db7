import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import {
  type DocumentNode,
  type ExecutionResult,
  GraphQLError,
  type GraphQLErrorExtensions,
  type GraphQLSchema,
  getOperationAST,
  getVariableValues,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  OperationTypeNode,
  parse,
  specifiedRules,
  validate,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import { badInput, ChatError, type ErrorCode, outcomeUnknown } from '../chat/rules/errors.ts';
import type { Limits } from '../config.ts';
import type { Context } from '../graphql/context.ts';
import type { Logger } from '../observability/logger.ts';
import type { Metrics } from '../observability/metrics.ts';
import { StoreUnavailable } from '../store/store.ts';
import { compile } from './compiler/compiler.ts';
import type { Written } from './compiler/run.ts';
import { createFairScheduler } from './fair-scheduler.ts';
import { openResponseStream, type ResponseStream } from './response-stream.ts';
import { type Answer, encode, jsonOf, LARGE_BYTES } from './response-writer.ts';
import { createResultCache } from './result-cache.ts';
import { createResultSlot, createSlots } from './result-slot.ts';
import { refuseAnonymous } from './rules/anonymous.ts';
import { nestsTooDeep } from './rules/json-depth.ts';
import { operationLimits } from './rules/operation-limits.ts';
import { createQueryCost, FREE_COST, QUICK_COST } from './rules/query-cost.ts';
import { subscriptionRootRule } from './rules/subscription-root.ts';
import { createSharedExecution } from './shared-execution.ts';

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

export type OperationResult = Answer | ResponseStream;

export interface Executor {
  readonly schema: GraphQLSchema;
  /** Parses and validates; the errors are ready to be shown. What is valid is kept by text. */
  prepare(query: string): DocumentNode | readonly GraphQLError[];
  /** The operation that would run, or undefined where the document does not say which. */
  kind(document: DocumentNode, operationName: string | null | undefined): OperationTypeNode | undefined;
  /** Runs an operation. Never throws: whatever goes wrong is in the result, masked. */
  run(request: OperationRequest, context: Context): Promise<OperationResult>;
  /** To be asked before work that is long for its operation, as in `FairScheduler`. */
  slice(user: string): Promise<void> | null;
  /** Resolves when no operation waits for its result any more. */
  settled(): Promise<void>;
  /** The error as a client may see it: a code of the contract, and no detail of a fault. Idempotent. */
  mask(error: unknown): GraphQLError;
}

/** By when every operation is answered, whatever the store does, in milliseconds. */
const ANSWER_MS = 9000;
/** Mistakes in a document that are told of. */
const MAX_ERRORS = 10;
/** Costly or large answers of one user that are made, or not read by the client yet, at the same time. */
const LARGE_AT_ONCE = 4;
/** The answer of a mutation may be larger by this factor: what it shows was small enough before the write. */
const WRITTEN_FACTOR = 2;
/** The longest message of an error, in UTF-16 units: those of graphql-js quote what they are about. */
const MAX_MESSAGE = 1000;
/** Characters of operation text whose parsed and validated documents are kept. */
const CACHED_CHARACTERS = 250_000;
/** What a document counts as at least beyond its text: many small ones are much, too. */
const MINIMUM_CHARACTERS = 250;

export interface ExecutorOptions {
  readonly schema: GraphQLSchema;
  readonly limits: Pick<Limits, 'depth' | 'aliases' | 'directives' | 'cost' | 'tokens' | 'responseBytes'>;
  readonly introspection: boolean;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** The one way from a transport to the schema: the same limits, the same errors, whatever brought the operation. */
export function createExecutor({ schema, limits, introspection, logger, metrics }: ExecutorOptions): Executor {
  const bounds = [operationLimits(limits)];
  const rules = [...specifiedRules, subscriptionRootRule, ...(introspection ? [] : [NoSchemaIntrospectionCustomRule])];
  const { slice } = createFairScheduler();
  const sharedExecution = createSharedExecution({ schema, masked, responseBytes: limits.responseBytes, slice });
  const resultCache = createResultCache(sharedExecution);
  const slots = createSlots(LARGE_AT_ONCE);
  const hideSuggestions = !introspection;
  const options = { maxErrors: MAX_ERRORS, hideSuggestions };
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
    if (original instanceof StoreUnavailable) {
      // Below a root field it is a read of the answer that failed: what was written stays written.
      const about = (located?.path?.length ?? 0) > 1 ? '' : `: ${original.message}`;
      return show(`The store did not answer in time${about}.`, { code: 'UNAVAILABLE' });
    }
    if (original instanceof GraphQLError) return show(shortened(original.message), { code: 'BAD_USER_INPUT' });
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

  const checkCost = createQueryCost(schema, limits);

  /**
   * The values of an operation's variables.
   * @throws GraphQLError for the first one that is not as declared; graphql-js would describe fifty
   */
  function coerceVariables(
    { variableDefinitions = [] }: OperationDefinitionNode,
    variables: OperationRequest['variables'],
  ): Record<string, unknown> {
    const options = { maxErrors: 1, hideSuggestions };
    const { coerced, errors } = getVariableValues(schema, variableDefinitions, variables ?? {}, options);
    if (!coerced) throw errors[0];
    return coerced;
  }

  function answerOf(result: ExecutionResult): Answer {
    const shown = masked(result);
    return { json: Buffer.from(JSON.stringify(shown)), errors: shown.errors ?? [], ran: shown.data !== undefined };
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
    const resultSlot = createResultSlot(slots, slice, context);
    try {
      const document = typeof query === 'string' ? prepare(query) : query;
      if (!('kind' in document)) return answerOf({ errors: document });
      const operation = getOperationAST(document, operationName);
      if (!operation) throw badInput('The document does not say which operation to run.');
      kind = operation.operation;
      const refused = context.viewer ? null : refuseAnonymous(schema, document, operation, context.audit);
      if (refused) return answerOf(refused);
      if (nestsTooDeep(variables)) throw badInput('The variables nest too deep.');
      const coerced = coerceVariables(operation, variables);
      const cost = checkCost(document, operation, variables);
      const costly = cost.values > FREE_COST;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(kind === OperationTypeNode.MUTATION ? outcomeUnknown() : unanswered()),
          ANSWER_MS,
        );
      });
      const args = { schema, document, variableValues: variables, operationName, hideSuggestions };
      if (after) await Promise.race([after, late]);
      if (kind === OperationTypeNode.SUBSCRIPTION) {
        const opening = openResponseStream({
          args: { ...args, contextValue: context },
          sharedExecution,
          masked,
          slots,
          slice,
        });
        const opened = await Promise.race([opening, late]).catch((error: unknown) => {
          // The caller already got a timeout; close the late subscription.
          void abandon(opening);
          throw error;
        });
        return 'deliver' in opened ? opened : answerOf(opened);
      }
      const answer = async (): Promise<Answer> => {
        // What a mutation has written is answered without waiting for others.
        if (costly || (kind === OperationTypeNode.MUTATION && cost.mayBeTooLarge)) await resultSlot.take();
        const sliced = cost.values > QUICK_COST;
        if (sliced) await resultSlot.slice();
        const { slice } = resultSlot;
        const run = (context: Context, max: number) =>
          compile(schema, document, operation)({ context, variables: coerced, max, slice, sliceFields: sliced });
        const encoded = async ({ data, errors }: Written, max: number): Promise<Answer> => {
          const shown = errors.map(mask);
          return { json: await encode(jsonOf(data, shown), max, slice), errors: shown, ran: true };
        };
        if (kind === OperationTypeNode.QUERY) {
          checkWanted(wanted);
          return resultCache.read({ ...args, contextValue: context }, async (context) => {
            const written = await run(context, limits.responseBytes);
            checkWanted(wanted);
            if (written.data.length > LARGE_BYTES) await resultSlot.takeLate();
            checkWanted(wanted);
            return encoded(written, limits.responseBytes);
          });
        }
        if (cost.mayBeTooLarge) {
          const rehearsed = await run({ ...context, audit() {}, rehearsal: true }, limits.responseBytes);
          await encode(rehearsed.data, limits.responseBytes, slice);
        }
        const max = limits.responseBytes * WRITTEN_FACTOR;
        return encoded(await run(context, max), max);
      };
      return await Promise.race([answer(), late]);
    } catch (error) {
      return answerOf({ errors: [mask(error)] });
    } finally {
      resultSlot.end();
      clearTimeout(timer);
      if (--running === 0) for (const listener of whenIdle.splice(0)) listener();
      metrics.answered(kind ?? 'invalid', performance.now() - started);
    }
  }

  return {
    schema,
    prepare,
    run,
    slice,
    settled,
    mask,
    kind: (document, operationName) => getOperationAST(document, operationName)?.operation,
  };
}

/** Ends a subscription once it has begun, for one that comes too late. */
async function abandon(opening: Promise<ResponseStream | ExecutionResult>): Promise<void> {
  const live = await opening.catch(() => null);
  if (live && 'deliver' in live) await live.return();
}

/** @throws ChatError where nobody waits for the answer any more */
function checkWanted(wanted: OperationRequest['wanted']): void {
  if (wanted?.() === false) throw badInput('The client is gone.');
}

function unanswered(): ChatError {
  return new ChatError('UNAVAILABLE', 'The store did not answer in time.');
}

function shortened(message: string): string {
  return message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…`.toWellFormed() : message;
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
