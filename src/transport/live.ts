import { createSourceEventStream, type ExecutionArgs, type ExecutionResult, type GraphQLError } from 'graphql';
import { executeEvent, type Masked, type Shared, type Sharing } from './sharing.ts';

/** A subscription under way. Its results are taken one by one with `next`, or all with `deliver`. */
export interface Live extends AsyncIterableIterator<ExecutionResult> {
  /** Hands over the JSON of each result, in UTF-8 and not to be changed; resolves when there will be no other. */
  deliver(to: (json: Buffer) => void): Promise<void>;
}

/** Where events come from; those at hand can be taken without waiting. */
interface Source extends AsyncIterator<object> {
  /** The next event, if it is there already. */
  take?(): object | undefined;
  /** Calls back when there may be something to take; false where `next` is to be asked instead. */
  onNews?(listener: () => void): boolean;
}

export interface LiveOptions {
  readonly args: ExecutionArgs;
  readonly sharing: Sharing;
  readonly masked: Masked;
}

/** Starts a subscription (GraphQL specification, section 6.2.3): a stream of results, or one with why there is none. */
export async function openLive(options: LiveOptions): Promise<Live | ExecutionResult> {
  const { args, sharing, masked } = options;
  const stream = await createSourceEventStream(args);
  if (!(Symbol.asyncIterator in stream)) return masked(stream);
  return new Stream((stream as AsyncIterable<object>)[Symbol.asyncIterator]() as Source, sharing.join(args), options);
}

/** A class, because there are many: one for each subscriber. */
class Stream implements Live {
  readonly #source: Source;
  readonly #shared: Shared | null;
  readonly #args: ExecutionArgs;
  readonly #masked: Masked;
  #ended = false;
  #failed = false;

  constructor(source: Source, shared: Shared | null, { args, masked }: LiveOptions) {
    this.#source = source;
    this.#shared = shared;
    this.#args = args;
    this.#masked = masked;
  }

  async next(): Promise<IteratorResult<ExecutionResult>> {
    if (this.#failed) await this.return();
    if (this.#ended) return { done: true, value: undefined };
    try {
      const { done, value: event } = await this.#source.next();
      if (!done && !this.#ended) return { done: false, value: await this.#resultOf(event) };
      return await this.return();
    } catch (error) {
      return { done: false, value: this.#failure(error) };
    }
  }

  deliver(to: (json: Buffer) => void): Promise<void> {
    return new Promise((resolve) => {
      // This is the path of every live message: no promise where there is nothing to wait for.
      const takeAll = (): void => {
        try {
          for (let event = this.#source.take?.(); event; event = this.#source.take?.()) {
            const result = this.#resultOf(event);
            if (result instanceof Promise) return void result.then(give).then(takeAll).catch(fail);
            give(result);
          }
          if (!this.#source.onNews?.(takeAll)) takeNext().catch(fail);
        } catch (error) {
          fail(error);
        }
      };
      const takeNext = async (): Promise<void> => {
        const { done, value } = await this.next();
        if (done) return resolve();
        give(value);
        takeAll();
      };
      const give = (result: ExecutionResult): void => {
        if (!this.#ended) to(this.#shared?.json(result) ?? Buffer.from(JSON.stringify(result)));
      };
      const fail = (error: unknown): void => {
        give(this.#failure(error));
        void this.return().then(() => resolve());
      };
      takeAll();
    });
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    if (!this.#ended) this.#shared?.leave();
    this.#ended = true;
    // Reaches the source even while a `next` is pending.
    await this.#source.return?.();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #resultOf(event: object): ExecutionResult | Promise<ExecutionResult> {
    return this.#shared?.result(event, this.#args, this.#masked) ?? executeEvent(event, this.#args, this.#masked);
  }

  /** The last result of a stream whose source failed. */
  #failure(error: unknown): ExecutionResult {
    this.#failed = true;
    return this.#masked({ errors: [error as GraphQLError] });
  }
}
