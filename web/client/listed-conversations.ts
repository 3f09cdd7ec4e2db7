import type { ListedConversationFieldsFragment as Conversation } from './generated/operations.ts';

/**
 * The loaded conversations of a chat list, in order. Answers to queries and events may overtake each other, so the
 * newest state of each conversation counts. Each change returns the new list.
 */
export function createListedConversations(archived: boolean, clock: () => number) {
  let conversations: readonly Conversation[] = [];
  /** Conversations that changed or were removed since the last query, the answer to which may be older. */
  const changed = new Set<string>();
  const removed = new Set<string>();

  /** Replaces older states by newer ones. */
  function merge(newer: readonly Conversation[]): readonly Conversation[] {
    const known = new Map(conversations.map((conversation) => [conversation.id, conversation]));
    for (const conversation of newer) {
      if (removed.has(conversation.id)) continue;
      const before = known.get(conversation.id);
      if (before && isOlder(conversation, before)) continue;
      if (conversation.membership.leftAt === null && conversation.archived === archived)
        known.set(conversation.id, conversation);
      else known.delete(conversation.id);
    }
    conversations = [...known.values()].sort(compareConversations(clock()));
    return conversations;
  }

  return {
    /** Starts a reload: changes from here on are newer than its answer. */
    startReload(): void {
      changed.clear();
      removed.clear();
    },
    /** Applies the answer to a reload, which holds the beginning of the list. */
    reload(beginning: readonly Conversation[]): readonly Conversation[] {
      const listed = new Set(beginning.map(({ id }) => id));
      // A conversation missing in the answer may have been removed during the interruption, unless it changed since.
      conversations = conversations.filter(({ id }) => listed.has(id) || changed.has(id));
      return merge(beginning);
    },
    /** Whether a conversation was removed since the last reload started. */
    hasRemoved: () => removed.size > 0,
    add: merge,
    change(conversation: Conversation): readonly Conversation[] {
      changed.add(conversation.id);
      removed.delete(conversation.id);
      return merge([conversation]);
    },
    remove(id: string): readonly Conversation[] {
      changed.delete(id);
      removed.add(id);
      conversations = conversations.filter((conversation) => conversation.id !== id);
      return conversations;
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
