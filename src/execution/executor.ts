import { setImmediate } from 'node:timers/promises';
import type { Span } from '@opentelemetry/api';
import {
  type DocumentNode,
  type ExecutionResult,
  type GraphQLSchema,
  getVariableValues,
  type OperationDefinitionNode,
  OperationTypeNode,
} from 'graphql';
import { badInput, ChatError, outcomeUnknown } from '../chat/rules/errors.ts';
import type { Context } from '../graphql/context.ts';
import type { Logger } from '../observability/logger.ts';
import type { Metrics } from '../observability/metrics.ts';
import { inSpan, recordError } from '../observability/tracing.ts';
import type { Written } from './compiler/run.ts';
import { createErrorMask, type MaskError } from './error-masking.ts';
import { createFairScheduler } from './fair-scheduler.ts';
import { createPrepare, type PreparedOperation, type PrepareOptions, type Unprepared } from './prepared-operation.ts';
import { openResponseStream, type ResponseStream } from './response-stream.ts';
import { type Answer, answerOf, encode, jsonOf, LARGE_BYTES } from './response-writer.ts';
import { createResultCache } from './result-cache.ts';
import { createResultSlot, createSlots } from './result-slot.ts';
import { refuseAnonymous } from './rules/anonymous.ts';
import { MAX_NESTING, nestsTooDeep } from './rules/json-depth.ts';
import { FREE_COST, QUICK_COST } from './rules/query-cost.ts';
import { createSharedExecution } from './shared-execution.ts';

/** One run of a prepared operation. */
interface OperationRequest {
  readonly operation: PreparedOperation;
  readonly variables?: Record<string, unknown> | null | undefined;
  /** Awaited before the operation runs; the time limit of the answer includes it. */
  readonly after?: Promise<unknown> | undefined;
  /** Whether the client still waits for the answer; a query for a client that is gone does not run. */
  readonly wanted?: (() => boolean) | undefined;
  /** W3C `traceparent` of the client, as received. */
  readonly traceparent?: unknown;
}

export type OperationResult = Answer | ResponseStream;

export interface Executor {
  readonly schema: GraphQLSchema;
  /** Parses, validates and compiles; kept by text and operation name. */
  prepare(text: string, operationName: string | null | undefined): PreparedOperation | Unprepared;
  /** Prepares a document of the server itself, exempt from the limits on text. The caller keeps the result. */
  prepareTrusted(document: DocumentNode): PreparedOperation;
  /** Runs an operation. Never throws: the result holds the masked errors. */
  run(request: OperationRequest, context: Context): Promise<OperationResult>;
  /** Called before a long piece of work for an operation; see `FairScheduler`. */
  slice(user: string): Promise<void> | null;
  /** Resolves when no operation is running. */
  settled(): Promise<void>;
  readonly mask: MaskError;
}

/** Time limit of every answer, whatever the store does, in milliseconds. */
const ANSWER_MS = 9000;
/** Costly or large answers of one user at a time, from execution until the client has read them. */
const LARGE_AT_ONCE = 4;
/** The answer of a mutation may exceed the limit by this factor: the rehearsal before the write kept the limit. */
const WRITTEN_FACTOR = 2;

export interface ExecutorOptions extends Omit<PrepareOptions, 'mask'> {
  readonly logger: Logger;
  readonly metrics: Metrics;
}

type ResultSlot = ReturnType<typeof createResultSlot>;

