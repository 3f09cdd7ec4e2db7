/** A random part of a second, of two, four … up to `mostMs`: the wait after so many failures, in milliseconds. */
export function backoffMs(failures: number, firstMs = 1000, maxMs = 15_000): number {
  return Math.random() * Math.min(maxMs, firstMs * 2 ** failures);
}

/** Resolves after so many milliseconds. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
