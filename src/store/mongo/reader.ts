import type { ClientSession, Filter } from 'mongodb';
import type { ConversationId, EmailAddress } from '../../model.ts';
import type { ChatListFilter, ChatListPosition, Store } from '../store.ts';
import {
  type Collections,
  type ConversationDocument,
  type MessageDocument,
  toConversation,
  toMessage,
} from './documents.ts';

/** How often a page is looked for while the tail moves on under it. */
const LOOKS = 20;

type Reads = Omit<Store, 'append' | 'moveRead' | 'watch' | 'ping' | 'close'>;

/**
 * The reading half of the port, and what the writing half needs of it. All reads are of one causally consistent session:
 * a new primary does not answer them before it knows what this process has read or was acknowledged.
 */
export function createReader(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  session: ClientSession,
) {
  /** The tail of the log, and where the log ends. */
  async function tailOf(id: ConversationId): Promise<{ tail: MessageDocument[]; lastSeq: number }> {
    const found = await conversations.findOne({ _id: id }, { session, projection: { tail: 1, lastSeq: 1 } });
    return { tail: found?.tail ?? [], lastSeq: found?.lastSeq ?? 0 };
  }

  async function documents(id: ConversationId, from: number, to: number): Promise<MessageDocument[]> {
    for (let look = 1; ; look++) {
      const found = await messages
        .find({ conversation: id, seq: { $gte: from, $lte: to } }, { session })
        .sort({ seq: 1 })
        .toArray();
      if (found.length === to - from + 1) return found;
      // What is missing is in the tail, or does not exist; if the tail has moved on meanwhile, it is there now.
      const { tail, lastSeq } = await tailOf(id);
      const present = new Set(found.map(({ seq }) => seq));
      found.push(...tail.filter(({ seq }) => seq >= from && seq <= to && !present.has(seq)));
      found.sort((a, b) => a.seq - b.seq);
      if (found.length >= Math.min(to, lastSeq) - Math.max(from, 1) + 1) return found;
      if (look === LOOKS) throw new Error(`messages of ${id} are missing between ${from} and ${to}`);
    }
  }

  /** Counts what `reader` has not read after `readSeq`: in the log before the tail, and in the tail. */
  async function countUnread(
    reader: EmailAddress,
    { _id, members, tail, lastSeq }: Pick<ConversationDocument, '_id' | 'members' | 'tail' | 'lastSeq'>,
  ): Promise<number> {
    const readSeq = members.find(({ email }) => email === reader)?.readSeq ?? lastSeq;
    const tailFrom = tail[0]?.seq ?? lastSeq + 1;
    const inTail = tail.filter(({ seq, sender, counts }) => counts && seq > readSeq && sender !== reader).length;
    if (readSeq >= tailFrom - 1) return inTail;
    const before = { conversation: _id, counts: true, seq: { $gt: readSeq, $lt: tailFrom }, sender: { $ne: reader } };
    return inTail + (await messages.countDocuments(before, { session }));
  }

  function listed(
    reader: EmailAddress,
    { configId, status, label, archived }: ChatListFilter,
    pinned: boolean,
  ): Filter<ConversationDocument> {
    return {
      members: { $elemMatch: { email: reader, archived, pinned, leftAt: null } },
      ...(configId !== null && { configId }),
      ...(status !== null && { status: { $in: [...status] } }),
      ...(label !== null && { labels: label }),
    };
  }

  /** The reader's conversations in the order of the list, from just after a position, lazily. */
  async function* list(
    reader: EmailAddress,
    filter: ChatListFilter,
    after: ChatListPosition | null,
    limit: number,
  ): AsyncGenerator<ConversationDocument, undefined> {
    for (const pinned of [true, false]) {
      if (after && after.pinned !== pinned && pinned) continue;
      const beyond = after?.pinned === pinned ? past(after) : {};
      const cursor = conversations
        .find({ ...listed(reader, filter, pinned), ...beyond }, { session })
        .sort({ lastActivityAt: -1, _id: 1 })
        .limit(filter.unreadOnly ? 0 : limit);
      try {
        for await (const found of cursor) {
          if (!filter.unreadOnly || (await countUnread(reader, found)) > 0) yield found;
        }
      } finally {
        await cursor.close();
      }
    }
  }

  const reads: Reads = {
    async conversation(id) {
      const found = await conversations.findOne({ _id: id }, { session, projection: { tail: 0, read: 0 } });
      return found && toConversation(found);
    },

    async messages(id, from, to) {
      return (await documents(id, from, to)).map(toMessage);
    },

    async messagesByClientId(id, keys) {
      if (keys.length === 0) return [];
      const either = keys.map(({ sender, clientId }) => ({ conversation: id, sender, clientId }));
      // In this order, what leaves the tail meanwhile is found in `messages`.
      const { tail } = await tailOf(id);
      const found = await messages.find({ $or: either }, { session }).toArray();
      const inTail = tail.filter(
        (message) =>
          keys.some(({ sender, clientId }) => message.sender === sender && message.clientId === clientId) &&
          !found.some(({ seq }) => seq === message.seq),
      );
      return [...found, ...inTail].map(toMessage);
    },

    async firstUnread(id, reader) {
      const found = await conversations.findOne({ _id: id }, { session, projection: { members: 1, tail: 1 } });
      const readSeq = found?.members.find(({ email }) => email === reader)?.readSeq;
      if (!found || readSeq === undefined) return null;
      const unread = { conversation: id, counts: true, seq: { $gt: readSeq }, sender: { $ne: reader } };
      const first = await messages.find(unread, { session }).sort({ seq: 1 }).limit(1).next();
      const inTail = found.tail.find(({ seq, sender, counts }) => counts && seq > readSeq && sender !== reader);
      // Of the tail any part may be in `messages` already.
      return first && inTail ? Math.min(first.seq, inTail.seq) : (first?.seq ?? inTail?.seq ?? null);
    },

    async unreadCount(id, reader) {
      const found = await conversations.findOne({ _id: id }, { session });
      return found ? countUnread(reader, found) : 0;
    },

    async unreadTotal(reader, filter) {
      if (filter.archived) return 0;
      let total = 0;
      for await (const found of list(reader, filter, null, 0)) {
        if (!found.members.find(({ email }) => email === reader)?.muted) total += await countUnread(reader, found);
      }
      return total;
    },

    async chatList(reader, filter, { first, after }) {
      const page: ConversationDocument[] = [];
      for await (const found of list(reader, filter, after, first + 1)) if (page.push(found) > first) break;
      let hasPreviousPage = false;
      if (after) {
        const { value: top } = await list(reader, filter, null, 1).next();
        const pinned = top?.members.find(({ email }) => email === reader)?.pinned ?? false;
        hasPreviousPage =
          top !== undefined && !comesAfter({ pinned, lastActivityAt: top.lastActivityAt, id: top._id }, after);
      }
      return {
        conversations: page.slice(0, first).map(toConversation),
        hasNextPage: page.length > first,
        hasPreviousPage,
      };
    },
  };
  return { ...reads, documents, tailOf };
}

function past({ lastActivityAt, id }: ChatListPosition): Filter<ConversationDocument> {
  return {
    // The bound is for the index, the choice for those of the same instant.
    lastActivityAt: { $lte: lastActivityAt },
    $or: [{ lastActivityAt: { $lt: lastActivityAt } }, { _id: { $gt: id } }],
  };
}

function comesAfter(a: ChatListPosition, b: ChatListPosition): boolean {
  if (a.pinned !== b.pinned) return b.pinned;
  if (a.lastActivityAt !== b.lastActivityAt) return a.lastActivityAt < b.lastActivityAt;
  return a.id > b.id;
}
