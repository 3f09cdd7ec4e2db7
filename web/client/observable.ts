/** A value to read and to subscribe to. Fits React's `useSyncExternalStore` and the adapters of Svelte and RxJS. */
export interface Readable<T> {
  /** The present value: the same object until it changes. */
  get(): T;
  /** Calls back after every change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

/** A `Readable` that can be set. */
export interface Observable<T> extends Readable<T> {
  set(value: T): void;
}

/** Creates an observable that notifies its listeners synchronously. */
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
      // A new function each time, so that the same listener may be registered twice.
      const own = () => listener();
      listeners.add(own);
      return () => void listeners.delete(own);
    },
  };
}

/** Calls every listener. An error of one is reported as uncaught and stops neither the others nor the caller. */
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
