import { LRUCache } from 'lru-cache';
import {
  MongoClient,
  type MongoClientOptions,
  MongoError,
  MongoNetworkTimeoutError,
  ObjectId,
  ReadConcern,
  ReadPreference,
} from 'mongodb';
import { logChanged, type RecordStore, revAfter, type Store, StoreUnavailable, type WakeUp } from '../store.ts';
import { backfillCounters } from './backfill/counters.ts';
import { createBeginning } from './backfill/record.ts';
import { backfillWords } from './backfill/words.ts';
import { openChangeStream } from './change-stream.ts';
import { createClientIdLookUp } from './client-ids.ts';
import { type Collections, collections, createIndexes } from './documents.ts';
import { type Instance, type Instances, registerInstance } from './instances.ts';
import type { InSession } from './mover.ts';
import { createAdvanceReadPosition } from './read-position.ts';
import { createReader } from './reader.ts';
import { createRecord } from './record.ts';
import { createRegister } from './register.ts';
import { createWriter } from './writer.ts';

/** How long a start waits for the indexes that an earlier version did not have, in milliseconds. */
const BUILD_MS = 600_000;

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

/** The database in the path of a connection string, or `kredichat`. */
function databaseOf(client: MongoClient, url: string) {
  return client.db(new URL(url.replace(/^mongodb(\+srv)?:\/\/[^/]*/, 'x://x')).pathname.slice(1) || 'kredichat');
}

/**
 * Refuses a database without a store. `openMongo` would make one there.
 * @throws Error when there is none
 */
export async function requireMongoStore(url: string): Promise<void> {
  const client = new MongoClient(url, OPTIONS);
  try {
    const db = databaseOf(client, url);
    const found = await db.listCollections({ name: 'conversations' }, { nameOnly: true }).toArray();
    if (found.length === 0) throw new Error(`the database ${db.databaseName} holds no Kredichat store`);
  } finally {
    await client.close();
  }
}

/**
 * Opens the store on a MongoDB replica set (4.4 or newer), which any number of processes share.
 * `url` is a connection string; the database is the one in its path, or `kredichat`. `onOpen` is called with the
 * processes that have it open, this one included.
 */
export async function openMongo(
  url: string,
  onError: (error: unknown) => void = () => {},
  onOpen: (instances: readonly Instance[]) => void = () => {},
): Promise<Store> {
  const client = new MongoClient(url, OPTIONS);
  let instances: Instances | undefined;
  try {
    await client.connect();
    const db = databaseOf(client, url);
    const all = collections(db);
    instances = await registerInstance(db, onError);
    await repeated(() => createIndexes(all));
    await createRegister(all);
    await backfillCounters(all);
    const store = await createStore(client, all, instances, onError);
    onOpen(await instances.live());
    return store;
  } catch (error) {
    await instances?.close();
    await client.close();
    throw error;
  }
}

/** Repeats a call that the server goes on with after the time limit of the socket: building an index takes longer. */
async function repeated(call: () => Promise<void>): Promise<void> {
  for (const deadline = performance.now() + BUILD_MS; ; ) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof MongoNetworkTimeoutError) || performance.now() > deadline) throw error;
    }
  }
}

