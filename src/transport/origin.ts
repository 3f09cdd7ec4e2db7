import { isLoopback } from '../config.ts';

/**
 * Whether a browser page of this origin may talk to the server (RFC 6454): the server's own, those allowed, and any
 * loopback origin. Without an `Origin` header the client is no browser; the origin `null` is nobody's.
 */
export function originAllowed(
  origin: string | undefined,
  host: string | undefined,
  allowed: readonly string[],
): boolean {
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  const url = new URL(origin);
  return url.host === host || allowed.includes(origin) || isLoopback(url.hostname);
}
