import type { ClientSession } from 'mongodb';
import type { ConversationId, Seq } from '../../model.ts';
import type { RecordStore, Store } from '../store.ts';
import {
  type Collections,
  type ConversationDocument,
  type ListedDocument,
  listedFor,
  type MessageDocument,
  present,
  toConversation,
  toListed,
  toMessage,
} from './documents.ts';
import { createChatList } from './queries/chat-list.ts';
import { createSearch } from './queries/search.ts';
import { createUnread } from './queries/unread.ts';

/** The part of the log that a conversation's document holds. */
export type Pending = Required<Pick<ConversationDocument, 'tail' | 'changed' | 'lastSeq' | 'lastRev'>> &
  Pick<ConversationDocument, 'importedRev'>;

/** Projection for the state of a conversation; of its log the last message at most. */
export const WITHOUT_LOG = { tail: { $slice: -1 }, changed: 0, read: 0, view: 0, written: 0, typing: 0 } as const;

/** Attempts to read a page while messages are moved out of the tail. */
const MAX_ATTEMPTS = 20;

type Reads = Omit<
  Store,
  | keyof RecordStore
  | 'messagesByClientId'
  | 'write'
  | 'advanceReadPosition'
  | 'setView'
  | 'tellTyping'
  | 'watch'
  | 'searchLag'
  | 'ping'
  | 'close'
>;

/**
 * The reading half of the port, and the reads of the writing half. All reads use one causally consistent session: a new
 * primary does not answer them before it has everything this process has read or had acknowledged.
 */
export function createReader(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  session: ClientSession,
) {
  const { list, chatList, unreadTotal } = createChatList(conversations, session);
  const { firstUnread, seenAt } = createUnread({ conversations, messages }, session);

  /** The part of the log in the conversation's document, and the end of the log. */
  async function pendingOf(id: ConversationId): Promise<Pending> {
    const projection = { tail: 1, changed: 1, lastSeq: 1, lastRev: 1, importedRev: 1 };
    const found = await conversations.findOne({ _id: id }, { session, projection });
    return { tail: [], lastSeq: 0, lastRev: 0, ...found, changed: found?.changed ?? [] };
  }

  async function documents(id: ConversationId, from: Seq, to: Seq): Promise<MessageDocument[]> {
    for (let attempt = 1; ; attempt++) {
      const found = await messages
        .find({ conversation: id, seq: { $gte: from, $lte: to } }, { session })
        .sort({ seq: 1 })
        .toArray();
      const marked = found.filter(({ changing }) => changing);
      if (found.length === to - from + 1 && marked.length === 0) return found;
      // A missing message is in the tail, or does not exist; if it left the tail meanwhile, it is in `messages` now.
      const { tail, changed, lastSeq } = await pendingOf(id);
      const newest = bySeq([...found, ...[...tail, ...changed].filter(({ seq }) => seq >= from && seq <= to)]);
      const unsure = marked.filter((document) => newest.get(document.seq) === document).map(({ _id }) => _id);
      if (unsure.length > 0) {
        // The change was not committed, or has been moved since.
        const again = await messages.find({ conversation: id, _id: { $in: unsure } }, { session }).toArray();
        for (const document of again) newest.set(document.seq, document);
      }
      if (newest.size >= Math.min(to, lastSeq) - Math.max(from, 1) + 1)
        return [...newest.values()].sort((a, b) => a.seq - b.seq);
      if (attempt === MAX_ATTEMPTS) throw new Error(`messages of ${id} are missing between ${from} and ${to}`);
    }
  }

  const reads: Reads = {
    async conversation(id, reader) {
      const named = { _id: id, ...(reader !== undefined && present(reader)) };
      const found = await conversations.findOne(named, { session, projection: { ...WITHOUT_LOG, record: 0 } });
      return found && toConversation(found);
    },

    async listed(reader, ids) {
      const named = { _id: { $in: [...ids] }, ...present(reader) };
      const found = conversations.find<ListedDocument>(named, { session, projection: listedFor(reader) });
      return (await found.toArray()).flatMap(toListed);
    },

    async memberCount(id) {
      const projection = { _id: 0, count: { $size: '$members' } };
      return (await conversations.findOne<{ count: number }>({ _id: id }, { session, projection }))?.count ?? 0;
    },

    async conversationIds(after, limit) {
      const found = await conversations
        .find(after === null ? {} : { _id: { $gt: after } }, { session, projection: { _id: 1 } })
        .sort({ _id: 1 })
        .limit(limit)
        .toArray();
      return found.map(({ _id }) => _id);
    },

    async messages(id, from, to) {
      return (await documents(id, from, to)).map(toMessage);
    },

    async changes(id, afterRev, limit) {
      for (let attempt = 1; ; attempt++) {
        const { tail, changed, lastRev } = await pendingOf(id);
        const pending = [...tail, ...changed].filter(({ rev }) => rev > afterRev);
        // A subscriber that is close to the end finds all of it here.
        const known = pending.length >= lastRev - afterRev;
        const found = known
          ? []
          : await messages
              .find({ conversation: id, rev: { $gt: afterRev } }, { session })
              .sort({ rev: 1 })
              // `messages` may hold so many in their old state.
              .limit(limit + changed.length)
              .toArray();
        // A message that was changed meanwhile would be missing.
        const moved = found.some(({ rev, addedRev = rev }) => rev > lastRev && addedRev <= lastRev);
        if (moved && attempt < MAX_ATTEMPTS) continue;
        // Changes after `lastRev` are left out, as changes before them might be missing.
        return [...bySeq([...found.filter(({ rev }) => rev <= lastRev), ...pending]).values()]
          .sort((a, b) => a.rev - b.rev)
          .slice(0, limit)
          .map(toMessage);
      }
    },

    async leftSince(reader, since, limit) {
      const left = { members: { $elemMatch: { email: reader, leftAt: { $gte: since } } } };
      const found = await conversations
        .find(left, { session, projection: { _id: 1 } })
        .limit(limit)
        .toArray();
      return found.map(({ _id }) => _id);
    },

    search: createSearch({ conversations, messages }, session, list),
    ...{ chatList, unreadTotal, firstUnread },
  };
  return { ...reads, documents, pendingOf, seenAt };
}

/** The newest version of each message. */
export function bySeq(documents: readonly MessageDocument[]): Map<number, MessageDocument> {
  const newest = new Map<number, MessageDocument>();
  for (const document of documents) {
    if (document.rev > (newest.get(document.seq)?.rev ?? 0)) newest.set(document.seq, document);
  }
  return newest;
}
