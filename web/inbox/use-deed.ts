import { useState } from 'react';

/** Runs what a person asked for: one at a time, and says why it failed. */
export function useDeed() {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);

  /** Resolves with whether it worked. */
  async function attempt(deed: () => Promise<void>): Promise<boolean> {
    if (busy) return false;
    setBusy(true);
    setError(null);
    try {
      await deed();
      return true;
    } catch (thrown) {
      setError(thrown instanceof Error ? thrown.message : String(thrown));
      return false;
    } finally {
      setBusy(false);
    }
  }

  return { busy, error, attempt };
}
