import { LRUCache } from 'lru-cache';
import {
  type Filter,
  MongoClient,
  type MongoClientOptions,
  MongoError,
  MongoServerError,
  ObjectId,
  ReadConcern,
  ReadPreference,
} from 'mongodb';
import { type ConversationId, type EmailAddress, type Message, messageId } from '../../model.ts';
import {
  type Append,
  type ChatListFilter,
  type ChatListPosition,
  type Store,
  StoreUnavailable,
  type WakeUp,
} from '../store.ts';
import {
  type Collections,
  type ConversationDocument,
  collections,
  createIndexes,
  type MessageDocument,
  toConversation,
  toMessage,
} from './documents.ts';
import { watchConversations } from './watch.ts';

/**
 * Durable on a majority before it is acknowledged, and read only once it is. The driver has no other bound that holds
 * on a server that stalls, so every socket has one.
 */
const OPTIONS: MongoClientOptions = {
  appName: 'kredichat',
  retryReads: true,
  retryWrites: true,
  writeConcern: { w: 'majority', journal: true },
  readConcern: new ReadConcern('majority'),
  readPreference: ReadPreference.PRIMARY,
  socketTimeoutMS: 1500,
  connectTimeoutMS: 1500,
  serverSelectionTimeoutMS: 3000,
  heartbeatFrequencyMS: 1000,
  ignoreUndefined: true,
};

/** How long an append goes on finding out what became of it, in milliseconds. */
const APPEND_MS = 8000;
/** How often a page is looked for while the tail moves on under it. */
const LOOKS = 20;
/** Between two attempts. */
const RETRY_MS = 100;

const DUPLICATE_KEY = 11_000;

/**
 * Opens the store on a MongoDB replica set (4.4 or newer), which any number of processes share.
 * `url` is a connection string; the database is the one in its path, or `kredichat`.
 */
export async function openMongo(url: string, onError: (error: unknown) => void = () => {}): Promise<Store> {
  const client = new MongoClient(url, OPTIONS);
  try {
    await client.connect();
    const db = client.db(new URL(url.replace(/^mongodb(\+srv)?:\/\/[^/]*/, 'x://x')).pathname.slice(1) || 'kredichat');
    const all = collections(db);
    await createIndexes(all);
    return createStore(client, all, onError);
  } catch (error) {
    await client.close();
    throw error;
  }
}

