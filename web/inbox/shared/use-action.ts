import { useRef, useState } from 'react';

/** Runs what a person asked for: one after the other, and says why it failed. */
export function useAction() {
  const [waiting, setWaiting] = useState(0);
  const last = useRef<Promise<unknown>>(Promise.resolve());
  const [error, setError] = useState<string | null>(null);

  /** Resolves with whether it worked. */
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
