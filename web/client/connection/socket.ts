import { type GraphQLFailure, KredichatError, toError } from '../errors.ts';
import type { WebSocketImpl } from './platform.ts';

/** Receives the results of an operation. */
interface Sink {
  /** The data of a result without errors. */
  next(data: unknown): void;
  /** The last call; null when the server completed the operation. */
  end(error: KredichatError | null): void;
}

/** Close code and reason of a socket. */
export interface Closing {
  readonly code: number;
  readonly reason: string;
}

/** One connection of the `graphql-transport-ws` sub-protocol. */
export interface Socket {
  /** Starts an operation. The returned function stops it; the sink is not called after that. */
  start(query: string, variables: unknown, sink: Sink): () => void;
  /** Sends the server a fresh credential; running operations continue. */
  renew(authorization: string): void;
  /** Sends a ping. Without an answer within `answerMs` the socket is dropped. */
  probe(): void;
  /** Closes the socket without waiting for the closing handshake. */
  drop(code: number, reason: string): void;
}

export interface SocketOptions {
  readonly url: string;
  readonly WebSocket: WebSocketImpl;
  /** `Bearer …`. */
  readonly authorization: string;
  /** Time between probes of a silent connection, in milliseconds. */
  readonly heartbeatMs: number;
  /** Maximum time for the server to answer, in milliseconds. */
  readonly answerMs: number;
  onAcknowledged(): void;
  /** Called once, before all sinks end with `DISCONNECTED`. */
  onClosed(closing: Closing): void;
}

interface Frame {
  readonly type: string;
  readonly id?: string;
  readonly payload?: unknown;
}

/** Opens a socket. Every failure after the constructor ends in `onClosed`. */
export function openSocket(options: SocketOptions): Socket {
  const { heartbeatMs, answerMs } = options;
  const ws = new options.WebSocket(options.url, 'graphql-transport-ws');
  const sinks = new Map<string, Sink>();
  let ids = 0;
  let ended = false;
  let heartbeat: ReturnType<typeof setInterval> | undefined;
  // Runs while the server owes an answer: first the acknowledgement, then pongs.
  let deadline: ReturnType<typeof setTimeout> | undefined;

  const send = (frame: Frame) => {
    if (!ended && ws.readyState === 1) ws.send(JSON.stringify(frame));
  };

  function expectAnswer(): void {
    deadline ??= setTimeout(() => drop(4408, 'No answer in time'), answerMs);
  }

  function clearDeadline(): void {
    clearTimeout(deadline);
    deadline = undefined;
  }

  function probe(): void {
    expectAnswer();
    send({ type: 'ping' });
  }

  function finish(closing: Closing): void {
    if (ended) return;
    ended = true;
    clearInterval(heartbeat);
    clearTimeout(deadline);
    const error = closing.code === 1009 ? tooLargeError() : disconnectedError();
    // The connection is told first, so that a sink that restarts its operation in `end` waits for the next socket.
    options.onClosed(closing);
    for (const sink of [...sinks.values()]) sink.end(error);
    sinks.clear();
  }

  function drop(code: number, reason: string): void {
    // Over a dead network the closing handshake takes minutes.
    finish({ code, reason });
    ws.close(code, reason);
  }

  function end(id: string, error: KredichatError | null): void {
    const sink = sinks.get(id);
    sinks.delete(id);
    sink?.end(error);
  }

  function receive({ type, id = '', payload }: Frame): void {
    if (type === 'connection_ack') {
      heartbeat = setInterval(probe, heartbeatMs);
      options.onAcknowledged();
    } else if (type === 'ping') send({ type: 'pong' });
    else if (type === 'complete') end(id, null);
    else if (type === 'error') end(id, toError(payload as GraphQLFailure[]));
    else if (type === 'next') {
      const { data, errors } = payload as { data?: unknown; errors?: GraphQLFailure[] };
      if (!errors) return sinks.get(id)?.next(data);
      send({ type: 'complete', id });
      end(id, toError(errors));
    }
  }

  expectAnswer();
  ws.onopen = () => send({ type: 'connection_init', payload: { authorization: options.authorization } });
  ws.onmessage = ({ data }: { data: unknown }) => {
    if (ended) return;
    clearDeadline();
    let frame: Frame;
    try {
      frame = JSON.parse(String(data)) as Frame;
    } catch {
      return drop(4400, 'Frame is not JSON');
    }
    receive(frame);
  };
  // A close event with the code and reason follows every error event.
  ws.onerror = () => {};
  ws.onclose = ({ code, reason }: Closing) => finish({ code, reason });

  return {
    start(query, variables, sink) {
      const id = String(++ids);
      if (ended) queueMicrotask(() => sink.end(disconnectedError()));
      else sinks.set(id, sink);
      send({ type: 'subscribe', id, payload: { query, variables } });
      return () => {
        if (sinks.delete(id)) send({ type: 'complete', id });
      };
    },
    renew(authorization) {
      expectAnswer();
      send({ type: 'ping', payload: { authorization } });
    },
    probe,
    drop,
  };
}

const disconnectedError = () =>
  new KredichatError('DISCONNECTED', 'The connection was lost before the answer; the outcome is unknown.');

const tooLargeError = () => new KredichatError('TOO_LARGE', 'The operation is larger than the server accepts.');
