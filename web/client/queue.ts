/** A queue between a producer and a `for await` loop. `onReturn` is called when the loop ends early. */
export function createQueue<T>(onReturn: () => void) {
  const values: T[] = [];
  let waiting: { resolve(result: IteratorResult<T>): void; reject(error: unknown): void } | null = null;
  let ended = false;
  let failure: { readonly error: unknown } | null = null;

  const done = (): IteratorReturnResult<undefined> => ({ done: true, value: undefined });

  const iterator: AsyncIterableIterator<T> = {
    next() {
      const value = values.shift();
      if (value !== undefined) return Promise.resolve({ done: false, value });
      if (failure) {
        const { error } = failure;
        failure = null;
        return Promise.reject(error);
      }
      if (ended) return Promise.resolve(done());
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject };
      });
    },
    return() {
      if (!ended) onReturn();
      ended = true;
      values.length = 0;
      waiting?.resolve(done());
      waiting = null;
      return Promise.resolve(done());
    },
    [Symbol.asyncIterator]: () => iterator,
  };

  return {
    iterator,
    push(value: T): void {
      if (ended) return;
      if (waiting) waiting.resolve({ done: false, value });
      else values.push(value);
      waiting = null;
    },
    /** Ends the queue: the loop throws the error after the values before it. */
    fail(error: unknown): void {
      ended = true;
      if (waiting) waiting.reject(error);
      else failure = { error };
      waiting = null;
    },
  };
}
