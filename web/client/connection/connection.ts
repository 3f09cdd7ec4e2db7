/**
 * The connection: reconnects with backoff, renews the credential, and detects dead sockets.
 *
 * It does not use the client of the `graphql-ws` package, which lacks three things: renewal of the credential over the
 * open socket (its pings carry no payload of the caller's), a probe with a deadline at the moment the machine wakes or
 * the network changes, and new variables when a subscription resumes (it repeats the first ones). What remains of the
 * protocol is the few frames in `socket.ts`.
 */
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
import { asError, KredichatError } from '../errors.ts';
import { createObservable, notifyAll, type Observable, type Readable } from '../observable.ts';
import { isQuery } from './operation-kind.ts';
import { type WebSocketImpl, watchInterruptions } from './platform.ts';
import { createRetryTimer } from './retry.ts';
import { type Closing, openSocket, type Socket } from './socket.ts';

/** An operation with the types of its variables and result, as codegen generates it with `documentMode: string`. */
export type Operation<Result, Variables> = { toString(): string } & DocumentTypeDecoration<Result, Variables>;

/** A credential; with `endsAt` (milliseconds since 1970) it is renewed before that instant. */
export type Token = string | { readonly token: string; readonly endsAt: number };

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
}

export interface ConnectionOptions {
  readonly url: string;
  readonly WebSocket: WebSocketImpl;
  readonly token: () => Token | Promise<Token>;
  readonly timeouts: Timeouts;
  readonly clock: () => number;
}

/** A connection to the server that reconnects automatically. */
export interface Connection {
  readonly status: Readable<Status>;
  /** Runs a query, which is repeated after an interruption, or a mutation, which is sent once. */
  run<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables): Promise<Result>;
  /** Calls back with the present socket, if any, and each later one, until the returned function is called. */
  eachSocket(listener: (socket: Socket) => void): () => void;
  /** Connects at once, with a fresh token. */
  reconnect(): void;
  close(): void;
}

/** A token is renewed this long before its end, in milliseconds. */
const RENEW_BEFORE_MS = 30_000;

/** Close code of a server that refuses the credential. */
const CLOSE_FORBIDDEN = 4403;

/** Opens a connection that is kept until it is closed or refused. */
export function createConnection({ url, WebSocket, token, timeouts, clock }: ConnectionOptions): Connection {
  const status: Observable<Status> = createObservable<Status>({ state: 'connecting' });
  const listeners = new Set<(socket: Socket) => void>();
  let live: Socket | null = null;
  /** The socket that is opening or open. */
  let current: Socket | null = null;
  const retry = createRetryTimer(timeouts.firstRetryMs, timeouts.lastRetryMs);
  let renewal: ReturnType<typeof setTimeout> | undefined;
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
      current = openSocket({
        url,
        WebSocket,
        authorization,
        ...timeouts,
        onAcknowledged() {
          if (own !== generation) return;
          retry.reset();
          live = current;
          renewLater(fresh);
          status.set({ state: 'online' });
          if (live) notifyAll(listeners, live);
        },
        onClosed: (closing) => own === generation && lost(closing),
      });
    } catch (error) {
      // The WebSocket constructor throws only for an unusable address, such as `ws:` in an `https:` page.
      refuse(
        new KredichatError('BAD_USER_INPUT', `The WebSocket refuses the address ${url}: ${asError(error).message}`),
      );
    }
  }

  function lost({ code, reason }: Closing): void {
    clearTimeout(renewal);
    live = current = null;
    if (code === CLOSE_FORBIDDEN)
      refuse(new KredichatError('UNAUTHENTICATED', reason || 'The credential was refused.'));
    else retryLater(new KredichatError('DISCONNECTED', reason || `The connection closed with ${code}.`));
  }

  /** Retries with full jitter, so that clients that lost a server together do not reconnect together. */
  function retryLater(error: KredichatError): void {
    if (stopped()) return;
    retry.schedule(() => void connect());
    status.set({ state: 'offline', error });
  }

  function refuse(error: KredichatError): void {
    status.set({ state: 'refused', error });
  }

  function renewLater(fresh: Token): void {
    clearTimeout(renewal);
    if (typeof fresh === 'string') return;
    const left = fresh.endsAt - clock();
    // JavaScript callers may omit `endsAt`.
    if (Number.isNaN(left)) return;
    const socket = live;
    const renew = async () => {
      try {
        const next = await token();
        if (live !== socket) return;
        live?.renew(bearer(next));
        renewLater(next);
      } catch {
        // The server closes the connection when the token ends; the reconnect asks for a new one.
      }
    };
    // Timers take at most 31 bits.
    renewal = setTimeout(renew, Math.min(Math.max(left - RENEW_BEFORE_MS, left / 2, 1000), 2 ** 31 - 1));
  }

  const unwatch = watchInterruptions(clock, {
    onWake() {
      if (current) current.probe();
      else if (!stopped()) void connect();
    },
    onOffline: () => live?.drop(4499, 'The browser is offline'),
  });

  /** Resolves with the present socket, or the next one. */
  function socket(): Promise<Socket> {
    if (live) return Promise.resolve(live);
    return new Promise((resolve, reject) => {
      const settle = () => {
        const present = status.get();
        if (present.state === 'refused') reject(present.error);
        else if (present.state === 'closed') reject(closedError());
        else if (live) resolve(live);
        else return;
        stop();
      };
      const stop = status.subscribe(settle);
      settle();
    });
  }

  const connection: Connection = {
    status,
    async run<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables): Promise<Result> {
      const query = operation.toString();
      const repeatable = isQuery(query);
      for (;;) {
        const connected = await socket();
        try {
          return (await execute(connected, query, variables)) as Result;
        } catch (error) {
          if (status.get().state === 'closed') throw closedError();
          if (!repeatable || asError(error).code !== 'DISCONNECTED') throw error;
        }
      }
    },
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
      clearTimeout(renewal);
      unwatch();
      current?.drop(1000, 'Closed');
      generation++;
    },
  };
  void connect();
  return connection;
}

function execute(socket: Socket, query: string, variables: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let result: unknown;
    socket.start(query, variables, {
      next(data) {
        result = data;
      },
      end: (error) => (error ? reject(error) : resolve(result)),
    });
  });
}

/** @throws KredichatError without a credential, as JavaScript callers may return null before sign-in */
function bearer(fresh: Token | null | undefined): string {
  const credential = typeof fresh === 'object' ? fresh?.token : fresh;
  if (typeof credential === 'string' && credential.trim() !== '') return `Bearer ${credential}`;
  throw new KredichatError('UNAUTHENTICATED', 'token() must return a non-empty credential.');
}

const closedError = () => new KredichatError('CLIENT_CLOSED', 'The client was closed.');
