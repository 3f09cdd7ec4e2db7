/** The platform APIs of the client that browsers have and Node may lack. */

/** The WebSocket interface of browsers, `ws` and Node 22. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** The constructor of a `WebSocketLike`. */
export type WebSocketImpl = new (url: string, protocol: string) => WebSocketLike;

/** Storage for unsent messages: `localStorage`, `sessionStorage`, or one with the same interface. */
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

const platform = globalThis as EventTargetLike & {
  readonly WebSocket?: WebSocketImpl;
  readonly localStorage?: OutboxStorage;
  readonly document?: EventTargetLike & { readonly visibilityState: string };
  readonly location?: { readonly href: string };
  readonly crypto?: { getRandomValues(bytes: Uint8Array<ArrayBuffer>): Uint8Array };
};

/** The platform's WebSocket; undefined in Node before 22. */
export const platformWebSocket = (): WebSocketImpl | undefined => platform.WebSocket;

/** The browser's storage, not that of Node, which only warns. Throws where the browser blocks site data. */
export const platformStorage = (): OutboxStorage | undefined => (platform.document ? platform.localStorage : undefined);

/**
 * The WebSocket address of the server at `url`: `http:` becomes `ws:`, a path is resolved against the page's address,
 * and a fragment is dropped.
 * @throws TypeError for any other URL
 */
export function webSocketUrl(url: string): string {
  // JavaScript callers may pass anything.
  const given = String(url).trim();
  const isPath = /^\.{0,2}\//.test(given);
  if (isPath && !platform.location) {
    throw new TypeError(
      `url "${given}" is a path, which only a page can resolve: pass an address such as https://HOST/graphql.`,
    );
  }
  try {
    const address = isPath ? new URL(given, platform.location?.href).href : given;
    const [, secure, rest] = /^(?:http|ws)(s?):\/\/([^#]+)/i.exec(address) ?? [];
    if (rest !== undefined) {
      const result = `ws${secure?.toLowerCase()}://${rest}`;
      // Not its `href`: React Native's URL adds a slash to that.
      new URL(result);
      return result;
    }
  } catch {
    // Falls through to the error below.
  }
  throw new TypeError(`url must be an http, https, ws or wss address, or a path such as /graphql; got "${given}".`);
}

/**
 * A new id of 128 bits as hexadecimal digits. It is unique, not secret. Unlike `randomUUID`, `getRandomValues` works
 * without TLS; React Native lacks both.
 */
export function randomId(): string {
  const bytes = new Uint8Array(16);
  if (platform.crypto?.getRandomValues) platform.crypto.getRandomValues(bytes);
  else
    bytes.forEach((_, i) => {
      bytes[i] = Math.random() * 256;
    });
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Interval between clock checks, and the lateness that counts as sleep of the machine, in milliseconds. */
const TICK_MS = 2000;
const MAX_LATE_MS = 5000;

export interface Interruptions {
  /** The machine may have slept or the network changed, so that the connection may be dead. */
  onWake(): void;
  /** The browser reports that there is no network. */
  onOffline(): void;
}

/** Watches for sleep (a clock jump) and the browser's network events. Returns a function that stops it. */
export function watchInterruptions(clock: () => number, { onWake, onOffline }: Interruptions): () => void {
  let last = clock();
  const timer = setInterval(() => {
    const now = clock();
    const jumped = Math.abs(now - last - TICK_MS) > MAX_LATE_MS;
    last = now;
    if (jumped) onWake();
  }, TICK_MS);
  const onVisible = () => {
    if (platform.document?.visibilityState === 'visible') onWake();
  };
  platform.addEventListener?.('online', onWake);
  platform.addEventListener?.('offline', onOffline);
  platform.addEventListener?.('pageshow', onWake);
  platform.document?.addEventListener?.('visibilitychange', onVisible);
  return () => {
    clearInterval(timer);
    platform.removeEventListener?.('online', onWake);
    platform.removeEventListener?.('offline', onOffline);
    platform.removeEventListener?.('pageshow', onWake);
    platform.document?.removeEventListener?.('visibilitychange', onVisible);
  };
}
