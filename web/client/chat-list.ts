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
  const filter = archived ? { archived } : null;
  let cursor: string | null = null;
  let closed = false;
  let loadingMore: Promise<void> | null = null;
  const retryLoad = createRetryTimer();
  const retryMore = createRetryTimer();
  /** Counts queries of the list, so that the answers to earlier ones are dropped. */
  let generation = 0;
  /** Conversations that changed or were removed since the last query, the answer to which may be older. */
  const changed = new Set<string>();
  const removed = new Set<string>();

  /** Replaces older states by newer ones. */
  function merge(present: readonly Conversation[], newer: readonly Conversation[]): Conversation[] {
    const known = new Map(present.map((conversation) => [conversation.id, conversation]));
    for (const conversation of newer) {
      if (removed.has(conversation.id)) continue;
      const before = known.get(conversation.id);
      if (before && isOlder(conversation, before)) continue;
      if (conversation.membership.leftAt === null && conversation.archived === archived)
        known.set(conversation.id, conversation);
      else known.delete(conversation.id);
    }
    return [...known.values()].sort(compareConversations(clock()));
  }

  /** Reloads the beginning of the list, as many conversations as were loaded. */
  async function load(): Promise<void> {
    const own = ++generation;
    retryLoad.cancel();
    changed.clear();
    removed.clear();
    try {
      const first = Math.min(Math.max(pageSize, state.get().conversations.length), 100);
      const { chatList } = await connection.run(ChatListDocument, { first, filter });
      if (closed || own !== generation) return;
      const listed = new Set(chatList.nodes.map(({ id }) => id));
      // A conversation missing in the answer may have been removed during the interruption, unless it changed since.
      const kept = state.get().conversations.filter(({ id }) => listed.has(id) || changed.has(id));
      cursor = chatList.pageInfo.endCursor;
      const { hasNextPage: hasMore } = chatList.pageInfo;
      retryLoad.reset();
      const conversations = merge(kept, chatList.nodes);
      update({ conversations, unreadTotal: chatList.unreadTotal, loaded: true, hasMore, error: null });
      if (removed.size > 0) refreshTotal();
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

  /** Applies the present state of a conversation. */
  function applyChange(conversation: Conversation): void {
    changed.add(conversation.id);
    removed.delete(conversation.id);
    update({ conversations: merge(state.get().conversations, [conversation]) });
  }

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
    changed: applyChange,
    removed(id) {
      changed.delete(id);
      removed.add(id);
      update({ conversations: state.get().conversations.filter((conversation) => conversation.id !== id) });
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
      const conversations = merge(state.get().conversations, chatList.nodes);
      update({ conversations, hasMore: chatList.pageInfo.hasNextPage, error: null });
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

/** Whether state `a` of a conversation is older than `b`: positions only move forward. */
function isOlder(a: Conversation, b: Conversation): boolean {
  return a.lastRev < b.lastRev || (a.lastRev === b.lastRev && a.membership.readSeq < b.membership.readSeq);
}

/** A time further ahead of the clock than this (ms) comes from a wrong clock. The server uses the same limit. */
const MAX_AHEAD_MS = 86_400_000;

/** The order of the chat list: pinned first, wrong times last, then by most recent activity, then by id. */
function compareConversations(now: number): (a: Conversation, b: Conversation) => number {
  const isLate = ({ lastActivityAt }: Conversation) => Date.parse(lastActivityAt) > now + MAX_AHEAD_MS;
  return (a, b) => {
    if (a.pinned !== b.pinned) return a.pinned ? -1 : 1;
    if (isLate(a) !== isLate(b)) return isLate(a) ? 1 : -1;
    if (a.lastActivityAt !== b.lastActivityAt) return a.lastActivityAt > b.lastActivityAt ? -1 : 1;
    return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
  };
}
