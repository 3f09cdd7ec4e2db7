import { asError, KredichatError } from '../errors.ts';
import { createObservable, notifyAll, type Readable } from '../observable.ts';
import { bearer, keepRenewed, type Token } from './credential.ts';
import { type WebSocketImpl, watchInterruptions } from './platform.ts';
import { createRetryTimer } from './retry.ts';
import { type Closing, openSocket, type Socket } from './socket.ts';

/**
 * The state of the connection. `connecting` occurs once, at the start. `offline`: the client retries automatically, and
 * `error` is the last failure. `refused`: the credential or the address was not accepted, and the client does not retry
 * until `reconnect` is called.
 */
export type Status =
  | { readonly state: 'connecting' | 'online' | 'closed' }
  | { readonly state: 'offline'; readonly error: KredichatError }
  | { readonly state: 'refused'; readonly error: KredichatError };

/** Timeouts of the connection, in milliseconds. */
export interface Timeouts {
  /** Time between probes of the connection: a dead one is detected after this and `answerMs`. */
  readonly heartbeatMs: number;
  /** Maximum time for the server to acknowledge a connection or to answer a probe. */
  readonly answerMs: number;
  /** Upper limit of the first random wait before a reconnect. The limit doubles with each failure, … */
  readonly firstRetryMs: number;
  /** … up to this. */
  readonly lastRetryMs: number;
  /** Upper limit of the random wait after a server that shuts down has closed the connection. */
  readonly shutdownRetryMs: number;
}

export interface ConnectionOptions {
  readonly url: string;
  readonly WebSocket: WebSocketImpl;
  readonly token: () => Token | Promise<Token>;
  readonly timeouts: Timeouts;
  readonly clock: () => number;
}

/** A socket that is opened again after each loss, until it is closed or refused. */
export interface ReconnectingSocket {
  readonly status: Readable<Status>;
  /** The present socket; null while there is none. */
  live(): Socket | null;
  /** Calls back with the present socket, if any, and each later one, until the returned function is called. */
  eachSocket(listener: (socket: Socket) => void): () => void;
  /** Connects at once, with a fresh token. */
  reconnect(): void;
  close(): void;
}

/** Close codes of a server that shuts down, and of one that refuses the credential. */
const CLOSE_GOING_AWAY = 1001;
const CLOSE_FORBIDDEN = 4403;

/** Opens a socket, and opens it again with backoff. */
export function openReconnectingSocket(options: ConnectionOptions): ReconnectingSocket {
  const { url, WebSocket, token, timeouts, clock } = options;
  const status = createObservable<Status>({ state: 'connecting' });
  const listeners = new Set<(socket: Socket) => void>();
  let live: Socket | null = null;
  /** The socket that is opening or open. */
  let current: Socket | null = null;
  const retry = createRetryTimer(timeouts.firstRetryMs, timeouts.lastRetryMs);
  let stopRenewal = () => {};
  /** Counts connection attempts, so that results of earlier ones are ignored. */
  let generation = 0;

  const stopped = () => status.get().state === 'closed' || status.get().state === 'refused';

  async function connect(): Promise<void> {
    const own = ++generation;
    retry.cancel();
    let fresh: Token;
    let authorization: string;
    try {
      fresh = await token();
      authorization = bearer(fresh);
    } catch (error) {
      if (own !== generation) return;
      const reason = asError(error);
      return reason.code === 'UNAUTHENTICATED' ? refuse(reason) : retryLater(reason);
    }
    if (own !== generation || status.get().state === 'closed') return;
    try {
      const socket = openSocket({
        url,
        WebSocket,
        authorization,
        ...timeouts,
        onAcknowledged() {
          if (own !== generation) return;
          retry.reset();
          live = socket;
          stopRenewal = keepRenewed(socket, fresh, token, clock);
          status.set({ state: 'online' });
          if (live) notifyAll(listeners, live);
        },
        onClosed: (closing) => own === generation && lost(closing),
      });
      current = socket;
    } catch (error) {
      // The WebSocket constructor throws only for an unusable address, such as `ws:` in an `https:` page.
      refuse(
        new KredichatError('BAD_USER_INPUT', `The WebSocket refuses the address ${url}: ${asError(error).message}`),
      );
    }
  }

  function lost({ code, reason }: Closing): void {
    stopRenewal();
    live = current = null;
    if (code === CLOSE_FORBIDDEN)
      refuse(new KredichatError('UNAUTHENTICATED', reason || 'The credential was refused.'));
    else {
      const waitMs = code === CLOSE_GOING_AWAY ? Math.random() * timeouts.shutdownRetryMs : null;
      retryLater(new KredichatError('DISCONNECTED', reason || `The connection closed with ${code}.`, waitMs));
    }
  }

  /** Retries with full jitter, so that clients that lost a server together do not reconnect together. */
  function retryLater(error: KredichatError): void {
    if (stopped()) return;
    retry.schedule(() => void connect(), error);
    status.set({ state: 'offline', error });
  }

  function refuse(error: KredichatError): void {
    status.set({ state: 'refused', error });
  }

  const unwatch = watchInterruptions(clock, {
    onWake() {
      if (current) current.probe();
      else if (!stopped()) void connect();
    },
    onOffline: () => live?.drop(4499, 'The browser is offline'),
  });
  void connect();

  return {
    status,
    live: () => live,
    eachSocket(listener) {
      listeners.add(listener);
      if (live) listener(live);
      return () => void listeners.delete(listener);
    },
    reconnect() {
      if (status.get().state === 'closed') return;
      current?.drop(1000, 'Reconnecting');
      retry.reset();
      status.set({ state: 'offline', error: new KredichatError('DISCONNECTED', 'Reconnecting') });
      void connect();
    },
    close() {
      if (status.get().state === 'closed') return;
      status.set({ state: 'closed' });
      retry.cancel();
      unwatch();
      current?.drop(1000, 'Closed');
      generation++;
    },
  };
}
