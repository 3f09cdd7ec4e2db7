import type { Span } from '@opentelemetry/api';
import { createSourceEventStream, type GraphQLError, type GraphQLSchema } from 'graphql';
import type { Context } from '../graphql/context.ts';
import { activeSpan, inSpan } from '../observability/tracing.ts';
import type { PreparedOperation } from './prepared-operation.ts';
import { type Answer, answerOf, type Json, LARGE_BYTES } from './response-writer.ts';
import type { Slots } from './result-slot.ts';
import type { Masked, Shared, SharedExecution } from './shared-execution.ts';

/** A running subscription. */
export interface ResponseStream {
  readonly kind: 'stream';
  /** Delivers the JSON of each result, in UTF-8, not to be changed; resolves after the last. */
  deliver(to: (json: Json) => void): Promise<void>;
  /** Ends the stream, even while it waits for the next event. */
  return(): Promise<void>;
}

/** A source of events; available events can be taken without waiting. */
interface Source extends AsyncIterator<object> {
  /** The next event, if available. */
  poll?(): object | undefined;
  /** Calls back when an event may be available; false if `next` must be called instead. */
  onReadable?(listener: () => void): boolean;
}

export interface ResponseStreamOptions {
  readonly schema: GraphQLSchema;
  readonly hideSuggestions: boolean;
  readonly operation: PreparedOperation;
  readonly variables: Readonly<Record<string, unknown>> | null | undefined;
  readonly context: Context;
  readonly sharedExecution: SharedExecution;
  readonly masked: Masked;
  readonly slots: Slots;
  /** See `FairScheduler`. */
  readonly slice: (user: string) => Promise<void> | null;
}

/** Starts a subscription (GraphQL specification, section 6.2.3): a stream of results, or the errors of its start. */
export async function openResponseStream(options: ResponseStreamOptions): Promise<ResponseStream | Answer> {
  const { schema, hideSuggestions, operation, variables: variableValues, context, sharedExecution, masked } = options;
  const { document, node } = operation;
  const stream = await createSourceEventStream({
    ...{ schema, document, operationName: node.name?.value, variableValues, contextValue: context, hideSuggestions },
  });
  if (!(Symbol.asyncIterator in stream)) return answerOf(masked(stream));
  const source = (stream as AsyncIterable<object>)[Symbol.asyncIterator]() as Source;
  return new Stream(source, sharedExecution.join(operation, variableValues, context), options);
}

/** A class, because there are many: one for each subscriber. */
class Stream implements ResponseStream {
  readonly kind = 'stream';
  readonly #source: Source;
  readonly #shared: Shared;
  readonly #options: ResponseStreamOptions;
  readonly #context: Context;
  /** The span of the operation that started the stream. */
  readonly #opening = activeSpan();
  #to: (json: Json) => void = ignore;
  #ended = false;
  #left = false;
  /** Called if the stream ends while it waits for a slot. */
  #returned: () => void = ignore;

  constructor(source: Source, shared: Shared, options: ResponseStreamOptions) {
    this.#source = source;
    this.#shared = shared;
    this.#options = options;
    this.#context = options.context;
  }

  async deliver(to: (json: Json) => void): Promise<void> {
    this.#to = to;
    try {
      while (!this.#ended) if (!(await this.#deliverAvailable())) await this.#deliverNext();
    } catch (error) {
      this.#emit([Buffer.from(JSON.stringify(this.#options.masked({ errors: [error as GraphQLError] })))]);
    }
    await this.return();
  }

  #emit(json: Json): void {
    if (!this.#ended) this.#to(json);
  }

  /**
   * Delivers available events, now and at each notification, while none needs waiting: the path of every live message.
   * Resolves with false if `next` must be called for the next event.
   */
  #deliverAvailable(): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const takeAll = (): void => {
        try {
          const first = this.#source.poll?.();
          const late = first && this.#inSpan((span) => this.#emitAll(first, span));
          if (late) return resolve(this.#deliverLate(late).then(() => true));
          if (!this.#source.onReadable?.(takeAll)) resolve(false);
        } catch (error) {
          reject(error);
        }
      };
      takeAll();
    });
  }

  /** Delivers an event and those available after it, up to one that is slow or large, which is returned. */
  #emitAll(first: object, span?: Span): object | undefined {
    let count = 0;
    let event: object | undefined = first;
    for (; event; event = this.#source.poll?.()) {
      const json = this.#shared.json(event);
      if (json instanceof Promise || isLarge(json)) break;
      this.#emit(json);
      count++;
    }
    span?.setAttribute('kredichat.events', count);
    return event;
  }

  #inSpan<Result>(work: (span?: Span) => Result): Result {
    return inSpan('deliver', work, { link: this.#opening });
  }

  async #deliverNext(): Promise<void> {
    // `next` may read a page of a replay.
    await this.#turn();
    const { done, value: event } = await this.#source.next();
    if (done) this.#ended = true;
    if (this.#ended) return;
    await this.#turn();
    await this.#deliverLate(event);
  }

  async #turn(): Promise<void> {
    const turn = this.#options.slice(this.#user);
    if (turn) await turn;
  }

  /**
   * Delivers an event that is slow or large: makes its result again and sends it in one of the user's slots, after the
   * client has read earlier ones.
   */
  #deliverLate(event: object): Promise<void> {
    return this.#inSpan(() => this.#deliverInSlot(event));
  }

  async #deliverInSlot(event: object): Promise<void> {
    if (await this.#deliverIfSmall(event)) return;
    const slot = this.#options.slots.take(this.#user);
    try {
      await Promise.race([slot.acquired, this.#waitForReturn()]);
      if (this.#ended) return;
      this.#emit(await this.#shared.json(event));
      await this.#context.drained();
    } finally {
      slot.give();
    }
  }

  /** Delivers an event; false, without effect, if its result is large. */
  async #deliverIfSmall(event: object): Promise<boolean> {
    const json = await this.#shared.json(event);
    const small = !isLarge(json);
    if (small) this.#emit(json);
    return small;
  }

  #waitForReturn(): Promise<void> {
    return new Promise((resolve) => {
      this.#returned = resolve;
    });
  }

  async return(): Promise<void> {
    if (!this.#left) this.#shared.leave();
    this.#left = true;
    this.#ended = true;
    this.#returned();
    // Reaches the source even while a `next` is pending.
    await this.#source.return?.();
  }

  get #user(): string {
    return this.#context.viewer?.email ?? '';
  }
}

function ignore(): void {}

function isLarge(json: Json): boolean {
  let bytes = 0;
  for (const { length } of json) bytes += length;
  return bytes > LARGE_BYTES;
}
