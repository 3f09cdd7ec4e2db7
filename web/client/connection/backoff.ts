/** A random part of a second, of two, four … up to `mostMs`: the wait after so many failures, in milliseconds. */
export function jitter(failures: number, firstMs = 1000, mostMs = 15_000): number {
  return Math.random() * Math.min(mostMs, firstMs * 2 ** failures);
}

/** Resolves after so many milliseconds. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
