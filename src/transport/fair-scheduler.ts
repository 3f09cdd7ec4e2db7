/** Work that one turn of the event loop may hold, in milliseconds, before other callers have theirs. */
const SLICE_MS = 10;

/** Gives the event loop to long work in slices, so that short work, such as a send, never waits for all of it. */
export interface FairScheduler {
  /** Null while this turn has time left and no caller waits; else resolves in a later turn. Different users take turns. */
  slice(user: string): Promise<void> | null;
}

/** @param clock milliseconds, for measuring time spans */
export function createFairScheduler(clock = () => performance.now()): FairScheduler {
  const waiting = new Map<string, (() => void)[]>();
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
    queueMicrotask(() => process.nextTick(goOn));
  }

  function goOn(): void {
    if (waiting.size > 0 && elapsed() >= SLICE_MS) setImmediate(resumeNext);
    else resumeNext();
  }

  return {
    slice(user) {
      if (waiting.size === 0 && elapsed() < SLICE_MS) return null;
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
