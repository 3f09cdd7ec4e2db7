import { setTimeout } from 'node:timers/promises';
import { Binary, type ClientSession, type Collection, type Db, type Filter, MongoError, ObjectId } from 'mongodb';
import type { ConversationId, EmailAddress, Rev, Seq } from '../../model.ts';
import type { IndexedLeaf, Log, RecordStore, RegisterBatch, TileKey } from '../store.ts';
import type { ConversationDocument } from './documents.ts';
import { DUPLICATE_KEY, type InSession, isDuplicate } from './mover.ts';

/** How long an addition keeps trying to find out its outcome, in milliseconds, and the delay between two attempts. */
const [ADD_MS, RETRY_MS] = [8000, 100];
const HASH_BYTES = 32;

const NO_CHECKPOINT = { checkpoint: null, checkpointSize: -1 } as const;

const REGISTER = 'register';
const LEASE = 'lease';

interface LeafDocument {
  /** Its index. */
  readonly _id: number;
  readonly leaf: string;
  readonly conversation?: ConversationId;
  /** Of H leaves. */
  readonly rev?: Rev;
  /** The addition that it is of: an addition without an acknowledgement finds its outcome by this. */
  readonly batch: ObjectId;
}

interface TileDocument {
  /** `LOG/LEVEL/INDEX`; the log is empty for the register. */
  readonly _id: string;
  /** Number of hashes: a tile only grows. */
  readonly count: number;
  readonly hashes: Binary;
}

/** An addition as it is stored until it is applied. */
interface BatchDocument {
  readonly leaves: readonly LeafDocument[];
  readonly tiles: readonly TileDocument[];
  readonly registered: RegisterBatch['registered'];
  readonly sealed: readonly { readonly conversation: ConversationId; readonly reads: Readonly<Record<string, Seq>> }[];
  readonly id: ObjectId;
}

interface RegisterDocument {
  readonly _id: typeof REGISTER;
  readonly size: number;
  readonly checkpoint: string | null;
  /** -1 without a checkpoint. */
  readonly checkpointSize: number;
  readonly abandoned: string | null;
  /** The newest addition, until everything that it adds is where it is read. */
  readonly batch?: BatchDocument;
}

interface LeaseDocument {
  readonly _id: typeof LEASE;
  readonly holder: string;
  readonly until: Date;
}

/**
 * The fields of a conversation's document for the record. Each mark is a new one whenever it is set: it is removed only
 * where it is still the one that was read, or nothing was written since.
 */
export interface ConversationRecord {
  /** The log has moved since it was registered. */
  readonly unregistered?: ObjectId;
  /** Read positions have moved since they were sealed. */
  readonly unsealed?: ObjectId;
  /** Registered up to here; absent for not at all. */
  readonly registeredRev?: Rev;
  /** The `readSeq` that was sealed last, by `sealedKey`. */
  readonly sealed?: Readonly<Record<string, Seq>>;
  /** The record has not begun; it is to. */
  readonly unbegun?: true;
  /** While it begins: messages up to this `rev` have their record. */
  readonly saltedRev?: Rev;
}

/** The name of a member in `sealed`: an address may hold dots and begin with a dollar sign. */
export function sealedKey(email: EmailAddress): string {
  return Buffer.from(email).toString('base64url');
}

export function registerCollections(db: Db) {
  return {
    /** The leaves of the register. */
    leaves: db.collection<LeafDocument>('register'),
    tiles: db.collection<TileDocument>('tiles'),
    /** One document. */
    register: db.collection<RegisterDocument>('record'),
    /** One document, in the same collection. */
    lease: db.collection<LeaseDocument>('record'),
  };
}

type Collections = ReturnType<typeof registerCollections>;

