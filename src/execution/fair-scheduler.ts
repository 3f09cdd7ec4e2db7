/** Long work in one turn of the event loop, in milliseconds, before other callers get a turn. */
const SLICE_MS = 10;

/** Runs long work in slices of the event loop, so that short work, such as a send, does not wait for all of it. */
export interface FairScheduler {
  /**
   * Called before each piece of long work: null if the piece may begin at once; else resolves when it may. Pieces begin
   * one by one, those of different users in turn.
   */
  slice(user: string): Promise<void> | null;
}

/** @param clock milliseconds, for measuring time spans */
export function createFairScheduler(clock = () => performance.now()): FairScheduler {
  const waiting = new Map<string, (() => void)[]>();
  /** True while a piece of work runs or is scheduled. */
  let running = false;
  /** Time at which this turn of the event loop was first measured; null before that. */
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

  /** Resumes the next caller, then checks the clock when its work in this turn is done. */
  function resumeNext(): void {
    elapsed();
    const [first] = waiting;
    if (!first) {
      running = false;
      return;
    }
    const [user, queue] = first;
    queue.shift()?.();
    // The user goes to the end of the queue if more of its pieces wait.
    waiting.delete(user);
    if (queue.length > 0) waiting.set(user, queue);
    scheduleNext();
  }

  /** Schedules the next piece after the microtasks of the current one, when its duration is known. */
  function scheduleNext(): void {
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
        scheduleNext();
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
