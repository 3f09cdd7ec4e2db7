import type { Connection } from './connection/connection.ts';
import { follow } from './connection/follow.ts';
import { coalesceWithRetry, createRetryTimer } from './connection/retry.ts';
import { asError, type KredichatError } from './errors.ts';
import {
  ChatListChangedDocument,
  ChatListDocument,
  type ListedConversationFieldsFragment as Conversation,
  UnreadTotalDocument,
} from './generated/operations.ts';
import { createListedConversations } from './listed-conversations.ts';
import { createObservable, type Readable } from './observable.ts';
import type { ViewEvents } from './view-events.ts';

/** The present state of a chat list. */
export interface ChatListState {
  /** False until the first answer. */
  readonly loaded: boolean;
  /** Pinned conversations first, then the most recent activity first. */
  readonly conversations: readonly Conversation[];
  /** Unread messages over all conversations that are neither muted nor archived, including those not loaded. */
  readonly unreadTotal: number;
  /** Whether there are more conversations to load. */
  readonly hasMore: boolean;
  /** Whether the next page is being loaded. */
  readonly loadingMore: boolean;
  /** Why the last load failed. Transient failures are retried automatically. */
  readonly error: KredichatError | null;
}

/** The viewer's chat list, kept up to date. */
export interface ChatListView extends Readable<ChatListState> {
  /** Loads the next page. A failure is in `error`; a transient one is retried automatically. */
  loadMore(): Promise<void>;
  close(): void;
}

export interface ChatListOptions {
  readonly connection: Connection;
  readonly viewEvents: ViewEvents;
  /** Conversations in a page, 1 to 100. */
  readonly pageSize: number;
  /** Wall clock, milliseconds since 1970. */
  readonly clock: () => number;
  /** Whether to list the archived conversations instead of the others. */
  readonly archived: boolean;
}

/** Opens a chat list. After every interruption it subscribes first, then queries, so that no change is missed. */
export function openChatList({ connection, viewEvents, pageSize, clock, archived }: ChatListOptions): ChatListView {
  const state = createObservable<ChatListState>({
    ...{ loaded: false, conversations: [], unreadTotal: 0, hasMore: false, loadingMore: false, error: null },
  });
  const update = (change: Partial<ChatListState>) => state.set({ ...state.get(), ...change });
  const listed = createListedConversations(archived, clock);
  const filter = archived ? { archived } : null;
  let cursor: string | null = null;
  let closed = false;
  let loadingMore: Promise<void> | null = null;
  const retryLoad = createRetryTimer();
  const retryMore = createRetryTimer();
  /** Counts queries of the list, so that the answers to earlier ones are dropped. */
  let generation = 0;

  /** Reloads the beginning of the list, as many conversations as were loaded. */
  async function load(): Promise<void> {
    const own = ++generation;
    retryLoad.cancel();
    listed.startReload();
    try {
      const first = Math.min(Math.max(pageSize, state.get().conversations.length), 100);
      const { chatList } = await connection.run(ChatListDocument, { first, filter });
      if (closed || own !== generation) return;
      cursor = chatList.pageInfo.endCursor;
      const { hasNextPage: hasMore } = chatList.pageInfo;
      retryLoad.reset();
      const conversations = listed.reload(chatList.nodes);
      update({ conversations, unreadTotal: chatList.unreadTotal, loaded: true, hasMore, error: null });
      if (listed.hasRemoved()) refreshTotal();
    } catch (thrown) {
      const error = asError(thrown);
      if (closed || own !== generation) return;
      update({ error });
      if (error.transient) retryLoad.schedule(() => void load());
    }
  }

  /** Queries the total, since it covers more than the loaded conversations; once for all changes before the answer. */
  const refreshTotal = coalesceWithRetry(
    async () => {
      const answer = await connection.run(UnreadTotalDocument, {});
      if (!closed) update({ unreadTotal: answer.chatList.unreadTotal });
    },
    () => closed,
  );

  const stop = follow(connection, ChatListChangedDocument, () => ({}), {
    starting: () => void load(),
    next({ chatListChanged }) {
      // The listener below handles both. `lastSeq` 0 marks a conversation that the viewer has left.
      if (chatListChanged.lastSeq === 0) return viewEvents.removed(chatListChanged.id);
      viewEvents.changed(chatListChanged);
      refreshTotal();
    },
    end: (error) => update({ error }),
  });

  const unlisten = viewEvents.listen({
    changed: (conversation) => update({ conversations: listed.change(conversation) }),
    removed(id) {
      update({ conversations: listed.remove(id) });
      refreshTotal();
    },
  });

  function loadMore(): Promise<void> {
    if (!state.get().hasMore) return Promise.resolve();
    loadingMore ??= loadPage().finally(() => {
      loadingMore = null;
      if (!closed) update({ loadingMore: false });
    });
    return loadingMore;
  }

  async function loadPage(): Promise<void> {
    const own = generation;
    retryMore.cancel();
    update({ loadingMore: true });
    try {
      const { chatList } = await connection.run(ChatListDocument, { first: pageSize, after: cursor, filter });
      if (closed || own !== generation) return;
      cursor = chatList.pageInfo.endCursor;
      retryMore.reset();
      const { hasNextPage: hasMore } = chatList.pageInfo;
      update({ conversations: listed.add(chatList.nodes), hasMore, error: null });
    } catch (thrown) {
      const error = asError(thrown);
      if (closed || own !== generation) return;
      update({ error });
      if (error.transient) retryMore.schedule(() => void loadMore(), error);
    }
  }

  return {
    get: state.get,
    subscribe: state.subscribe,
    loadMore,
    close() {
      closed = true;
      retryLoad.cancel();
      retryMore.cancel();
      unlisten();
      stop();
    },
  };
}
