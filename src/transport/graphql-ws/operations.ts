import { CloseCode } from 'graphql-ws';
import type { OperationResult } from '../../execution/executor.ts';
import type { Metrics } from '../../observability/metrics.ts';
import type { Quotas } from '../admission/quota.ts';
import type { Backlog } from '../websocket/receive-queue.ts';
import type { Socket } from '../websocket/socket.ts';

/** Unanswered operations of one socket at which reading from it pauses. */
const MAX_WAITING = 500;

/** The end of a `next` message; see `ResultStream`. */
const NEXT_END = Buffer.from('}');

/** A client message, parsed and not validated. */
interface ClientMessage {
  readonly id?: unknown;
  readonly type?: unknown;
  readonly payload?: { query?: unknown; readonly extensions?: { readonly persistedQuery?: unknown } | null } | null;
}

/** An operation that has started and not ended. */
interface ActiveOperation {
  /** `completed`: a subscription that the client has completed. */
  kind: 'query' | 'subscription' | 'completed';
  /** Bytes of its frame. */
  readonly bytes: number;
}

/**
 * The operations of one connection. Each gets a key, unique in the connection, which replaces its id inside graphql-ws:
 * a client may reuse the id of an operation that it has completed, while the operation takes longer to end here. A
 * class, because there are many.
 */
export class Operations {
  /** The address of the user, for the quota; empty until the client is authenticated. */
  user = '';
  /** Bytes of the frame being read. */
  frameBytes = 0;
  readonly #socket: Socket;
  readonly #quota: Quotas['subscriptions'];
  readonly #maxSubscriptions: number;
  /** Keys of the operations that the client has not completed, by id. */
  readonly #keys = new Map<string, string>();
  readonly #active = new Map<string, ActiveOperation>();
  /** The active queries, mutations and completed subscriptions. */
  readonly #backlog: Backlog;
  /** Operations since the connection began. */
  #count = 0;

  constructor(socket: Socket, quota: Quotas['subscriptions'], maxSubscriptions: number) {
    this.#socket = socket;
    this.#quota = quota;
    this.#maxSubscriptions = maxSubscriptions;
    this.#backlog = socket.createBacklog(MAX_WAITING);
  }

  /** Parses a message and replaces the id of its operation by the key. Null if the message needs no handling. */
  parse(text: string): ClientMessage | string | null {
    let message: ClientMessage;
    try {
      message = JSON.parse(text);
    } catch {
      return text;
    }
    const { id, type, payload } = message ?? {};
    if (typeof id !== 'string' || id === '') return text;
    const key = this.#keys.get(id);
    if (type === 'complete') {
      if (key === undefined) return null;
      this.#keys.delete(id);
      const operation = this.#active.get(key);
      if (operation?.kind === 'subscription') {
        operation.kind = 'completed';
        this.#quota.give(this.user);
        this.#backlog.add(operation.bytes);
      }
      return { ...message, id: key };
    }
    if (type !== 'subscribe') return message;
    if (key !== undefined) {
      this.#socket.close(CloseCode.SubscriberAlreadyExists, `Subscriber for ${id} already exists`);
      return null;
    }
    const newKey = `${++this.#count}:${id}`;
    this.#keys.set(id, newKey);
    // graphql-ws closes the socket if `query` is missing.
    if (payload?.extensions?.persistedQuery) payload.query ??= '';
    return { ...message, id: newKey };
  }

  /** Takes a subscription from the user's quota; false if the socket or the user has too many. */
  reserveSubscription(): boolean {
    let count = 0;
    for (const { kind } of this.#active.values()) if (kind === 'subscription') count++;
    return !this.#socket.ended && count < this.#maxSubscriptions && this.#quota.take(this.user);
  }

  start(key: string, kind: 'query' | 'subscription'): void {
    this.#active.set(key, { kind, bytes: this.frameBytes });
    if (kind === 'query') this.#backlog.add(this.frameBytes);
  }

  end(key: string): void {
    const { kind, bytes = 0 } = this.#active.get(key) ?? {};
    this.#active.delete(key);
    if (this.#keys.get(idOf(key)) === key) this.#keys.delete(idOf(key));
    if (kind === 'subscription') this.#quota.give(this.user);
    else if (kind) this.#backlog.remove(bytes);
  }

  endAll(): void {
    for (const key of this.#active.keys()) this.end(key);
  }
}

/**
 * An operation as graphql-ws sees it: a stream without elements that ends when all results are sent. Results bypass
 * graphql-ws, which would serialize each again for each client. A class, because there are many.
 */
export class ResultStream implements AsyncIterableIterator<never> {
  readonly #id: string;
  readonly #socket: Socket;
  readonly #result: OperationResult;
  readonly #metrics: Metrics;

  constructor(id: string, socket: Socket, result: OperationResult, metrics: Metrics) {
    this.#id = id;
    this.#socket = socket;
    this.#result = result;
    this.#metrics = metrics;
  }

  async next(): Promise<IteratorReturnResult<undefined>> {
    const head = Buffer.from(`{"id":${JSON.stringify(this.#id)},"type":"next","payload":`);
    if (this.#result.kind === 'stream') {
      await this.#result.deliver((json) => {
        this.#socket.sendEvent(head, ...json, NEXT_END);
        this.#metrics.delivered();
      });
    } else this.#socket.send(head, this.#result.json, NEXT_END);
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    if (this.#result.kind === 'stream') await this.#result.return();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** The client's id of the operation with this key. */
export function idOf(key: string): string {
  return key.slice(key.indexOf(':') + 1);
}

/** A message of graphql-ws with the operation's id instead of its key. */
export function withId(text: string): string {
  return text.replace(/^\{"id":"\d+:/, '{"id":"');
}