/** Creates the index, and the two documents where they are missing. */
export async function createRegister({ leaves, register, lease }: Collections): Promise<void> {
  await leaves.createIndex({ conversation: 1, rev: 1, _id: 1 });
  const empty = { size: 0, ...NO_CHECKPOINT, abandoned: null };
  const missing = [
    () => register.updateOne({ _id: REGISTER }, { $setOnInsert: empty }, { upsert: true }),
    () => lease.updateOne({ _id: LEASE }, { $setOnInsert: { holder: '', until: new Date(0) } }, { upsert: true }),
  ];
  for (const insert of missing) {
    await insert().catch((error) => {
      // Another process was faster.
      if (!(error instanceof MongoError && error.code === DUPLICATE_KEY)) throw error;
    });
  }
}

/**
 * The register and the hashes of all trees. One conditional update of the register's document commits an addition with
 * all its contents; they are then applied to where they are read. A process that is killed in between leaves them in
 * that document: the next reader of the register's size, of any process, applies them first. Applying is idempotent,
 * and does no harm however late: leaves are never replaced, tiles and positions only grow. An operation that changes
 * nothing, as another process was faster, is acknowledged when a majority has what that process wrote.
 */
export function createRegisterStore(
  { leaves, tiles, register, lease }: Collections,
  conversations: Collection<ConversationDocument>,
  session: ClientSession,
  inSession: InSession,
) {
  /** The register, once nothing is left to apply. */
  async function settled(): Promise<Omit<RegisterDocument, 'batch'>> {
    const found = await register.findOne({ _id: REGISTER }, { session });
    if (!found) throw new MongoError('the document of the register is missing');
    const { batch, ...rest } = found;
    if (batch) await apply(batch);
    return rest;
  }

  async function apply({ id, ...batch }: BatchDocument): Promise<void> {
    await ignoringDuplicates((session) => leaves.insertMany([...batch.leaves], { ordered: false, session }));
    const grown = batch.tiles.map(({ _id, count, hashes }) => ({
      updateOne: { filter: { _id, count: { $lt: count } }, update: { $set: { count, hashes } }, upsert: true },
    }));
    // Where the tile holds as many already, the insert finds it.
    if (grown.length > 0) await ignoringDuplicates((session) => tiles.bulkWrite(grown, { ordered: false, session }));
    const marks = [
      ...batch.registered.flatMap(({ conversation: _id, rev }) => {
        const $max = { 'record.registeredRev': rev };
        return [
          { filter: { _id, lastRev: rev }, update: { $max, $unset: { 'record.unregistered': '' as const } } },
          { filter: { _id, lastRev: { $gt: rev } }, update: { $max } },
        ];
      }),
      // Their mark stays until it is read with the positions, and nothing is left to seal.
      ...batch.sealed.map(({ conversation: _id, reads }) => ({
        filter: { _id },
        update: { $max: Object.fromEntries(Object.entries(reads).map(([key, seq]) => [`record.sealed.${key}`, seq])) },
      })),
    ].map((updateOne) => ({ updateOne }));
    if (marks.length > 0) await inSession((session) => conversations.bulkWrite(marks, { session }));
    await inSession((session) =>
      register.updateOne({ _id: REGISTER, 'batch.id': id }, { $unset: { batch: '' } }, { session }),
    );
  }

  async function ignoringDuplicates(write: Parameters<typeof inSession>[0]): Promise<void> {
    try {
      await inSession(write);
    } catch (error) {
      if (!isDuplicate(error)) throw error;
    }
  }

  /** Commits and applies an addition, unless the size is another; true when it is in the register. */
  async function add(batch: BatchDocument, { size, abandons }: RegisterBatch): Promise<boolean> {
    await settled();
    const filter = { _id: REGISTER, size, batch: { $exists: false } } as const;
    const set = {
      ...{ size: size + batch.leaves.length, batch },
      ...(abandons !== undefined && { abandoned: abandons, ...NO_CHECKPOINT }),
    };
    const { modifiedCount } = await inSession((session) => register.updateOne(filter, { $set: set }, { session }));
    if (modifiedCount > 0) {
      await apply(batch);
      return true;
    }
    // Another process was faster, or an earlier attempt of this one.
    await settled();
    const first = await leaves.findOne({ _id: size }, { session });
    return first?.batch.equals(batch.id) ?? false;
  }

  async function firstLeaf(filter: Filter<LeafDocument>, order: 1 | -1): Promise<IndexedLeaf | null> {
    const found = await leaves.findOne(filter, { session, sort: { rev: order, _id: order } });
    return found && toIndexed(found);
  }

  const store = {
    async register() {
      const { size, checkpoint, abandoned } = await settled();
      return { size, checkpoint, abandoned };
    },

    async addToRegister(batch) {
      const document = toDocument(batch);
      for (const deadline = performance.now() + ADD_MS; ; ) {
        try {
          return await add(document, batch);
        } catch (error) {
          if (!(error instanceof MongoError) || performance.now() > deadline) throw error;
        }
        await setTimeout(RETRY_MS);
      }
    },

    async setCheckpoint(checkpoint, size) {
      const older = { _id: REGISTER, checkpointSize: { $lte: size } } as const;
      const set = { $set: { checkpoint, checkpointSize: size } };
      await inSession((session) => register.updateOne(older, set, { session }));
    },

    async leaves(from, to) {
      const found = leaves
        .find({ _id: { $gte: from, $lt: to } }, { session, projection: { leaf: 1 } })
        .sort({ _id: 1 });
      return (await found.toArray()).map(({ leaf }) => leaf);
    },

    async ledgerLeaf(id, rev, size) {
      return firstLeaf({ conversation: id, rev: { $gte: rev }, _id: { $lt: size } }, 1);
    },

    async newestLedgerLeaf(id, size) {
      return firstLeaf({ conversation: id, rev: { $gt: 0 }, _id: { $lt: size } }, -1);
    },

    async readLeaves(id, after, limit) {
      const those = { conversation: id, rev: { $exists: false }, _id: { $gt: after } };
      return await leaves.find(those, { session }).sort({ _id: 1 }).limit(limit).map(toIndexed).toArray();
    },

    async tiles(log, keys) {
      if (keys.length === 0) return [];
      const ids = keys.map((key) => tileId(log, key));
      const found = await tiles.find({ _id: { $in: ids } }, { session }).toArray();
      const hashes = new Map(found.map((tile) => [tile._id, Buffer.from(tile.hashes.value())]));
      return ids.map((id) => hashes.get(id) ?? null);
    },

    async takeLease(holder, ms) {
      // By the clock of the server: those of the processes differ.
      const free = { $or: [{ holder }, { $expr: { $lte: ['$until', '$$NOW'] } }] };
      const take = [{ $set: { holder: { $literal: holder }, until: { $add: ['$$NOW', ms] } } }];
      const { matchedCount } = await lease.updateOne({ _id: LEASE, ...free }, take);
      return matchedCount > 0;
    },

    async endLease(holder) {
      await lease.updateOne({ _id: LEASE, holder }, { $set: { until: new Date(0) } });
    },
  } satisfies Partial<RecordStore>;
  return { ...store, settled };
}

function toDocument({ size, leaves, tiles, registered, sealed }: RegisterBatch): BatchDocument {
  const id = new ObjectId();
  return {
    leaves: leaves.map(({ leaf, conversation, rev }, i) => ({
      ...{ _id: size + i, leaf, batch: id },
      ...(conversation !== null && { conversation }),
      ...(rev !== null && { rev }),
    })),
    tiles: tiles.map(({ log, hashes, ...key }) => ({
      ...{ _id: tileId(log, key), count: hashes.length / HASH_BYTES, hashes: new Binary(hashes) },
    })),
    registered,
    sealed: sealed
      .filter(({ reads }) => reads.length > 0)
      .map(({ conversation, reads }) => ({
        conversation,
        reads: Object.fromEntries(reads.map(([email, readSeq]) => [sealedKey(email), readSeq])),
      })),
    id,
  };
}

function tileId(log: Log, { level, index }: TileKey): string {
  return `${log ?? ''}/${level}/${index}`;
}

function toIndexed({ _id, leaf }: LeafDocument): IndexedLeaf {
  return { index: _id, leaf };
}
