import type { Logger } from '../observability/logger.ts';
import { type Store, StoreUnavailable } from './store.ts';

/** Time between two pings during an outage, in milliseconds. */
const PING_INTERVAL_MS = 1000;
/** An outage is over when a ping succeeds and no call has failed for this long, in milliseconds. */
const QUIET_MS = 3000;
/** A ping that takes longer than this is an outage, in milliseconds. */
const LATE_MS = 4000;

export interface Outages {
  /** Records a failure of the store; logged once per outage. */
  report(cause: unknown): void;
  /** Wraps the store so that its failures are reported. */
  watch(store: Store): Store;
}

/**
 * Logs the begin of an outage of the store, with its cause, and its end: one line each, however many calls fail.
 * @param setAvailable is called with false at the begin, and with true at the end
 */
export function createOutages(logger: Logger, setAvailable: (available: boolean) => void): Outages {
  let lastFailure: number | null = null;
  let ping: (() => Promise<void>) | null = null;
  let closed = false;

  function report(cause: unknown): void {
    if (closed) return;
    const begins = lastFailure === null;
    lastFailure = performance.now();
    if (!begins) return;
    setAvailable(false);
    const why = cause instanceof Error ? cause.message : String(cause);
    logger.error({ err: cause }, `the store is unavailable: ${why}`);
    schedulePing();
  }

  function schedulePing(): void {
    setTimeout(async () => {
      const answers = await ping?.().then(
        () => true,
        () => false,
      );
      if (closed) return;
      if (!answers || performance.now() - (lastFailure ?? 0) < QUIET_MS) return schedulePing();
      lastFailure = null;
      setAvailable(true);
      logger.warn('the store is available again');
    }, PING_INTERVAL_MS).unref();
  }

  const observed =
    (call: (...args: never[]) => Promise<unknown>) =>
    async (...args: never[]) => {
      try {
        return await call(...args);
      } catch (error) {
        if (error instanceof StoreUnavailable) report(error.cause);
        throw error;
      }
    };

  return {
    report,
    watch(store) {
      // A search may be given up while the store is healthy.
      const { watch, close, search, searchLag, ...calls } = store;
      const entries = Object.entries(calls).map(([name, call]) => [name, observed(call)]);
      const watched = Object.fromEntries(entries) as typeof calls;
      ping = async () => {
        const late = setTimeout(() => report(new Error(`no answer within ${LATE_MS} ms`)), LATE_MS).unref();
        await watched.ping().finally(() => clearTimeout(late));
      };
      return {
        ...watched,
        ...{ watch, search, searchLag, ping },
        close() {
          closed = true;
          return close();
        },
      };
    },
  };
}