async function createStore(
  client: MongoClient,
  all: Collections,
  instances: Instances,
  onError: (error: unknown) => void,
): Promise<Store> {
  const { conversations, messages, probes } = all;
  const listeners = new Set<(wakeUp: WakeUp | null) => void>();
  /** Positions already delivered to listeners: by the write itself or by the change stream, whichever came first. */
  const told = new LRUCache<string, true>({ max: 10_000 });
  const wake = (wakeUp: WakeUp, position: string) => {
    const key = `${wakeUp.conversation} ${position}`;
    if (told.has(key)) return;
    told.set(key, true);
    for (const listener of listeners) listener(wakeUp);
  };
  const session = client.startSession({ causalConsistency: true });
  /** Runs a write; reads that begin after it see it, or wait until they can, whichever member is primary then. */
  const inSession: InSession = (work) =>
    client.withSession(async (own) => {
      try {
        return await work(own);
      } finally {
        if (own.operationTime) session.advanceOperationTime(own.operationTime);
      }
    });
  const { documents, pendingOf, seenAt, ...reads } = createReader({ conversations, messages }, session);
  const lost = () => {
    for (const listener of listeners) listener(null);
  };
  const writer = createWriter({ conversations, messages }, { documents, pendingOf }, session, inSession, onError);
  const learn: Parameters<typeof openChangeStream>[2] = (id, document, since) => {
    // Messages moved out of the document before are read in `messages`, also from a new primary.
    if (since) session.advanceOperationTime(since);
    writer.learn(id, document);
  };
  const beginning = createBeginning(all, instances, writer, session, inSession);
  const record = createRecord(all, { pendingOf }, beginning, session, inSession);
  await beginning.ready();
  const stream = openChangeStream(conversations, wake, learn, lost, onError);
  await stream.opened;

  let closing = false;
  const filling = backfillWords(all, () => closing).catch(onError);

  const store: Store = {
    ...reads,
    ...record,

    async write(write) {
      await instances.requireFeatures(write.messages);
      const begun = write.opening === null || (await beginning.hasBegun());
      const written = await writer.write(write, begun);
      if (written) wake(logChanged(write.conversation, write), String(revAfter(write)));
      return written;
    },

    messagesByClientId: createClientIdLookUp(all, session, writer),

    advanceReadPosition: createAdvanceReadPosition(conversations, { seenAt }, inSession, wake),

    async setView(id, reader, view) {
      const entries = Object.entries(view).filter(([, value]) => value !== undefined);
      if (entries.length === 0) return false;
      const differs = { $or: entries.map(([name, value]) => ({ [name]: { $ne: value } })) };
      const filter = { _id: id, members: { $elemMatch: { email: reader, leftAt: null, ...differs } } };
      const set = Object.fromEntries(entries.map(([name, value]) => [`members.$.${name}`, value]));
      const mark = new ObjectId();
      const { modifiedCount } = await inSession((session) =>
        conversations.updateOne(filter, { $set: { ...set, view: { by: reader, mark } } }, { session }),
      );
      if (modifiedCount > 0) wake({ kind: 'view', conversation: id, member: reader }, String(mark));
      return modifiedCount > 0;
    },

    async tellTyping(typing) {
      const { conversation: _id, member: by, typing: on } = typing;
      const mark = new ObjectId();
      wake(typing, String(mark));
      // Stored in the document that the change stream follows already, and not durably: it waits neither for a majority
      // nor for the disk.
      const writeConcern = { w: 1, journal: false };
      await conversations.updateOne({ _id }, { $set: { typing: { by, on, mark } } }, { writeConcern });
    },

    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    searchLag: writer.unmoved,

    async ping() {
      const set = { $set: { at: new Date() } };
      await inSession((session) => probes.updateOne({ _id: 'ping' }, set, { upsert: true, session }));
    },

    async close() {
      closing = true;
      await filling;
      await writer.moved();
      await stream.close();
      await instances.close();
      await session.endSession();
      await client.close();
    },
  };
  return guarded(store);
}

/** Calls of the record's part that write. */
const RECORDING = ['addToRegister', 'setCheckpoint', 'takeLease', 'endLease'] as const satisfies (keyof RecordStore)[];

/** The store with the driver's errors as the port's, which closes once the calls under way have ended. */
function guarded(store: Store): Store {
  const writes: readonly string[] = ['write', 'advanceReadPosition', 'setView', 'tellTyping', ...RECORDING];
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
        // A failed read wrote nothing; the outcome of a failed write is unknown.
        throw error instanceof MongoError ? new StoreUnavailable(!writes.includes(name), error) : error;
      } finally {
        running.delete(result);
      }
    };
  const { watch, close, searchLag, ...calls } = store;
  const entries = Object.entries(calls).map(([name, call]) => [name, guard(name, call)]);
  return {
    ...(Object.fromEntries(entries) as typeof calls),
    ...{ watch, searchLag },
    close() {
      closed ??= Promise.allSettled(running).then(close);
      return closed;
    },
  };
}
