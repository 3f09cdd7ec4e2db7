/**
 * The client of Kredichat: one connection that reconnects automatically, an outbox, and live views of the chat list and
 * of conversations. It runs in browsers and Node without a framework. docs/CLIENT.md shows how to use it.
 */

import { type ChatListView, openChatList } from './chat-list.ts';
import { createConnection, type Operation } from './connection/connection.ts';
import type { Token } from './connection/credential.ts';
import { follow, followMessages, type SubscriptionObserver } from './connection/follow.ts';
import {
  type OutboxStorage,
  platformStorage,
  platformWebSocket,
  type WebSocketImpl,
  webSocketUrl,
} from './connection/platform.ts';
import type { Status, Timeouts } from './connection/reconnecting-socket.ts';
import { openConversation } from './conversation/conversation.ts';
import type { ConversationView } from './conversation/conversation-state.ts';
import {
  type ConversationRef,
  type MessageFieldsFragment,
  ViewerDocument,
  type ViewerQuery,
} from './generated/operations.ts';
import type { Readable } from './observable.ts';
import { createOutbox, type Outbox } from './outbox.ts';
import { createQueue } from './queue.ts';
import { type SearchOptions, type SearchPage, search } from './search.ts';
import { createSafeStorage } from './storage.ts';
import { createViewEvents } from './view-events.ts';

export type { ChatListState, ChatListView } from './chat-list.ts';
export type { Operation } from './connection/connection.ts';
export type { Token } from './connection/credential.ts';
export type { SubscriptionObserver } from './connection/follow.ts';
export type { OutboxStorage, WebSocketImpl, WebSocketLike } from './connection/platform.ts';
export type { Status, Timeouts } from './connection/reconnecting-socket.ts';
export type { ConversationActions, Revision } from './conversation/actions.ts';
export {
  type ConversationState,
  type ConversationView,
  type Delivery,
  deliveryOf,
  readersOf,
} from './conversation/conversation-state.ts';
export { KredichatError, type KredichatErrorCode } from './errors.ts';
export type { ErrorCode } from './generated/enums.ts';
export * from './generated/operations.ts';
export type { Readable } from './observable.ts';
export type { Outbox } from './outbox.ts';
export { type MessageOptions, type NewMessage, type Outgoing, queueKeyOf } from './outbox-items.ts';
export type { SearchHit, SearchOptions, SearchPage } from './search.ts';

/** The viewer: address and role. */
export type Viewer = ViewerQuery['viewer'];

export interface ClientOptions {
  /**
   * Address of the server's GraphQL endpoint: `wss://HOST/graphql`, or the same with `https:`. In a page also a path
   * such as `/graphql` or `./graphql`, resolved against the page's address.
   */
  readonly url: string;
  /**
   * Gives the credential, without the word `Bearer`. Called at each connection and, where the last result had `endsAt`,
   * before that instant. An empty credential, or a thrown `KredichatError` with `UNAUTHENTICATED`, makes the status
   * `refused` until `reconnect` is called. After any other error it is called again.
   */
  readonly token: () => Token | Promise<Token>;
  /** The WebSocket constructor, such as that of `ws` in Node before 22. Default: the platform's. */
  readonly webSocketImpl?: WebSocketImpl;
  /** Storage in which unsent messages outlive the page; null for none. Default: `localStorage` in browsers. */
  readonly storage?: OutboxStorage | null;
  /** Default: 10 s heartbeat, 5 s for an answer, retries after up to 0.25 s, 0.5 s … 10 s, after a shutdown 5 s. */
  readonly timeouts?: Partial<Timeouts>;
  /** Wall clock, milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: () => number;
}

export interface Client {
  /** The state of the connection. */
  readonly status: Readable<Status>;
  /** The viewer's unsent messages of all conversations. */
  readonly outbox: Outbox;
  /** The viewer as the server identifies them. Once known, the outbox restores messages that an earlier page left. */
  viewer(): Promise<Viewer>;
  /**
   * Runs an operation and resolves with its data; rejects with a `KredichatError`. A query is repeated after an
   * interruption. A mutation waits for a connection and is sent once: after `DISCONNECTED` its outcome is unknown.
   */
  run<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables): Promise<Result>;
  /**
   * Runs a subscription, and runs it again after every interruption with the variables that `variables` gives then.
   * Returns a function that stops it.
   */
  follow<Result, Variables>(
    operation: Operation<Result, Variables>,
    variables: () => Variables,
    observer: SubscriptionObserver<Result>,
  ): () => void;
  /** The messages of a conversation after a position, then live ones, each once and in order, until the loop ends. */
  messages(conversationId: string, afterSeq: number): AsyncIterableIterator<MessageFieldsFragment>;
  /**
   * Opens the chat list, or with `archived` that of archived conversations; `pageSize` conversations at a time, 1 to
   * 100, 50 by default.
   */
  chatList(options?: { readonly pageSize?: number; readonly archived?: boolean }): ChatListView;
  /**
   * Opens a conversation by its id or key, at its first unread message or `at` another; `pageSize` messages at a time,
   * 1 to 100, 50 by default.
   */
  conversation(
    ref: ConversationRef,
    options?: { readonly pageSize?: number; readonly at?: number | null },
  ): ConversationView;
  /** Searches the viewer's conversations for messages that hold all words; `*` after a word makes it a prefix. */
  search(query: string, options?: SearchOptions): Promise<SearchPage>;
  /**
   * Calls back with the `id` of each conversation that the viewer left or was removed from, as far as an open view
   * learns of it, so that the caller can hide its other traces. Returns a function that stops it.
   */
  onGone(listener: (conversationId: string) => void): () => void;
  /** Connects at once, with a fresh token. Required after `refused`. */
  reconnect(): void;
  /** Closes the connection and all views and streams of this client. */
  close(): void;
}

