/**
 * Runs something for many at once: whoever asks while it is under way shares the next run with all the others, as what
 * had begun before they asked may not tell them what they want to know.
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
