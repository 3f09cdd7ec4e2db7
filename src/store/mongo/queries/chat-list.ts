import type { ClientSession, Document, Filter } from 'mongodb';
import { type EmailAddress, type Instant, unreadOf } from '../../../model.ts';
import type { ChatListFilter, ChatListPage, ChatListPosition, ChatListSlice } from '../../store.ts';
import {
  type Collections,
  type ConversationDocument,
  type CountedDocument,
  type ListedDocument,
  listedFor,
  ownOf,
  toListed,
} from '../documents.ts';

/** Reads the conversations of one member in the order of the chat list. */
export function createChatList(conversations: Collections['conversations'], session: ClientSession) {
  function listed(
    reader: EmailAddress,
    { configId, status, label, archived, unreadOnly }: ChatListFilter,
    pinned: boolean | null,
  ): Filter<ConversationDocument> {
    return {
      members: { $elemMatch: { email: reader, archived, ...(pinned !== null && { pinned }), leftAt: null } },
      ...(configId !== null && { configId }),
      ...(status !== null && { status: { $in: [...status] } }),
      ...(label !== null && { labels: label }),
      ...(unreadOnly && { $expr: hasUnread(reader) }),
    };
  }

  /**
   * The reader's conversations in the order of the list, lazily, from just after a position; each as projected.
   */
  async function* list<Projected extends Document>(
    reader: EmailAddress,
    filter: ChatListFilter,
    { after, horizon = Number.POSITIVE_INFINITY }: Omit<ChatListSlice, 'first'>,
    limit: number,
    projection: Document,
  ): AsyncGenerator<Projected, undefined> {
    const find = (pinned: boolean, where: Filter<ConversationDocument>) =>
      conversations
        .find<Projected>({ ...listed(reader, filter, pinned), ...where }, { session, projection })
        .sort({ lastActivityAt: -1, _id: 1 })
        .limit(limit);
    const from = after ? partOf(after, horizon) : 0;
    let noneIsLate = horizon === Number.POSITIVE_INFINITY;
    for (const [part, { pinned, late }] of PARTS.entries()) {
      if (part < from || (late && noneIsLate)) continue;
      if (!late && !after && horizon !== Number.POSITIVE_INFINITY) {
        // Late conversations would come first. There are hardly ever any; then these rows are the next part, too.
        const found = await find(pinned, {}).toArray();
        noneIsLate = !(found[0]?.lastActivityAt > horizon);
        if (noneIsLate) {
          yield* found;
          continue;
        }
      }
      const within = { lastActivityAt: late ? { $gt: horizon } : { $lte: horizon } };
      const cursor = find(pinned, { $and: [within, after && part === from ? past(after) : {}] });
      try {
        yield* cursor;
      } finally {
        await cursor.close();
      }
    }
  }

  async function unreadTotal(reader: EmailAddress, filter: ChatListFilter): Promise<number> {
    if (filter.archived) return 0;
    let total = 0;
    const projection = { counted: 1, own: ownOf(reader) };
    type Found = Pick<CountedDocument, 'counted' | 'own'>;
    const all = conversations.find<Found>(listed(reader, filter, null), { session, projection });
    for await (const { own, ...found } of all) {
      for (const member of own) if (!member.muted) total += unreadOf(found, member);
    }
    return total;
  }

  async function chatList(
    reader: EmailAddress,
    filter: ChatListFilter,
    { first, ...place }: ChatListSlice,
  ): Promise<ChatListPage> {
    const { after, horizon } = place;
    const projection = listedFor(reader);
    const page: ListedDocument[] = [];
    for await (const found of list<ListedDocument>(reader, filter, place, first + 1, projection))
      if (page.push(found) > first) break;
    let hasPreviousPage = false;
    if (after) {
      const { value: top } = await list<ListedDocument>(
        reader,
        filter,
        { ...place, after: null },
        1,
        projection,
      ).next();
      const pinned = top?.own[0]?.pinned ?? false;
      hasPreviousPage =
        top !== undefined && !comesAfter({ pinned, lastActivityAt: top.lastActivityAt, id: top._id }, after, horizon);
    }
    return {
      conversations: page.slice(0, first).flatMap(toListed),
      hasNextPage: page.length > first,
      hasPreviousPage,
    };
  }

  return { list, chatList, unreadTotal };
}

/** An expression for whether a conversation has messages that are unread for the reader. */
function hasUnread(reader: EmailAddress): Document {
  const own = { $arrayElemAt: [ownOf(reader), 0] };
  return { $let: { vars: { own }, in: { $gt: ['$counted', { $add: ['$$own.sent', '$$own.seen'] }] } } };
}

function past({ lastActivityAt, id }: ChatListPosition): Filter<ConversationDocument> {
  return {
    // The bound uses the index, `$or` decides between conversations of the same instant.
    lastActivityAt: { $lte: lastActivityAt },
    $or: [{ lastActivityAt: { $lt: lastActivityAt } }, { _id: { $gt: id } }],
  };
}

/** The parts of a list, in its order: each is read by the index. */
const PARTS = [true, false].flatMap((pinned) => [false, true].map((late) => ({ pinned, late })));

/** The part that holds a position; activity after the horizon is late. */
function partOf({ pinned, lastActivityAt }: ChatListPosition, horizon = Number.POSITIVE_INFINITY): number {
  return PARTS.findIndex((part) => part.pinned === pinned && part.late === lastActivityAt > horizon);
}

function comesAfter(a: ChatListPosition, b: ChatListPosition, horizon: Instant | undefined): boolean {
  if (partOf(a, horizon) !== partOf(b, horizon)) return partOf(a, horizon) > partOf(b, horizon);
  if (a.lastActivityAt !== b.lastActivityAt) return a.lastActivityAt < b.lastActivityAt;
  return a.id > b.id;
}
