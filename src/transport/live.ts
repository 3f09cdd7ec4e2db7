import { createSourceEventStream, type ExecutionArgs, type ExecutionResult, execute } from 'graphql';
import type { Sharing } from './sharing.ts';

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
  readonly masked: (result: ExecutionResult) => ExecutionResult;
}

/** Starts a subscription (GraphQL specification, section 6.2.3): a stream of results, or one with why there is none. */
export async function openLive({ args, sharing, masked }: LiveOptions): Promise<Live | ExecutionResult> {
  const stream = await createSourceEventStream(args);
  if (!(Symbol.asyncIterator in stream)) return masked(stream);
  const source = (stream as AsyncIterable<object>)[Symbol.asyncIterator]() as Source;
  const shared = sharing.join(args);
  let ended = false;

  function resultOf(event: object): ExecutionResult | Promise<ExecutionResult> {
    const run = (contextValue: unknown) => {
      const result = execute({ ...args, contextValue, rootValue: event });
      return result instanceof Promise ? result.then(masked) : masked(result);
    };
    return shared ? shared.result(event, run) : run(args.contextValue);
  }

  const json = (result: ExecutionResult): Buffer => shared?.json(result) ?? Buffer.from(JSON.stringify(result));

  function end(): void {
    if (!ended) shared?.leave();
    ended = true;
  }

  const live: Live = {
    async next() {
      if (ended) return { done: true, value: undefined };
      try {
        const { done, value: event } = await source.next();
        if (!done && !ended) return { done: false, value: await resultOf(event) };
        end();
        return { done: true, value: undefined };
      } catch (error) {
        await live.return?.();
        return { done: false, value: masked({ errors: [error as NonNullable<ExecutionResult['errors']>[number]] }) };
      }
    },

    deliver: (to) =>
      new Promise((resolve, reject) => {
        // This is the path of every live message: no promise where there is nothing to wait for.
        function takeAll(): void {
          try {
            for (let event = source.take?.(); event; event = source.take?.()) {
              const result = resultOf(event);
              if (result instanceof Promise) return void result.then(give).then(takeAll, reject);
              give(result);
            }
            if (!source.onNews?.(takeAll)) takeNext().catch(reject);
          } catch (error) {
            reject(error);
          }
        }
        async function takeNext(): Promise<void> {
          const { done, value } = await live.next();
          if (done) return resolve();
          give(value);
          takeAll();
        }
        function give(result: ExecutionResult): void {
          if (!ended) to(json(result));
        }
        takeAll();
      }),

    async return() {
      end();
      // Reaches the source even while a `next` is pending.
      await source.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]: () => live,
  };
  return live;
}
