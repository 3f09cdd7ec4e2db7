import { asError } from '../errors.ts';
import { backoffMs, delay } from './backoff.ts';

/**
 * Makes of some work one that may be asked for at any time: one at a time, once more for all who ask while it is under way, and again
 * after a while when it fails with what may pass by itself. Other failures end it quietly, until it is asked for again.
 */
export function coalesceWithRetry(work: () => Promise<void>, stopped: () => boolean): () => void {
  let wanted = false;
  let working = false;

  async function run(): Promise<void> {
    working = true;
    for (let failures = 0; wanted && !stopped(); ) {
      wanted = false;
      try {
        await work();
        failures = 0;
      } catch (thrown) {
        const error = asError(thrown);
        // With another credential it may be answered.
        if (!error.transient && error.code !== 'UNAUTHENTICATED') continue;
        wanted = true;
        await delay(backoffMs(failures++));
      }
    }
    working = false;
  }

  return () => {
    wanted = true;
    if (!working) void run();
  };
}
