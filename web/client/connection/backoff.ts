import type { KredichatError } from '../errors.ts';

/**
 * The waits after failures in a row, in milliseconds: the one that the error names, or else exponential backoff with
 * full jitter. That is a random part of `firstMs`, then of twice as much, and so on up to `maxMs`.
 */
export function createBackoff(firstMs = 1000, maxMs = 15_000) {
  let failures = 0;
  return {
    next: (error?: KredichatError | null): number =>
      error?.retryAfterMs ?? Math.random() * Math.min(maxMs, firstMs * 2 ** failures++),
    /** After a success: the next failure counts as the first. */
    reset(): void {
      failures = 0;
    },
  };
}

/** Resolves after so many milliseconds. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
