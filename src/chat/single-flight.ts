/**
 * Shares runs between callers: calls during a run share the next one, as the present run may have begun before the
 * changes that the caller wants to see.
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
