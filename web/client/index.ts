/**
 * The client of Kredichat: one connection that comes back by itself, an outbox, and views of the chat list and of
 * conversations that stay true. For browsers and Node, without a framework. docs/CLIENT.md shows how to use it.
 */

import { type ChatListView, openChatList } from './chat-list.ts';
import { createConnection, type Operation, type Status, type Timeouts, type Token } from './connection/connection.ts';
import { follow, followMessages, type SubscriptionObserver } from './connection/follow.ts';
import {
  type OutboxStorage,
  platformStorage,
  platformWebSocket,
  type WebSocketImpl,
  webSocketUrl,
} from './connection/platform.ts';
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
export type { Operation, Status, Timeouts, Token } from './connection/connection.ts';
export type { SubscriptionObserver } from './connection/follow.ts';
export type { OutboxStorage, WebSocketImpl, WebSocketLike } from './connection/platform.ts';
export type { ConversationActions, Revision } from './conversation/actions.ts';
export type { ConversationState, ConversationView } from './conversation/conversation-state.ts';
export { type Delivery, deliveryOf, readersOf } from './conversation/delivery.ts';
export { KredichatError, type KredichatErrorCode } from './errors.ts';
export type { ErrorCode } from './generated/enums.ts';
export * from './generated/operations.ts';
export type { Readable } from './observable.ts';
export { type NewMessage, type Outbox, type Outgoing, queueKeyOf } from './outbox.ts';
export type { SearchHit, SearchOptions, SearchPage } from './search.ts';

/** Who the viewer is. */
export type Viewer = ViewerQuery['viewer'];

export interface ClientOptions {
  /**
   * Address of the server's GraphQL endpoint: `wss://HOST/graphql`, or the same with `https:`. In a page also a path
   * such as `/graphql` or `./graphql`, resolved against the page's address.
   */
  readonly url: string;
  /**
   * The credential, without the word `Bearer`. Asked for at each connection, and, when it said when the token ends, in
   * time before that. An empty one, or a thrown `KredichatError` with `UNAUTHENTICATED`, makes the status `refused` until
   * `reconnect` is called; after any other error it is asked for again.
   */
  readonly token: () => Token | Promise<Token>;
  /** The WebSocket to use: `ws`'s in Node before 22. Default: the platform's. */
  readonly webSocketImpl?: WebSocketImpl;
  /** Where unsent messages outlive the page; null for nowhere. Default: `localStorage` in browsers. */
  readonly storage?: OutboxStorage | null;
  /** Default: 10 s heartbeat, 5 s for an answer, retries after up to 0.25 s, 0.5 s … 10 s. */
  readonly timeouts?: Partial<Timeouts>;
  /** Wall clock, milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: () => number;
}

export interface Client {
  /** How it stands with the server. */
  readonly status: Readable<Status>;
  /** The viewer's messages on their way, over all conversations. */
  readonly outbox: Outbox;
  /** Who the server takes the viewer for. From then on the outbox holds what an earlier page of the viewer's left. */
  viewer(): Promise<Viewer>;
  /**
   * Runs an operation and resolves with its data; rejects with a `KredichatError`. A query waits out interruptions.
   * A mutation waits for a connection and is sent once: `DISCONNECTED` leaves open what came of it.
   */
  run<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables): Promise<Result>;
  /**
   * Runs a subscription, and again after every interruption, each time with what `variables` gives then.
   * Returns how to stop.
   */
  follow<Result, Variables>(
    operation: Operation<Result, Variables>,
    variables: () => Variables,
    observer: SubscriptionObserver<Result>,
  ): () => void;
  /** A conversation's messages after a position, then live ones: each once, in order, until one leaves the loop. */
  messages(conversationId: string, afterSeq: number): AsyncIterableIterator<MessageFieldsFragment>;
  /**
   * Opens the chat list, or with `archived` that of archived conversations; `pageSize` conversations at a time, 1 to 100,
   * 50 by default.
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
  /** Looks for messages in the viewer's conversations: all words have to match, a `*` makes a word a beginning of one. */
  search(query: string, options?: SearchOptions): Promise<SearchPage>;
  /**
   * Calls back with the `id` of each conversation that the viewer left or was removed from, as far as an open view tells
   * of it: remove all else that is shown of it. Returns a function that stops it.
   */
  onGone(listener: (conversationId: string) => void): () => void;
  /** Tries to connect at once, with a fresh token; the way back after `refused`. */
  reconnect(): void;
  /** Ends the connection, and everything that was opened here. */
  close(): void;
}

/**
 * Connects to a server.
 * @throws TypeError when `url` cannot be used, or there is no WebSocket
 */
export function createClient(options: ClientOptions): Client {
  const { token, clock = Date.now } = options;
  const WebSocket = options.webSocketImpl ?? platformWebSocket();
  if (!WebSocket) throw new TypeError('There is no WebSocket here: pass webSocketImpl.');
  const timeouts = { heartbeatMs: 10_000, answerMs: 5000, firstRetryMs: 250, lastRetryMs: 10_000, ...options.timeouts };
  const url = webSocketUrl(options.url);
  const connection = createConnection({ url, WebSocket, token, timeouts, clock });
  const storage = createSafeStorage(() => (options.storage === undefined ? platformStorage() : options.storage));
  const { outbox, ...outboxControl } = createOutbox(connection, url, storage, clock);

  let viewerRequest: Promise<Viewer> | null = null;
  function viewer(): Promise<Viewer> {
    viewerRequest ??= connection.run(ViewerDocument, {}).then(
      (answer) => {
        // The outbox is the viewer's, so it waits until the server said who that is.
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
  // Without a connection that lasts there is another attempt with the next one.
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
