import { backoffMs, delay } from './connection/backoff.ts';
import type { Connection } from './connection/connection.ts';
import { randomId } from './connection/platform.ts';
import { asError, type KredichatErrorCode } from './errors.ts';
import { type ConversationRef, type MessageFieldsFragment, SendMessageDocument } from './generated/operations.ts';
import { createObservable, notifyAll, type Readable } from './observable.ts';
import type { SafeStorage } from './storage.ts';

/** A message to be sent. */
export interface NewMessage {
  /** The conversation, by id or by key. With a key, the first message opens it. */
  readonly to: ConversationRef;
  readonly text: string;
  /** Used only when this message opens the conversation. */
  readonly subject?: string | null;
  /** Used only when this message opens the conversation. */
  readonly party?: string | null;
}

/** An unsent message. It leaves the outbox when the server has stored it. */
export interface Outgoing extends NewMessage {
  /** Identifies the message over all attempts and page reloads, so that the server stores it once. */
  readonly clientId: string;
  /** When the message was written: milliseconds since 1970 by the local clock. */
  readonly at: number;
  /** `queued` until the message is stored; `failed` when automatic retries cannot help. */
  readonly state: 'queued' | 'failed';
  /** Why the message failed, and whether `retry` may help. */
  readonly failure: { readonly code: KredichatErrorCode; readonly message: string; readonly retry: boolean } | null;
}

/** Unsent messages, in the order they were written. */
export interface Outbox extends Readable<readonly Outgoing[]> {
  /** Queues a message, which is sent after all earlier ones to the same conversation. */
  send(message: NewMessage): Outgoing;
  /** Sends a failed message again, under its `clientId`. */
  retry(clientId: string): void;
  /** Removes a message. The server may have stored it already if an attempt was in flight. */
  discard(clientId: string): void;
  /** Calls back with each message once it is stored, until the returned function is called. */
  onSent(listener: (outgoing: Outgoing, stored: MessageFieldsFragment) => void): () => void;
}

/** Codes of failures after which a retry by the user may succeed. */
const RETRYABLE: ReadonlySet<string> = new Set(['FORBIDDEN', 'CONVERSATION_CLOSED', 'INTERNAL_SERVER_ERROR']);

/**
 * The prefix of the storage keys of a viewer's unsent messages to the server at `url`. It holds the path of the server,
 * unless that is `/graphql`, to tell servers of one origin apart.
 */
export function outboxPrefix(url: string, viewer: string): string {
  const [, path = ''] = /^wss?:\/\/[^/?]*([^?]*)/i.exec(url) ?? [];
  return `kredichat${path === '/graphql' ? '' : path}:outbox:${viewer}:`;
}

