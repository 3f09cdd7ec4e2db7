/**
 * Runs something for many callers at once: calls during a run share the next run, as the present one may have begun
 * before what the caller wants to see.
 */
export function singleFlight(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  let next: Promise<void> | null = null;

  function start(): Promise<void> {
    running ??= run().finally(() => {
      running = null;
    });
    return running;
  }

  return () => {
    if (!running) return start();
    const begin = () => {
      next = null;
      return start();
    };
    next ??= running.then(begin, begin);
    return next;
  };
}
