/** What the client uses of the place it runs in: everything browsers have and Node may lack. */

/** A WebSocket as browsers, `ws` and Node 22 have it. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** The constructor of such a WebSocket. */
export type WebSocketImpl = new (url: string, protocol: string) => WebSocketLike;

/** Where unsent messages are kept: `localStorage`, `sessionStorage`, or anything alike. */
export interface OutboxStorage {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

interface EventTargetLike {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

const here = globalThis as EventTargetLike & {
  readonly WebSocket?: WebSocketImpl;
  readonly localStorage?: OutboxStorage;
  readonly document?: EventTargetLike & { readonly visibilityState: string };
};

/** The platform's own WebSocket; Node before 22 has none. */
export const platformWebSocket = (): WebSocketImpl | undefined => here.WebSocket;

/** The browser's storage, where there is one that may be used. */
export function platformStorage(): OutboxStorage | undefined {
  try {
    // Node has one that only warns, and browsers throw where cookies are forbidden.
    return here.document ? here.localStorage : undefined;
  } catch {
    return undefined;
  }
}

/** A new id that nobody else has: 128 random bits as hexadecimal digits. Unlike `randomUUID` it works without TLS. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** How often the clock is looked at, and what it may be late before that counts as sleep, in milliseconds. */
const TICK_MS = 2000;
const LATE_MS = 5000;

export interface Interruptions {
  /** The machine may have slept, or the network changed: what is connected may be dead without knowing. */
  onWake(): void;
  /** The browser says that there is no network. */
  onOffline(): void;
}

/** Watches for sleep (the clock jumped) and for what the browser tells of the network. Returns how to stop. */
export function watchInterruptions(clock: () => number, { onWake, onOffline }: Interruptions): () => void {
  let last = clock();
  const timer = setInterval(() => {
    const now = clock();
    const jumped = Math.abs(now - last - TICK_MS) > LATE_MS;
    last = now;
    if (jumped) onWake();
  }, TICK_MS);
  const onVisible = () => {
    if (here.document?.visibilityState === 'visible') onWake();
  };
  here.addEventListener?.('online', onWake);
  here.addEventListener?.('offline', onOffline);
  here.addEventListener?.('pageshow', onWake);
  here.document?.addEventListener?.('visibilitychange', onVisible);
  return () => {
    clearInterval(timer);
    here.removeEventListener?.('online', onWake);
    here.removeEventListener?.('offline', onOffline);
    here.removeEventListener?.('pageshow', onWake);
    here.document?.removeEventListener?.('visibilitychange', onVisible);
  };
}
