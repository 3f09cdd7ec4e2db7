/** A value that changes, to be read and watched. Fits React's `useSyncExternalStore`, Svelte's and RxJS's adapters. */
export interface Readable<T> {
  /** The present value: the same object until it changes. */
  get(): T;
  /** Calls back after every change, until the function it returns is called. */
  subscribe(listener: () => void): () => void;
}

/** A `Readable` together with the right to change it. */
export interface Observable<T> extends Readable<T> {
  set(value: T): void;
}

/** A cell that tells its listeners one after the other, at once. */
export function createObservable<T>(value: T): Observable<T> {
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      notifyAll(listeners);
    },
    subscribe(listener) {
      // One of its own, so that the same function may be registered twice.
      const own = () => listener();
      listeners.add(own);
      return () => void listeners.delete(own);
    },
  };
}

/** Calls every listener. One that throws keeps neither the others nor the caller from going on; its error is reported as uncaught. */
export function notifyAll<Args extends unknown[]>(listeners: Iterable<(...args: Args) => void>, ...args: Args): void {
  for (const listener of [...listeners]) {
    try {
      listener(...args);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
