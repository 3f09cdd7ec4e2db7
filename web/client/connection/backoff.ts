/**
 * The wait after so many failures in a row, in milliseconds: exponential backoff with full jitter. It is a random part
 * of `firstMs`, then of twice as much, and so on up to `maxMs`.
 */
export function backoffMs(failures: number, firstMs = 1000, maxMs = 15_000): number {
  return Math.random() * Math.min(maxMs, firstMs * 2 ** failures);
}

/** Resolves after so many milliseconds. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
