import { KredichatError } from '../errors.ts';
import type { Socket } from './socket.ts';

/** A credential; with `endsAt` (milliseconds since 1970) it is renewed before that instant. */
export type Token = string | { readonly token: string; readonly endsAt: number };

/** A token is renewed this long before its end, in milliseconds. */
const RENEW_BEFORE_MS = 30_000;

/** The longest wait of a timer: 31 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** @throws KredichatError without a credential, as JavaScript callers may return null before sign-in */
export function bearer(token: Token | null | undefined): string {
  const credential = typeof token === 'object' ? token?.token : token;
  if (typeof credential === 'string' && credential.trim() !== '') return `Bearer ${credential}`;
  throw new KredichatError('UNAUTHENTICATED', 'token() must return a non-empty credential.');
}

/** Renews the credential of a socket before each end. Returns a function that stops it. */
export function keepRenewed(
  socket: Socket,
  first: Token,
  token: () => Token | Promise<Token>,
  clock: () => number,
): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;

  function renewBeforeEnd(present: Token): void {
    if (typeof present === 'string') return;
    const left = present.endsAt - clock();
    // JavaScript callers may omit `endsAt`.
    if (Number.isNaN(left)) return;
    timer = setTimeout(renew, Math.min(Math.max(left - RENEW_BEFORE_MS, left / 2, 1000), MAX_TIMER_MS));
  }

  async function renew(): Promise<void> {
    try {
      const next = await token();
      if (stopped) return;
      socket.renew(bearer(next));
      renewBeforeEnd(next);
    } catch {
      // The server closes the connection when the token ends; the reconnect asks for a new one.
    }
  }

  renewBeforeEnd(first);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
