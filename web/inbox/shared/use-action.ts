import { useRef, useState } from 'react';

/** Runs the viewer's actions one at a time, and gives the error of the last one. */
export function useAction() {
  const [waiting, setWaiting] = useState(0);
  const last = useRef<Promise<unknown>>(Promise.resolve());
  const [error, setError] = useState<string | null>(null);

  /** Resolves with whether the action succeeded. */
  async function attempt(action: () => Promise<void>): Promise<boolean> {
    setWaiting((count) => count + 1);
    const mine = last.current.then(action);
    last.current = mine.catch(() => {});
    try {
      await mine;
      setError(null);
      return true;
    } catch (thrown) {
      setError(thrown instanceof Error ? thrown.message : String(thrown));
      return false;
    } finally {
      setWaiting((count) => count - 1);
    }
  }

  return { busy: waiting > 0, error, attempt };
}
