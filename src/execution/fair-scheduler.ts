/** Work that one turn of the event loop may hold, in milliseconds, before other callers have theirs. */
const SLICE_MS = 10;

/** Gives the event loop to long work in slices, so that short work, such as a send, never waits for all of it. */
export interface FairScheduler {
  /**
   * Asked before each piece of long work: null where it may begin at once; else resolves when it may. Pieces begin one
   * after the other, those of different users in turn.
   */
  slice(user: string): Promise<void> | null;
}

/** @param clock milliseconds, for measuring time spans */
export function createFairScheduler(clock = () => performance.now()): FairScheduler {
  const waiting = new Map<string, (() => void)[]>();
  /** Whether a piece of work goes on, or is to go on. */
  let running = false;
  /** When this turn of the event loop began, as far as is known; null where it was not asked yet. */
  let since: number | null = null;

  function elapsed(): number {
    if (since === null) {
      since = clock();
      setImmediate(() => {
        since = null;
      });
    }
    return clock() - since;
  }

  /** Resumes the next caller, and looks at the clock once all that came of it in this turn is done. */
  function resumeNext(): void {
    elapsed();
    const [first] = waiting;
    if (!first) {
      running = false;
      return;
    }
    const [user, queue] = first;
    queue.shift()?.();
    // To the end of the line, if there is more.
    waiting.delete(user);
    if (queue.length > 0) waiting.set(user, queue);
    lookAfterwards();
  }

  /** Goes on once all is done that the present piece does without waiting: then it is known how long that took. */
  function lookAfterwards(): void {
    queueMicrotask(() =>
      process.nextTick(() => {
        if (waiting.size > 0 && elapsed() >= SLICE_MS) setImmediate(resumeNext);
        else resumeNext();
      }),
    );
  }

  return {
    slice(user) {
      if (!running && elapsed() < SLICE_MS) {
        running = true;
        lookAfterwards();
        return null;
      }
      return new Promise((resolve) => {
        const queue = waiting.get(user);
        if (queue) queue.push(resolve);
        else waiting.set(user, [resolve]);
        if (!running) setImmediate(resumeNext);
        running = true;
      });
    },
  };
}
