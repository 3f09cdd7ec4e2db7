import type { KredichatErrorCode } from './errors.ts';
import type { ConversationRef, SendMessageInput } from './generated/operations.ts';
import { createObservable } from './observable.ts';
import type { SafeStorage } from './storage.ts';

/** The optional values of a message. */
export type MessageOptions = Readonly<Omit<SendMessageInput, 'to' | 'text' | 'clientId' | 'replyToSeq'>>;

/** A message to be sent. */
export interface NewMessage extends MessageOptions {
  /** The conversation, by id or by key. With a key, the first message opens it. */
  readonly to: ConversationRef;
  readonly text: string;
}

/** `SendMessageInput` with all fields that a `NewMessage` may have. */
type Input = SendMessageInput & Record<keyof NewMessage, unknown>;

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

/**
 * The prefix of the storage keys of a viewer's unsent messages to the server at `url`. It holds the path of the server,
 * unless that is `/graphql`, to tell servers of one origin apart.
 */
export function outboxPrefix(url: string, viewer: string): string {
  const [, path = ''] = /^wss?:\/\/[^/?]*([^?]*)/i.exec(url) ?? [];
  return `kredichat${path === '/graphql' ? '' : path}:outbox:${viewer}:`;
}

/** The viewer's unsent messages: stored from the call of `open` on, and synchronized with the viewer's other pages. */
export function createOutboxItems(storage: SafeStorage) {
  const items = createObservable<readonly Outgoing[]>([]);
  /** Prefix of the viewer's storage keys; null until the viewer is known. */
  let keyPrefix: string | null = null;

  const find = (clientId: string) => items.get().find((item) => item.clientId === clientId);
  const without = (clientId: string) => items.get().filter((item) => item.clientId !== clientId);

  /** Stores one entry a message, so that pages of the same viewer never overwrite each other's messages. */
  function persist(item: Outgoing): void {
    if (keyPrefix !== null) storage.set(keyPrefix + item.clientId, JSON.stringify(item));
  }

  return {
    get: items.get,
    subscribe: items.subscribe,
    find,
    add(item: Outgoing): void {
      items.set([...items.get(), item]);
      persist(item);
    },
    replace(item: Outgoing): void {
      items.set(items.get().map((other) => (other.clientId === item.clientId ? item : other)));
      persist(item);
    },
    remove({ clientId }: Outgoing): void {
      if (keyPrefix !== null) storage.remove(keyPrefix + clientId);
      items.set(without(clientId));
    },
    /** Whether the viewer is known. */
    isOpen: () => keyPrefix !== null,
    /** Restores the messages that an earlier page stored under `prefix`, and stores those written meanwhile. */
    open(prefix: string): void {
      keyPrefix = prefix;
      const written = items.get();
      const left = storage
        .keys()
        .filter((key) => key.startsWith(prefix))
        .map((key) => readItem(key.slice(prefix.length), storage.get(key)))
        .filter((item) => item !== null)
        .filter(({ clientId }) => !find(clientId));
      items.set([...left, ...written].sort(byAge));
      for (const item of written) persist(item);
    },
    /** Applies changes by the viewer's other pages, and reports each. Returns a function that stops it. */
    watch: (onChange: (item: Outgoing) => void) =>
      storage.watch((key, entry) => {
        if (keyPrefix === null || !key.startsWith(keyPrefix)) return;
        const clientId = key.slice(keyPrefix.length);
        const item = readItem(clientId, entry);
        const known = find(clientId) !== undefined;
        if (!item) {
          if (known) items.set(without(clientId));
        } else if (known || item.state === 'failed') {
          // New messages are left to the page that wrote them.
          items.set([...without(clientId), item].sort(byAge));
          onChange(item);
        }
      }),
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

/** The mutation's input: without fields that another version of the page may have stored, which the server refuses. */
export function inputOf({ to, text, clientId, subject, party }: Outgoing): Input {
  return { to, text, clientId, subject, party };
}

/** Identifies a conversation by id or key. Messages with the same queue key are sent in order. */
export function queueKeyOf({ id, key }: ConversationRef): string {
  if (id !== undefined) return id;
  const members = [...new Set(key.members.map((member) => member.toLowerCase()))].sort();
  return JSON.stringify([key.configId, ...members]);
}
