import { asError, type KredichatError } from '../errors.ts';
import { createBackoff, delay } from './backoff.ts';

/** Repeats one piece of work after failures, with growing waits. */
export interface RetryTimer {
  /** Runs `work` after the wait that the error names, or else a longer one after each failure in a row. */
  schedule(work: () => void, error?: KredichatError | null): void;
  /** The work succeeded: the next failure counts as the first. */
  reset(): void;
  /** Cancels a scheduled run. */
  cancel(): void;
}

/** Creates a timer for retries; see `createBackoff` for the limits of the wait, in milliseconds. */
export function createRetryTimer(firstMs?: number, maxMs?: number): RetryTimer {
  const backoff = createBackoff(firstMs, maxMs);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const cancel = () => clearTimeout(timer);
  return {
    schedule(work, error) {
      cancel();
      timer = setTimeout(work, backoff.next(error));
    },
    reset: backoff.reset,
    cancel,
  };
}

/**
 * Wraps work so that it can be requested at any time: one run at a time, one more run for all requests made during a
 * run, and a retry after a transient failure. Any other failure ends it silently until the next request.
 */
export function coalesceWithRetry(work: () => Promise<void>, stopped: () => boolean): () => void {
  let requested = false;
  let running = false;

  async function run(): Promise<void> {
    running = true;
    const backoff = createBackoff();
    while (requested && !stopped()) {
      requested = false;
      try {
        await work();
        backoff.reset();
      } catch (thrown) {
        const error = asError(thrown);
        // UNAUTHENTICATED may pass with the next credential.
        if (!error.transient && error.code !== 'UNAUTHENTICATED') continue;
        requested = true;
        await delay(backoff.next());
      }
    }
    running = false;
  }

  return () => {
    requested = true;
    if (!running) void run();
  };
}