/**
 * Connects to a server.
 * @throws TypeError for an unusable `url`, or without a WebSocket
 */
export function createClient(options: ClientOptions): Client {
  const { token, clock = Date.now } = options;
  const WebSocket = options.webSocketImpl ?? platformWebSocket();
  if (!WebSocket) throw new TypeError('This platform has no WebSocket: pass webSocketImpl.');
  const timeouts = {
    ...{ heartbeatMs: 10_000, answerMs: 5000, firstRetryMs: 250, lastRetryMs: 10_000, shutdownRetryMs: 5000 },
    ...options.timeouts,
  };
  const url = webSocketUrl(options.url);
  const connection = createConnection({ url, WebSocket, token, timeouts, clock });
  const storage = createSafeStorage(() => (options.storage === undefined ? platformStorage() : options.storage));
  const { outbox, ...outboxControl } = createOutbox(connection, url, storage, clock);

  let viewerRequest: Promise<Viewer> | null = null;
  function viewer(): Promise<Viewer> {
    viewerRequest ??= connection.run(ViewerDocument, {}).then(
      (answer) => {
        // The outbox belongs to one viewer, so it opens when the server has identified the viewer.
        outboxControl.open(answer.viewer.email);
        return answer.viewer;
      },
      (error: unknown) => {
        viewerRequest = null;
        throw error;
      },
    );
    return viewerRequest;
  }
  const viewEvents = createViewEvents();
  const email = async () => (await viewer()).email;
  // A failed request is repeated with the next connection.
  const unlisten = connection.eachSocket(() => void viewer().catch(() => {}));

  const opened = new Set<{ close(): void }>();
  function track<View extends { close(): void }>(view: View): View {
    const owned = {
      ...view,
      close() {
        opened.delete(owned);
        view.close();
      },
    };
    opened.add(owned);
    return owned;
  }

  return {
    status: connection.status,
    outbox,
    viewer,
    run: connection.run,
    follow: (operation, variables, observer) => follow(connection, operation, variables, observer),
    messages(conversationId, afterSeq) {
      const entry = { close: () => void queue.iterator.return?.() };
      const queue = createQueue<MessageFieldsFragment>(() => {
        opened.delete(entry);
        stop();
      });
      const stop = followMessages(connection, conversationId, afterSeq, {
        next: queue.push,
        end(error) {
          opened.delete(entry);
          queue.fail(error);
        },
      });
      opened.add(entry);
      return queue.iterator;
    },
    chatList: ({ pageSize = 50, archived = false } = {}) =>
      track(openChatList({ connection, viewEvents, pageSize, clock, archived })),
    conversation: (ref, { pageSize = 50, at = null } = {}) =>
      track(openConversation({ connection, outbox, ref, viewer: email, viewEvents, clock, pageSize, at })),
    search: (query, options = {}) => search(connection, query, options),
    onGone: (gone) => viewEvents.listen({ changed: () => {}, removed: gone }),
    reconnect: connection.reconnect,
    close() {
      for (const { close } of [...opened]) close();
      unlisten();
      outboxControl.close();
      connection.close();
    },
  };
}
