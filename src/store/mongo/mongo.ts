import { setTimeout } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import {
  MongoClient,
  type MongoClientOptions,
  MongoError,
  MongoServerError,
  ObjectId,
  ReadConcern,
  ReadPreference,
} from 'mongodb';
import { type ConversationId, type Message, messageId } from '../../model.ts';
import { type Append, type Store, StoreUnavailable, type WakeUp } from '../store.ts';
import { type Collections, collections, createIndexes, type MessageDocument } from './documents.ts';
import { createReader } from './reader.ts';
import { watchConversations } from './watch.ts';

/**
 * Durable on a majority before it is acknowledged, and read only once it is. The driver has no other bound that holds
 * on a server that stalls, so every socket, and every wait for one, has one.
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
  waitQueueTimeoutMS: 3000,
  serverSelectionTimeoutMS: 3000,
  heartbeatFrequencyMS: 1000,
  ignoreUndefined: true,
};

/** How long an append goes on finding out what became of it, in milliseconds. */
const APPEND_MS = 8000;
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
  const listeners = new Set<(wakeUp: WakeUp | null) => void>();
  /** Positions that listeners were told of: by the write itself or by the change stream, whichever came first. */
  const told = new LRUCache<string, true>({ max: 10_000 });
  const wake = (wakeUp: WakeUp, position: string) => {
    const key = `${wakeUp.conversation} ${position}`;
    if (told.has(key)) return;
    told.set(key, true);
    for (const listener of listeners) listener(wakeUp);
  };
  const { documents, tailOf, ...reads } = createReader({ conversations, messages });
  const lost = () => {
    for (const listener of listeners) listener(null);
  };
  const stream = watchConversations(conversations, wake, lost, onError);
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

  const store: Store = {
    ...reads,

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
          await setTimeout(RETRY_MS);
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

function isDuplicate(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === DUPLICATE_KEY;
}
