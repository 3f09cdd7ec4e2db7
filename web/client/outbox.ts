import { createBackoff, delay } from './connection/backoff.ts';
import type { Connection } from './connection/connection.ts';
import { randomId } from './connection/platform.ts';
import { asError } from './errors.ts';
import { type MessageFieldsFragment, SendMessageDocument } from './generated/operations.ts';
import { notifyAll, type Readable } from './observable.ts';
import {
  createOutboxItems,
  inputOf,
  type NewMessage,
  type Outgoing,
  outboxPrefix,
  queueKeyOf,
} from './outbox-items.ts';
import type { SafeStorage } from './storage.ts';

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

/** Creates an outbox for the server at `url`. It sends and stores messages from the call of `open` on. */
export function createOutbox(connection: Connection, url: string, storage: SafeStorage, clock: () => number) {
  const items = createOutboxItems(storage);
  const listeners = new Set<(outgoing: Outgoing, stored: MessageFieldsFragment) => void>();
  /** Queue keys of the conversations that `drain` is sending to. */
  const sending = new Set<string>();

  /** Sends the queued messages of one conversation one at a time, so that they stay in order. */
  async function drain(queueKey: string): Promise<void> {
    if (!items.isOpen() || sending.has(queueKey)) return;
    sending.add(queueKey);
    const backoff = createBackoff();
    for (;;) {
      const item = items.get().find((other) => other.state === 'queued' && queueKeyOf(other.to) === queueKey);
      if (!item) break;
      try {
        const { sendMessage } = await connection.run(SendMessageDocument, { input: inputOf(item) });
        backoff.reset();
        notifyAll(listeners, item, sendMessage.message);
        items.remove(item);
        if (item.to.key) readdress(queueKey, sendMessage.message.conversationId);
      } catch (thrown) {
        const error = asError(thrown);
        const { code, message } = error;
        // The message stays queued for the next connection, which has a fresh token, or for the next client.
        if (code === 'UNAUTHENTICATED' || code === 'CLIENT_CLOSED') break;
        // The outcome may be unknown; the client id makes the retry safe.
        if (code === 'DISCONNECTED') continue;
        if (code === 'UNAVAILABLE' || code === 'RATE_LIMITED') await delay(backoff.next(error));
        else if (items.find(item.clientId))
          items.replace({ ...item, state: 'failed', failure: { code, message, retry: RETRYABLE.has(code) } });
      }
    }
    sending.delete(queueKey);
  }

  /** Addresses the other messages to a conversation by its id, once the first one has opened it by its key. */
  function readdress(queueKey: string, id: string): void {
    const toMove = items.get().filter(({ to }) => queueKeyOf(to) === queueKey);
    for (const item of toMove) items.replace({ ...item, to: { id } });
    if (toMove.length > 0) void drain(id);
  }

  const drainAll = () => {
    for (const queueKey of new Set(items.get().map(({ to }) => queueKeyOf(to)))) void drain(queueKey);
  };
  const unlisten = connection.eachSocket(drainAll);
  // The page that requested a retry may close before it sends, so both send; the client id makes that safe.
  const unwatch = items.watch(({ to }) => drain(queueKeyOf(to)));

  const outbox: Outbox = {
    get: items.get,
    subscribe: items.subscribe,
    send(message) {
      const last = items.get().at(-1)?.at ?? 0;
      // Strictly increasing, so that the order survives a reload even if the clock goes back.
      const at = Math.max(clock(), last + 1);
      const item: Outgoing = { ...message, clientId: randomId(), at, state: 'queued', failure: null };
      items.add(item);
      void drain(queueKeyOf(item.to));
      return item;
    },
    retry(clientId) {
      const item = items.find(clientId);
      if (item?.state !== 'failed') return;
      items.replace({ ...item, state: 'queued', failure: null });
      void drain(queueKeyOf(item.to));
    },
    discard(clientId) {
      const item = items.find(clientId);
      if (item) items.remove(item);
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
      items.open(outboxPrefix(url, viewer));
      drainAll();
    },
    close() {
      unlisten();
      unwatch();
    },
  };
}