/** Creates an outbox for the server at `url`. It sends and stores messages from the call of `open` on. */
export function createOutbox(connection: Connection, url: string, storage: SafeStorage, clock: () => number) {
  const items = createObservable<readonly Outgoing[]>([]);
  const listeners = new Set<(outgoing: Outgoing, stored: MessageFieldsFragment) => void>();
  /** Queue keys of the conversations that `drain` is sending to. */
  const sending = new Set<string>();
  /** Prefix of the viewer's storage keys; null until the viewer is known. */
  let keyPrefix: string | null = null;

  /** Stores one entry a message, so that pages of the same viewer never overwrite each other's messages. */
  function persist(item: Outgoing): void {
    if (keyPrefix !== null) storage.set(keyPrefix + item.clientId, JSON.stringify(item));
  }

  function replace(item: Outgoing): void {
    items.set(items.get().map((other) => (other.clientId === item.clientId ? item : other)));
    persist(item);
  }

  function remove({ clientId }: Outgoing): void {
    if (keyPrefix !== null) storage.remove(keyPrefix + clientId);
    items.set(items.get().filter((other) => other.clientId !== clientId));
  }

  function readStored(prefix: string): Outgoing[] {
    const keys = storage.keys().filter((key) => key.startsWith(prefix));
    return keys.map((key) => readItem(key.slice(prefix.length), storage.get(key))).filter((item) => item !== null);
  }

  /** Applies a change by another page of the viewer. New messages are left to the page that wrote them. */
  function applyFromOtherPage(key: string, entry: string | null): void {
    if (keyPrefix === null || !key.startsWith(keyPrefix)) return;
    const clientId = key.slice(keyPrefix.length);
    const item = readItem(clientId, entry);
    const others = items.get().filter((other) => other.clientId !== clientId);
    const known = others.length < items.get().length;
    if (!item) {
      if (known) items.set(others);
    } else if (known || item.state === 'failed') {
      items.set([...others, item].sort(byAge));
      // The page that requested the retry may close before it sends, so both send; the client id makes that safe.
      void drain(queueKeyOf(item.to));
    }
  }

  const find = (clientId: string) => items.get().find((item) => item.clientId === clientId);

  /** Sends the queued messages of one conversation one at a time, so that they stay in order. */
  async function drain(queueKey: string): Promise<void> {
    if (keyPrefix === null || sending.has(queueKey)) return;
    sending.add(queueKey);
    let failures = 0;
    for (;;) {
      const item = items.get().find((other) => other.state === 'queued' && queueKeyOf(other.to) === queueKey);
      if (!item) break;
      try {
        const { to, text, clientId, subject, party } = item;
        const input = { to, text, clientId, subject: subject ?? null, party: party ?? null };
        const { sendMessage } = await connection.run(SendMessageDocument, { input });
        failures = 0;
        notifyAll(listeners, item, sendMessage.message);
        remove(item);
        if (item.to.key) readdress(queueKey, sendMessage.message.conversationId);
      } catch (thrown) {
        const { code, message, retryAfterMs } = asError(thrown);
        // The message stays queued for the next connection, which has a fresh token, or for the next client.
        if (code === 'UNAUTHENTICATED' || code === 'CLIENT_CLOSED') break;
        if (code === 'DISCONNECTED' || code === 'UNAVAILABLE' || code === 'RATE_LIMITED') {
          // The outcome may be unknown; the client id makes the retry safe.
          const wait = retryAfterMs ?? (code === 'DISCONNECTED' ? 0 : backoffMs(failures++));
          if (wait > 0) await delay(wait);
        } else if (find(item.clientId)) {
          replace({ ...item, state: 'failed', failure: { code, message, retry: RETRYABLE.has(code) } });
        }
      }
    }
    sending.delete(queueKey);
  }

  /** Addresses the other messages to a conversation by its id, once the first one has opened it by its key. */
  function readdress(queueKey: string, id: string): void {
    const toMove = items.get().filter(({ to }) => queueKeyOf(to) === queueKey);
    for (const item of toMove) replace({ ...item, to: { id } });
    if (toMove.length > 0) void drain(id);
  }

  const drainAll = () => {
    for (const queueKey of new Set(items.get().map(({ to }) => queueKeyOf(to)))) void drain(queueKey);
  };
  const unlisten = connection.eachSocket(drainAll);
  const unwatch = storage.watch(applyFromOtherPage);

  const outbox: Outbox = {
    get: items.get,
    subscribe: items.subscribe,
    send(message) {
      const last = items.get().at(-1)?.at ?? 0;
      // Strictly increasing, so that the order survives a reload even if the clock goes back.
      const at = Math.max(clock(), last + 1);
      const item: Outgoing = { ...message, clientId: randomId(), at, state: 'queued', failure: null };
      items.set([...items.get(), item]);
      persist(item);
      void drain(queueKeyOf(item.to));
      return item;
    },
    retry(clientId) {
      const item = find(clientId);
      if (item?.state !== 'failed') return;
      replace({ ...item, state: 'queued', failure: null });
      void drain(queueKeyOf(item.to));
    },
    discard(clientId) {
      const item = find(clientId);
      if (item) remove(item);
    },
    onSent(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };

  return {
    outbox,
    /** Restores the messages that an earlier page of the viewer left, and starts sending. */
    open(viewer: string): void {
      if (keyPrefix !== null) return;
      keyPrefix = outboxPrefix(url, viewer);
      const written = items.get();
      const left = readStored(keyPrefix).filter(({ clientId }) => !find(clientId));
      items.set([...left, ...written].sort(byAge));
      for (const item of written) persist(item);
      drainAll();
    },
    close() {
      unlisten();
      unwatch();
    },
  };
}

const byAge = (a: Outgoing, b: Outgoing) => a.at - b.at;

/** Parses a stored message; null for an invalid entry. */
function readItem(clientId: string, entry: string | null): Outgoing | null {
  try {
    const item = JSON.parse(entry ?? '') as Outgoing;
    return item.clientId === clientId && typeof item.text === 'string' && queueKeyOf(item.to) ? item : null;
  } catch {
    return null;
  }
}

/** Identifies a conversation by id or key. Messages with the same queue key are sent in order. */
export function queueKeyOf({ id, key }: ConversationRef): string {
  if (id !== undefined) return id;
  const members = [...new Set(key.members.map((member) => member.toLowerCase()))].sort();
  return JSON.stringify([key.configId, ...members]);
}