/** Runs the operations of every transport, with the same limits and the same errors. */
export function createExecutor({ schema, limits, introspection, logger, metrics }: ExecutorOptions): Executor {
  const mask = createErrorMask(logger);
  const { prepare, prepareTrusted } = createPrepare({ schema, limits, introspection, mask });
  const { slice } = createFairScheduler();
  const sharedExecution = createSharedExecution({ schema, masked, responseBytes: limits.responseBytes, slice });
  const resultCache = createResultCache();
  const slots = createSlots(LARGE_AT_ONCE);
  const hideSuggestions = !introspection;
  const running = createRunning();

  function masked(result: ExecutionResult): ExecutionResult {
    return result.errors ? { ...result, errors: result.errors.map(mask) } : result;
  }

  function run(request: OperationRequest, context: Context): Promise<OperationResult> {
    const { operation, traceparent } = request;
    const work = (span?: Span) => {
      const result = runTimed(request, context);
      return span ? result.then((result) => recordCode(span, result)) : result;
    };
    return inSpan(operation.label, work, { traceparent });
  }

  async function runTimed(request: OperationRequest, context: Context): Promise<OperationResult> {
    const { kind } = request.operation;
    const started = performance.now();
    running.start();
    const resultSlot = createResultSlot(slots, slice, context);
    const timeout = startTimeout(kind);
    try {
      return await execute(request, context, resultSlot, timeout.expired);
    } catch (error) {
      return answerOf({ errors: [mask(error)] });
    } finally {
      resultSlot.end();
      timeout.clear();
      running.end();
      metrics.answered(kind, performance.now() - started);
    }
  }

  async function execute(
    request: OperationRequest,
    context: Context,
    resultSlot: ResultSlot,
    expired: Promise<never>,
  ): Promise<OperationResult> {
    const { operation, variables, after } = request;
    const { kind, document, node } = operation;
    const refused = context.viewer ? null : refuseAnonymous(schema, document, node, context.audit);
    if (refused) return answerOf(masked(refused));
    if (nestsTooDeep(variables))
      throw badInput(`The variables nest too deep; at most ${MAX_NESTING} levels are allowed.`);
    const coerced = coerceVariables(schema, node, variables, hideSuggestions);
    const cost = operation.checkCost(variables);
    if (after) await Promise.race([after, expired]);
    if (kind === OperationTypeNode.SUBSCRIPTION) return subscribe(request, context, expired);
    const answer = async (): Promise<Answer> => {
      // A mutation that has written answers without waiting for a slot.
      if (cost.values > FREE_COST || (kind === OperationTypeNode.MUTATION && cost.mayBeTooLarge))
        await resultSlot.take();
      const sliceFields = cost.values > QUICK_COST;
      if (sliceFields) await resultSlot.slice();
      const { slice } = resultSlot;
      const write = (context: Context, max: number) =>
        operation.run({ context, variables: coerced, max, slice, sliceFields });
      if (kind === OperationTypeNode.QUERY) return query(request, context, resultSlot, write);
      if (cost.mayBeTooLarge) {
        const rehearsed = await write({ ...context, audit() {}, rehearsal: true }, limits.responseBytes);
        await encode(rehearsed.data, limits.responseBytes, slice);
      }
      const max = limits.responseBytes * WRITTEN_FACTOR;
      return encodeAnswer(await write(context, max), max, slice);
    };
    return Promise.race([answer(), expired]);
  }

  async function query(
    { operation, variables, wanted }: OperationRequest,
    context: Context,
    resultSlot: ResultSlot,
    write: (context: Context, max: number) => Written | Promise<Written>,
  ): Promise<Answer> {
    checkWanted(wanted);
    return resultCache.read(operation, variables, context, async (context) => {
      const written = await write(context, limits.responseBytes);
      checkWanted(wanted);
      if (written.data.length > LARGE_BYTES) await resultSlot.takeLate();
      checkWanted(wanted);
      return encodeAnswer(written, limits.responseBytes, resultSlot.slice);
    });
  }

  async function encodeAnswer({ data, errors }: Written, max: number, slice: ResultSlot['slice']): Promise<Answer> {
    const shown = errors.map(mask);
    return { kind: 'answer', json: await encode(jsonOf(data, shown), max, slice), errors: shown, ran: true };
  }

  async function subscribe(
    { operation, variables }: OperationRequest,
    context: Context,
    expired: Promise<never>,
  ): Promise<OperationResult> {
    const environment = { schema, hideSuggestions, sharedExecution, masked, slots, slice };
    const opening = openResponseStream({ operation, variables, context, ...environment });
    return Promise.race([opening, expired]).catch((error: unknown) => {
      // The caller already got a timeout; close the late subscription.
      void opening.then((late) => (late.kind === 'stream' ? late.return() : undefined)).catch(() => {});
      throw error;
    });
  }

  return { schema, prepare, prepareTrusted, run, slice, settled: running.settled, mask };
}

/**
 * Coerces the variables of an operation.
 * @throws GraphQLError for the first invalid variable; graphql-js would report up to fifty
 */
function coerceVariables(
  schema: GraphQLSchema,
  { variableDefinitions = [] }: OperationDefinitionNode,
  variables: OperationRequest['variables'],
  hideSuggestions: boolean,
): Record<string, unknown> {
  const options = { maxErrors: 1, hideSuggestions };
  const { coerced, errors } = getVariableValues(schema, variableDefinitions, variables ?? {}, options);
  if (!coerced) throw errors[0];
  return coerced;
}

/** Counts the running operations. */
function createRunning() {
  let count = 0;
  const whenIdle: (() => void)[] = [];
  return {
    start: (): void => void count++,
    end(): void {
      if (--count === 0) for (const listener of whenIdle.splice(0)) listener();
    },
    /** Resolves when none runs. */
    async settled(): Promise<void> {
      // Another operation may have started on the result of the last one.
      for (await setImmediate(); count > 0; await setImmediate())
        await new Promise<void>((resolve) => whenIdle.push(resolve));
    },
  };
}

/** Starts the time limit of an answer; `expired` rejects when it has passed. */
function startTimeout(kind: OperationTypeNode): { readonly expired: Promise<never>; clear(): void } {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(kind === OperationTypeNode.MUTATION ? outcomeUnknown() : unanswered()), ANSWER_MS);
  });
  return { expired, clear: () => clearTimeout(timer) };
}

/** @throws ChatError if the client no longer waits for the answer */
function checkWanted(wanted: OperationRequest['wanted']): void {
  if (wanted?.() === false) throw badInput('The client is gone.');
}

function unanswered(): ChatError {
  return new ChatError('UNAVAILABLE', 'The store did not answer in time.');
}

function recordCode(span: Span, result: OperationResult): OperationResult {
  const code = result.kind === 'answer' && result.errors[0]?.extensions.code;
  if (code) recordError(span, String(code));
  return result;
}