function createStore(
  client: MongoClient,
  { conversations, messages, probes }: Collections,
  onError: (error: unknown) => void,
): Store {
  const listeners = new Set<(wakeUp: WakeUp) => void>();
  /** Positions that listeners were told of: by the write itself or by the change stream, whichever came first. */
  const told = new LRUCache<string, true>({ max: 10_000 });
  const wake = (wakeUp: WakeUp, position: string) => {
    const key = `${wakeUp.conversation} ${position}`;
    if (told.has(key)) return;
    told.set(key, true);
    for (const listener of listeners) listener(wakeUp);
  };
  const stream = watchConversations(conversations, wake, onError);
  /** Tails this process is moving to `messages`. */
  const moving = new Map<ConversationId, Promise<void>>();
  /** The `lastRev` up to which a log is known to be in `messages`: saves looking. */
  const moved = new LRUCache<ConversationId, number>({ max: 10_000 });

  /** Copies a tail to `messages`. Idempotent: whoever comes second finds it there, and waits until it is there to stay. */
  async function move(tail: readonly MessageDocument[]): Promise<void> {
    try {
      await messages.insertMany([...tail], { ordered: false });
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      // What is in the way may still be undone by a new primary: only what a majority has is moved.
      const present = await messages.countDocuments({ _id: { $in: tail.map(({ _id }) => _id) } });
      if (present < tail.length) throw new MongoError('The tail is not on a majority yet.');
    }
  }

  function startMoving(id: ConversationId, tail: readonly MessageDocument[]): void {
    const done = move(tail)
      .then(() => void moved.set(id, tail.at(-1)?.rev ?? 0))
      // Whoever appends next moves it first.
      .catch(onError)
      .finally(() => {
        if (moving.get(id) === done) moving.delete(id);
      });
    moving.set(id, done);
  }

  /** The newest batch of the log and where it begins. */
  async function tailOf(id: ConversationId): Promise<{ tail: MessageDocument[]; lastSeq: number }> {
    const found = await conversations.findOne({ _id: id }, { projection: { tail: 1, lastSeq: 1 } });
    return { tail: found?.tail ?? [], lastSeq: found?.lastSeq ?? 0 };
  }

  async function attempt(document: Append, tail: MessageDocument[]): Promise<boolean> {
    const { conversation: _id, afterRev, opening, roles } = document;
    const [first, newest] = [tail[0], tail.at(-1)];
    if (!first || !newest) return false;
    const heads = { lastSeq: newest.seq, lastRev: newest.rev, lastActivityAt: newest.sentAt, tail };
    if (opening) {
      const at = first.sentAt;
      const views = { readSeq: 0, joinedAt: at, leftAt: null, muted: false, pinned: false, archived: false };
      const members = opening.members.map((email) => ({ email, role: roles.get(email) ?? null, ...views }));
      const { configId, subject, party } = opening;
      const created = {
        configId,
        subject,
        party,
        status: 'OPEN' as const,
        labels: [],
        assignee: null,
        createdAt: at,
        members,
      };
      try {
        await conversations.insertOne({ _id, ...created, ...heads });
        return true;
      } catch (error) {
        if (isDuplicate(error)) return false;
        throw error;
      }
    }
    await moving.get(_id);
    if (moved.get(_id) !== afterRev) {
      const { tail: before } = await tailOf(_id);
      if (before.at(-1)?.rev !== afterRev) return false;
      await move(before);
    }
    const set = Object.fromEntries([...roles].map(([, role], i) => [`members.$[m${i}].role`, role]));
    const arrayFilters = [...roles.keys()].map((email, i) => ({ [`m${i}.email`]: email }));
    const { matchedCount } = await conversations.updateOne(
      { _id, lastRev: afterRev },
      { $set: { ...heads, ...set } },
      { arrayFilters },
    );
    return matchedCount === 1;
  }

  /** Whether this append is in the log after all. */
  async function landed(id: ConversationId, append: ObjectId, seq: number): Promise<boolean> {
    const [found] = await documents(id, seq, seq);
    return found?.append.equals(append) ?? false;
  }

  async function documents(id: ConversationId, from: number, to: number): Promise<MessageDocument[]> {
    for (let look = 1; ; look++) {
      const found = await messages
        .find({ conversation: id, seq: { $gte: from, $lte: to } })
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
    return inTail + (await messages.countDocuments(before));
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
  ): AsyncGenerator<ConversationDocument> {
    for (const pinned of [true, false]) {
      if (after && after.pinned !== pinned && pinned) continue;
      const beyond = after?.pinned === pinned ? past(after) : {};
      const cursor = conversations
        .find({ ...listed(reader, filter, pinned), ...beyond })
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

  const store: Store = {
    async conversation(id) {
      const found = await conversations.findOne({ _id: id }, { projection: { tail: 0, read: 0 } });
      return found && toConversation(found);
    },

    async messages(id, from, to) {
      return (await documents(id, from, to)).map(toMessage);
    },

    async messagesByClientId(id, keys) {
      if (keys.length === 0) return [];
      const either = keys.map(({ sender, clientId }) => ({ conversation: id, sender, clientId }));
      const [found, { tail }] = await Promise.all([messages.find({ $or: either }).toArray(), tailOf(id)]);
      const inTail = tail.filter(
        (message) =>
          keys.some(({ sender, clientId }) => message.sender === sender && message.clientId === clientId) &&
          !found.some(({ seq }) => seq === message.seq),
      );
      return [...found, ...inTail].map(toMessage);
    },

    async firstSince(id, time) {
      const found = await messages
        .find({ conversation: id, sentAt: { $gte: time } })
        .sort({ sentAt: 1, seq: 1 })
        .limit(1)
        .next();
      return found?.seq ?? (await tailOf(id)).tail.find(({ sentAt }) => sentAt >= time)?.seq ?? null;
    },

    async firstUnread(id, reader) {
      const found = await conversations.findOne({ _id: id }, { projection: { members: 1, tail: 1 } });
      const readSeq = found?.members.find(({ email }) => email === reader)?.readSeq;
      if (!found || readSeq === undefined) return null;
      const unread = { conversation: id, counts: true, seq: { $gt: readSeq }, sender: { $ne: reader } };
      const first = await messages.find(unread).sort({ seq: 1 }).limit(1).next();
      return (
        first?.seq ??
        found.tail.find(({ seq, sender, counts }) => counts && seq > readSeq && sender !== reader)?.seq ??
        null
      );
    },

    async unreadCount(id, reader) {
      const found = await conversations.findOne({ _id: id });
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
        const [head] = [await list(reader, filter, null, 1).next()];
        const top = head.done ? null : head.value;
        const pinned = top?.members.find(({ email }) => email === reader)?.pinned ?? false;
        hasPreviousPage =
          top !== null && !comesAfter({ pinned, lastActivityAt: top.lastActivityAt, id: top._id }, after);
      }
      return {
        conversations: page.slice(0, first).map(toConversation),
        hasNextPage: page.length > first,
        hasPreviousPage,
      };
    },

    async append(document) {
      const append = new ObjectId();
      const tail = document.messages.map((message) => toDocument(message, append));
      const first = tail[0]?.seq ?? 0;
      const deadline = performance.now() + APPEND_MS;
      let tried = false;
      for (;;) {
        try {
          // A retry may find that an earlier attempt landed after its time was up: only one of them can.
          const appended =
            (await attempt(document, tail)) || (tried && (await landed(document.conversation, append, first)));
          if (appended) {
            startMoving(document.conversation, tail);
            wake({ conversation: document.conversation }, String(tail.at(-1)?.rev));
          }
          return appended;
        } catch (error) {
          if (!(error instanceof MongoError) || performance.now() > deadline) throw error;
          tried = true;
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        }
      }
    },

    async moveRead(id, reader, seq, role) {
      const { modifiedCount } = await conversations.updateOne(
        { _id: id, members: { $elemMatch: { email: reader, readSeq: { $lt: seq } } } },
        {
          $set: {
            'members.$.readSeq': seq,
            ...(role !== null && { 'members.$.role': role }),
            read: { by: reader, seq },
          },
        },
      );
      if (modifiedCount === 0) return false;
      wake({ conversation: id, reader }, `${reader} ${seq}`);
      return true;
    },

    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async ping() {
      await probes.updateOne({ _id: 'ping' }, { $set: { at: new Date() } }, { upsert: true });
    },

    async close() {
      await Promise.all(moving.values());
      await stream.close();
      await client.close();
    },
  };
  return guarded(store);
}

/** The store with the driver's errors as the port's, which closes once the calls under way have ended. */
function guarded(store: Store): Store {
  const writes: readonly string[] = ['append', 'moveRead'];
  const running = new Set<Promise<unknown>>();
  let closed: Promise<void> | null = null;

  const guard =
    (name: string, call: (...args: never[]) => Promise<unknown>) =>
    async (...args: never[]) => {
      if (closed) throw new StoreUnavailable(true, new Error('the store is closed'));
      const result = call(...args);
      running.add(result);
      try {
        return await result;
      } catch (error) {
        // A read that failed wrote nothing; of a write that failed nobody knows.
        throw error instanceof MongoError ? new StoreUnavailable(!writes.includes(name), error) : error;
      } finally {
        running.delete(result);
      }
    };
  const { watch, close, ...calls } = store;
  const entries = Object.entries(calls).map(([name, call]) => [name, guard(name, call)]);
  return {
    ...(Object.fromEntries(entries) as typeof calls),
    watch,
    close() {
      closed ??= Promise.allSettled(running).then(close);
      return closed;
    },
  };
}

function toDocument({ conversationId, clientId, revisions, ...message }: Message, append: ObjectId): MessageDocument {
  return {
    _id: messageId({ conversationId, seq: message.seq }),
    conversation: conversationId,
    ...message,
    ...(clientId !== null && { clientId }),
    revisions: [...revisions],
    append,
    counts: message.kind === 'TEXT' && message.redactedAt === null,
  };
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

function isDuplicate(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === DUPLICATE_KEY;
}
