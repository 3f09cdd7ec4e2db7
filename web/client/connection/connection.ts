import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
import { asError, KredichatError } from '../errors.ts';
import { createObservable, notifyAll, type Observable, type Readable } from '../observable.ts';
import { backoffMs } from './backoff.ts';
import { isQuery } from './operation-kind.ts';
import { type WebSocketImpl, watchInterruptions } from './platform.ts';
import { type Closing, openSocket, type Socket } from './socket.ts';

/** An operation's text that knows the types of its variables and of its result, as codegen makes it (`documentMode: string`). */
export type Operation<Result, Variables> = { toString(): string } & DocumentTypeDecoration<Result, Variables>;

/** A credential, with its end (milliseconds since 1970) where it has one and is to be renewed before. */
export type Token = string | { readonly token: string; readonly endsAt: number };

/**
 * The state of the connection. `connecting` comes once, at the start; `offline` means that it tries again by itself,
 * and `error` why it failed last; `refused` that the credential or the address was not accepted, and nothing is tried until
 * `reconnect`.
 */
export type Status =
  | { readonly state: 'connecting' | 'online' | 'closed' }
  | { readonly state: 'offline'; readonly error: KredichatError }
  | { readonly state: 'refused'; readonly error: KredichatError };

/** How patient the connection is; all in milliseconds. */
export interface Timeouts {
  /** Time between probes of a silent connection: a dead one is noticed after this and `answerMs`. */
  readonly heartbeatMs: number;
  /** How long the server may take to acknowledge a connection, or to answer a probe. */
  readonly answerMs: number;
  /** The first wait before connecting again is a random part of this, each following one of twice as much … */
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

/** One connection to the server that comes back by itself. */
export interface Connection {
  readonly status: Readable<Status>;
  /** Runs a query, which waits out interruptions, or a mutation, which is sent once. */
  run<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables): Promise<Result>;
  /** Calls back with each connection there is, the present one at once, until the function it returns is called. */
  eachSocket(listener: (socket: Socket) => void): () => void;
  /** Tries at once, with a fresh token. */
  reconnect(): void;
  close(): void;
}

/** How long before its end a token is renewed, in milliseconds. */
const RENEW_BEFORE_MS = 30_000;

/** The server does not take the credential. */
const CLOSE_FORBIDDEN = 4403;

/** Connects, and stays connected until it is closed or refused. */
export function createConnection({ url, WebSocket, token, timeouts, clock }: ConnectionOptions): Connection {
  const status: Observable<Status> = createObservable<Status>({ state: 'connecting' });
  const listeners = new Set<(socket: Socket) => void>();
  let live: Socket | null = null;
  /** The socket that is open or opening. */
  let current: Socket | null = null;
  let attempt = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let renewal: ReturnType<typeof setTimeout> | undefined;
  /** Counts connections, so that what an earlier one still waits for is ignored. */
  let generation = 0;

  const stopped = () => status.get().state === 'closed' || status.get().state === 'refused';

  async function connect(): Promise<void> {
    const own = ++generation;
    clearTimeout(retry);
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
          attempt = 0;
          live = current;
          renewLater(fresh);
          status.set({ state: 'online' });
          if (live) notifyAll(listeners, live);
        },
        onClosed: (closing) => own === generation && lost(closing),
      });
    } catch (error) {
      // The constructor of a WebSocket throws only at its address, such as `ws:` from a page of `https:`, and would again.
      refuse(new KredichatError('BAD_USER_INPUT', `${url} cannot be connected to: ${asError(error).message}`));
    }
  }

  function lost({ code, reason }: Closing): void {
    clearTimeout(renewal);
    live = current = null;
    if (code === CLOSE_FORBIDDEN)
      refuse(new KredichatError('UNAUTHENTICATED', reason || 'The credential was refused.'));
    else retryLater(new KredichatError('DISCONNECTED', reason || `The connection closed with ${code}.`));
  }

  /** Full jitter: clients that lost their server together do not come back together. */
  function retryLater(error: KredichatError): void {
    if (stopped()) return;
    retry = setTimeout(connect, backoffMs(attempt++, timeouts.firstRetryMs, timeouts.lastRetryMs));
    status.set({ state: 'offline', error });
  }

  function refuse(error: KredichatError): void {
    status.set({ state: 'refused', error });
  }

  function renewLater(fresh: Token): void {
    clearTimeout(renewal);
    if (typeof fresh === 'string') return;
    const left = fresh.endsAt - clock();
    // A caller without types may have left the end out.
    if (Number.isNaN(left)) return;
    const socket = live;
    const renew = async () => {
      try {
        const next = await token();
        if (live !== socket) return;
        live?.renew(bearer(next));
        renewLater(next);
      } catch {
        // The server ends the connection when the token ends; then it is asked for again.
      }
    };
    // Timers take no more than 31 bits.
    renewal = setTimeout(renew, Math.min(Math.max(left - RENEW_BEFORE_MS, left / 2, 1000), 2 ** 31 - 1));
  }

  const unwatch = watchInterruptions(clock, {
    onWake() {
      if (current) current.probe();
      else if (!stopped()) void connect();
    },
    onOffline: () => live?.drop(4499, 'The browser is offline'),
  });

  /** Resolves with the present connection, or the next one. */
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
      attempt = 0;
      status.set({ state: 'offline', error: new KredichatError('DISCONNECTED', 'Reconnecting') });
      void connect();
    },
    close() {
      if (status.get().state === 'closed') return;
      status.set({ state: 'closed' });
      clearTimeout(retry);
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

/** @throws KredichatError when there is no credential: callers without types, or not signed in yet, give null */
function bearer(fresh: Token | null | undefined): string {
  const credential = typeof fresh === 'object' ? fresh?.token : fresh;
  if (typeof credential === 'string' && credential.trim() !== '') return `Bearer ${credential}`;
  throw new KredichatError('UNAUTHENTICATED', 'token() gave no credential.');
}

const closedError = () => new KredichatError('CLIENT_CLOSED', 'The client was closed.');
