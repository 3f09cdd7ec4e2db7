import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BSON, type Db, type Document, MongoClient, MongoNetworkError, ObjectId } from 'mongodb';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { createAppender } from '../../../src/chat/log/appender.ts';
import type { Command } from '../../../src/chat/log/command.ts';
import { createKnownStates } from '../../../src/chat/log/known-states.ts';
import type { ConversationId, EmailAddress } from '../../../src/model.ts';
import { entriesAfter } from '../../../src/record/entries.ts';
import { entryText } from '../../../src/record/entry.ts';
import { createBeginning } from '../../../src/store/mongo/backfill/record.ts';
import { collections } from '../../../src/store/mongo/documents.ts';
import { openMongo } from '../../../src/store/mongo/mongo.ts';
import { createReader } from '../../../src/store/mongo/reader.ts';
import { createRecord } from '../../../src/store/mongo/record.ts';
import { createRegisterStore, sealedKey } from '../../../src/store/mongo/register.ts';
import { createWriter } from '../../../src/store/mongo/writer.ts';
import type { RegisterBatch, Store } from '../../../src/store/store.ts';
import { allConversations } from '../../../src/store/walk.ts';
import { ANN, BOB, edited, FIRST_TEXTS, message, redacted, writeOf, writeOn } from '../writes.ts';

const replicaSet = inject('replicaSet');
const freshUrl = () => String(replicaSet).replace(/\/(?=\?|$)/, `/record-${randomUUID()}`);
const MAJORITY = { writeConcern: { w: 'majority' } } as const;
const { conversation: id } = writeOf('c', [ANN, BOB], 0);
const OLDER = { _id: 'other/7/0', version: '0.0.9', features: ['origin'] };

/** Opens a database, as many stores as asked for on it, and its collections. */
async function open<Count extends 1 | 2>(count: Count, url = freshUrl()) {
  const client = await MongoClient.connect(url, { ...MAJORITY, readConcern: { level: 'majority' } });
  const stores = await Promise.all(Array.from({ length: count }, () => openMongo(url)));
  onTestFinished(async () => {
    await Promise.all(stores.map((store) => store.close()));
    await client.close();
  });
  const db = client.db(new URL(url).pathname.slice(1));
  return { url, db, ...collections(db), stores: stores as Count extends 1 ? [Store] : [Store, Store] };
}

/** A process of its own as far as the register goes: its calls of the driver can be made to fail. */
function registerOf(db: Db) {
  const all = collections(db);
  const session = db.client.startSession({ causalConsistency: true });
  const store = createRegisterStore(all, all.conversations, session, (work) => db.client.withSession(work));
  return { ...all, store };
}

/** A batch with two leaves of the conversation, one of them about read positions, and a tile of `count` hashes. */
function batchAt(size: number, rev: number, count: number, reads: [EmailAddress, number][] = []): RegisterBatch {
  return {
    size,
    leaves: [
      { leaf: `H ${rev}`, conversation: id, rev },
      { leaf: `R ${rev}`, conversation: id, rev: null },
    ],
    tiles: [{ log: null, level: 0, index: 0, hashes: Buffer.alloc(32 * count, count) }],
    registered: [{ conversation: id, rev }],
    sealed: [{ conversation: id, reads }],
  };
}

/** The texts of all entries of a conversation, for a state that was read before. */
async function entriesOf(store: Store, conversation: ConversationId): Promise<string[]> {
  const state = await store.conversation(conversation);
  if (!state) throw new Error(`${conversation} is missing`);
  const texts: string[] = [];
  for await (const page of entriesAfter(store, state, 0)) texts.push(...page.map((entry) => entryText(state, entry)));
  return texts;
}

/** Makes the database as a version without the record left it. */
async function makeOlder({ db, conversations, messages, probes }: { db: Db } & ReturnType<typeof collections>) {
  await conversations.updateMany({}, { $unset: { importedRev: '', record: '', 'members.$[].readAt': '' } } as Document);
  await messages.updateMany({}, { $unset: { record: '' } });
  await messages.updateMany({ 'revisions.0': { $exists: true } }, {
    $unset: { 'revisions.$[].rev': '', 'revisions.$[].salt': '' },
  } as Document);
  await conversations.updateMany({}, { $set: { tail: [], changed: [] } });
  await probes.deleteMany({});
  await db.collection('record').deleteMany({});
}

describe.runIf(replicaSet)('the record on a replica set', () => {
  const ADDITION = batchAt(0, 3, 5, [[BOB, 2]]);
  async function expectAdded(db: Db, stores: readonly Store[]): Promise<void> {
    for (const store of stores) {
      expect(await store.register()).toEqual({ size: 2, checkpoint: null, abandoned: null });
      expect(await store.leaves(0, 9)).toEqual(['H 3', 'R 3']);
      expect(await store.ledgerLeaf(id, 2, 2)).toEqual({ index: 0, leaf: 'H 3' });
      expect(await store.readLeaves(id, -1, 9)).toEqual([{ index: 1, leaf: 'R 3' }]);
      expect(await store.tiles(null, [{ level: 0, index: 0 }])).toEqual([Buffer.alloc(160, 5)]);
      expect(await store.unregistered(9)).toEqual([]);
      expect(await store.unsealed(9)).toEqual([]);
    }
    const { conversations, register } = collections(db);
    expect(await register.findOne({ _id: 'register' })).not.toHaveProperty('batch');
    expect(await conversations.findOne({ _id: id })).toMatchObject({
      record: { registeredRev: 3, sealed: { [sealedKey(BOB)]: 2 } },
    });
  }

  test.each([
    ['leaves', 'insertMany', 0],
    ['tiles', 'bulkWrite', 0],
    ['conversations', 'bulkWrite', 0],
    ['register', 'updateOne', 1],
  ] as const)(
    'what a process adds that is killed before its write to %s is added by the next',
    async (of, call, at) => {
      const { db, stores } = await open(2);
      const [one, two] = stores;
      await one.write(writeOf('c', [ANN, BOB], 0, 3));
      await one.advanceReadPosition(id, BOB, 2, null);
      const killed = registerOf(db);
      const collection = killed[of] as unknown as Record<string, (...args: unknown[]) => unknown>;
      const proper = collection[call]?.bind(killed[of]);
      let calls = 0;
      collection[call] = (...args) => {
        if (calls++ >= at) throw new Error('killed');
        return proper?.(...args);
      };
      await expect(killed.store.addToRegister(ADDITION)).rejects.toThrow('killed');
      expect(await db.collection('record').countDocuments({ batch: { $exists: true } })).toBe(1);
      // Not even a reader of marks finds what is committed already; two apply it at once.
      const found = await Promise.all([one.unregistered(9), two.unregistered(9), one.unsealed(9), two.register()]);
      expect(found).toEqual([[], [], [], expect.objectContaining({ size: 2 })]);
      expect(await two.addToRegister(ADDITION)).toBe(false);
      await expectAdded(db, stores);
    },
  );

  test.each(['before', 'after'])('an addition whose connection breaks %s the commit is added once', async (when) => {
    const { db, stores } = await open(1);
    await stores[0].write(writeOf('c', [ANN, BOB], 0, 3));
    await stores[0].advanceReadPosition(id, BOB, 2, null);
    const { register, store } = registerOf(db);
    const update = register.updateOne.bind(register);
    let breaks = true;
    register.updateOne = async (...args: Parameters<typeof update>) => {
      const result = when === 'after' && (await update(...args));
      if (!breaks) return result || update(...args);
      breaks = false;
      throw new MongoNetworkError('broken');
    };
    expect(await store.addToRegister(ADDITION)).toBe(true);
    await expectAdded(db, stores);
  });

  test('several processes that add at once leave no gap and nothing twice', async () => {
    const { db, stores } = await open(2);
    const added: string[] = [];
    const add = async (store: Pick<Store, 'register' | 'addToRegister'>, name: string) => {
      for (let i = 0; i < 20; ) {
        const { size } = await store.register();
        const leaf = `${name} ${i}`;
        const tile = { log: null, level: 0, index: 0, hashes: Buffer.alloc(32 * (size + 1)) };
        const batch = { size, leaves: [{ leaf, conversation: null, rev: null }], tiles: [tile] };
        if (!(await store.addToRegister({ ...batch, registered: [], sealed: [] }))) continue;
        added[size] = leaf;
        i++;
      }
    };
    await Promise.all([...stores, registerOf(db).store].map((store, i) => add(store, `process ${i}`)));
    expect(await stores[0].leaves(0, 100)).toEqual(added);
    expect(new Set(added).size).toBe(60);
    expect((await stores[1].tiles(null, [{ level: 0, index: 0 }]))[0]).toHaveLength(32 * 60);
    expect(await stores[1].register()).toMatchObject({ size: 60 });
  });

  test('an old addition that a slow process applies again does no harm', async () => {
    const { db, stores, conversations, leaves, tiles } = await open(1);
    const [store] = stores;
    await store.write(writeOf('c', [ANN, BOB], 0, 3));
    await store.advanceReadPosition(id, BOB, 1, null);
    const killed = registerOf(db);
    killed.leaves.insertMany = () => Promise.reject(new Error('killed'));
    await expect(killed.store.addToRegister(batchAt(0, 3, 2, [[BOB, 1]]))).rejects.toThrow('killed');
    const old = await db.collection('record').findOne({ batch: { $exists: true } });
    expect(await store.unregistered(9)).toEqual([]);
    await store.write(writeOf('c', [ANN, BOB], 3, 2));
    await store.advanceReadPosition(id, BOB, 4, null);
    expect(await store.addToRegister(batchAt(2, 5, 4, [[BOB, 4]]))).toBe(true);
    await store.write(writeOf('c', [ANN, BOB], 5));
    await store.advanceReadPosition(id, BOB, 6, null);
    const everything = async () => [
      await Promise.all([conversations, leaves, tiles].map((all) => (all as typeof leaves).find().toArray())),
      await db.collection<{ _id: string }>('record').findOne({ _id: 'register' }),
    ];
    const before = await everything();
    const slow = registerOf(db);
    slow.register.findOne = () => Promise.resolve(old) as never;
    await slow.store.settled();
    expect(await everything()).toEqual(before);
    expect(await store.unregistered(9)).toMatchObject([{ state: { lastRev: 6 }, registeredRev: 5 }]);
    expect(await store.unsealed(9)).toEqual([{ conversation: id, reads: [[BOB, 6]] }]);
  });

  test('a position that moves while others are sealed is sealed later, and a mark without one goes', async () => {
    const { stores, conversations } = await open(2);
    const [one, two] = stores;
    await one.write(writeOf('c', [ANN, BOB], 0, 3));
    await one.advanceReadPosition(id, BOB, 1, null);
    const sealed = await one.unsealed(9);
    expect(sealed).toEqual([{ conversation: id, reads: [[BOB, 1]] }]);
    await two.advanceReadPosition(id, BOB, 2, null);
    await two.advanceReadPosition(id, ANN, 3, null);
    expect(await one.addToRegister({ ...batchAt(0, 3, 1), sealed })).toBe(true);
    const rest = await two.unsealed(9);
    expect(rest).toEqual([
      {
        conversation: id,
        reads: expect.arrayContaining([
          [ANN, 3],
          [BOB, 2],
        ]),
      },
    ]);
    expect(await two.addToRegister({ ...batchAt(2, 3, 1), sealed: rest })).toBe(true);
    // Marks without a moved position do not keep others from being found.
    const marks = { $set: { 'record.unsealed': new ObjectId() } };
    for (const name of ['d', 'e', 'f']) {
      const write = writeOf(name, [ANN, BOB], 0);
      await one.write(write);
      await conversations.updateOne({ _id: write.conversation }, marks);
    }
    const last = writeOf('f', [ANN, BOB], 0).conversation;
    await one.advanceReadPosition(last, BOB, 1, null);
    expect(await one.unsealed(1)).toEqual([{ conversation: last, reads: [[BOB, 1]] }]);
    expect(await conversations.countDocuments({ 'record.unsealed': { $exists: true } })).toBe(1);
  });

  test('a position that moves while a mark without one is removed is found', async () => {
    const { db, stores, ...all } = await open(1);
    const [store] = stores;
    await store.write(writeOf('c', [ANN, BOB], 0, 3));
    await all.conversations.updateMany({}, { $set: { 'record.unsealed': new ObjectId() } });
    const session = db.client.startSession({ causalConsistency: true });
    const none = { pendingOf: Promise.reject, ready: async () => true, beginSome: Promise.reject };
    const slow = createRecord(all, none, none, session, (work) => db.client.withSession(work));
    const write = all.conversations.bulkWrite.bind(all.conversations);
    all.conversations.bulkWrite = async (...args: Parameters<typeof write>) => {
      await store.advanceReadPosition(id, BOB, 2, null);
      return write(...args);
    };
    expect(await slow.unsealed(9)).toEqual([]);
    expect(await store.unsealed(9)).toEqual([{ conversation: id, reads: [[BOB, 2]] }]);
  });

  test('the lease is held by one process, renewed, ended, and over in time', async () => {
    const [one, two] = (await open(2)).stores;
    expect(await one.takeLease('$one', 60_000)).toBe(true);
    expect(await two.takeLease('two', 60_000)).toBe(false);
    expect(await one.takeLease('$one', 60_000)).toBe(true);
    await two.endLease('two');
    expect(await two.takeLease('two', 60_000)).toBe(false);
    await one.endLease('$one');
    expect(await two.takeLease('two', 300)).toBe(true);
    expect(await one.takeLease('$one', 60_000)).toBe(false);
    await expect.poll(() => one.takeLease('$one', 60_000)).toBe(true);
  });

  test('every look-up of the record uses an index', async () => {
    const { db, stores } = await open(1);
    const [store] = stores;
    for (let i = 0; i < 50; i++) await store.write(writeOf(`c${i}`, [ANN, BOB], 0));
    await store.write(writeOf('c', [ANN, BOB], 0, 200));
    const [first] = await store.messages(id, 1, 1);
    if (!first) throw new Error('it was written');
    await store.write(writeOn({ id, lastRev: 200 }, { changed: [edited(first, 201, 'other')] }));
    const system = message(id, 201, { rev: 202, kind: 'SYSTEM' });
    await store.write(writeOn({ id, lastRev: 201 }, { messages: [system] }));
    await store.advanceReadPosition(id, BOB, 9, null);
    for (let size = 0; size < 100; size += 2) await store.addToRegister(batchAt(size, 202, 1));
    await db.command({ profile: 2 });
    expect(await store.unsealed(9)).toHaveLength(1);
    expect(await store.unregistered(60)).toHaveLength(50);
    expect((await store.changedMessages(id, 200, 200, 9)).map(({ seq }) => seq)).toEqual([1]);
    expect(await store.changedMessages(id, 201, 200, 9)).toEqual([]);
    expect(await store.systemMessages(id, 3, 9)).toEqual([system]);
    expect(await store.ledgerLeaf(id, 9, 50)).toMatchObject({ index: 0 });
    expect(await store.newestLedgerLeaf(id, 50)).toMatchObject({ index: 48 });
    expect(await store.readLeaves(id, 90, 2)).toMatchObject([{ index: 91 }, { index: 93 }]);
    expect(await store.leaves(98, 200)).toHaveLength(2);
    await db.command({ profile: 0 });
    const looks = { ns: { $regex: /\.(conversations|messages|register|tiles)$/ }, planSummary: { $exists: true } };
    const operations = await db.collection('system.profile').find(looks).toArray();
    expect(operations.length).toBeGreaterThan(8);
    for (const { planSummary, docsExamined = 0, nreturned, keysExamined = 0, command } of operations) {
      expect(planSummary, JSON.stringify(command)).toMatch(/^(IXSCAN|IDHACK)/);
      expect(docsExamined, JSON.stringify(command)).toBeLessThanOrEqual((nreturned ?? 0) + 1);
      expect(keysExamined, JSON.stringify(command)).toBeLessThanOrEqual((nreturned ?? 0) + 50);
    }
  });
});

describe.runIf(replicaSet)('conversations of a version without the record', () => {
  const viewerOf = (email: EmailAddress) => ({ email, role: null });
  /** A process: edits and redacts as the chat does. */
  function appenderOn(store: Store) {
    const metrics = { appended: () => {} } as never;
    const clock = Date.now;
    return createAppender(store, createKnownStates(store), clock, metrics, () => {}, FIRST_TEXTS);
  }
  const change = (values: Partial<Command>) => ({ conversation: id, viewer: viewerOf(ANN), ...values }) as Command;
  const edit = (seq: number, text: string) => change({ kind: 'edit', seq, text, expectedRev: null });
  const redact = (seq: number) => change({ kind: 'redact', seq, reason: 'a slip' });

  async function begun(store: Store): Promise<void> {
    await expect.poll(async () => (await store.unregistered(100)).length).toBeGreaterThan(0);
  }

  test('keep every salt while two instances edit and redact as their record begins', async () => {
    for (let round = 0; round < 6; round++) {
      const url = freshUrl();
      const before = await openMongo(url);
      await before.write(writeOf('c', [ANN, BOB], 0, 40));
      await before.close();
      const client = await MongoClient.connect(url, MAJORITY);
      const db = client.db(new URL(url).pathname.slice(1));
      await makeOlder({ db, ...collections(db) });
      await client.close();
      const { stores } = await open(2, url);
      const [one, two] = stores;
      let writing = true;
      const write = async (store: Store, from: number) => {
        const { write } = appenderOn(store);
        for (let i = 0; writing; i++) await write(edit(from + (i % 10), `${from} ${i}`));
        await write(redact(from));
      };
      const writes = [write(one, 1), write(two, 11), write(one, 21), write(two, 31)];
      await begun(two);
      const known = await entriesOf(two, id);
      const imported = (await one.conversation(id))?.importedRev ?? 0;
      expect(imported).toBeGreaterThanOrEqual(40);
      writing = false;
      await Promise.all(writes);
      const after = await entriesOf(one, id);
      expect(after.slice(0, known.length)).toEqual(known);
      expect(after.length).toBeGreaterThan(known.length);
      expect(after.map((text) => JSON.parse(text)[3] === 'IMPORTED')).toEqual(after.map((_, i) => i < imported));
    }
  });

  test('refuse a change that was decided before, and committed after, its message got a salt', async () => {
    const { url, db, stores, ...all } = await open(1);
    const [store] = stores;
    await store.write(writeOf('c', [ANN, BOB], 0, 2));
    await expect.poll(() => all.messages.countDocuments()).toBe(2);
    await makeOlder({ db, ...all });
    const session = db.client.startSession({ causalConsistency: true });
    const reader = createReader(all, session);
    const writer = createWriter(
      all,
      reader,
      session,
      (work) => db.client.withSession(work),
      () => {},
    );
    const [first, second] = await reader.messages(id, 1, 2);
    if (!first || !second) throw new Error('they were written');
    expect(first.record).toBeNull();
    const write = all.conversations.bulkWrite.bind(all.conversations);
    // The record begins between the decision and the commit.
    const next = await openMongo(url);
    onTestFinished(() => next.close());
    all.conversations.bulkWrite = async (...args: Parameters<typeof write>) => {
      all.conversations.bulkWrite = write;
      await begun(next);
      return write(...args);
    };
    const decided = (values: object) => ({ ...first, rev: 3, ...values });
    expect(await writer.write(writeOn({ id, lastRev: 2 }, { changed: [decided({ text: 'other' })] }))).toBe(false);
    // It began before the message was read for the write.
    expect(await writer.write(writeOn({ id, lastRev: 2 }, { changed: [decided({ text: 'other' })] }))).toBe(false);
    const [salted] = await reader.messages(id, 1, 1);
    if (!salted) throw new Error('it was written');
    expect(salted.record?.salts.text).toMatch(/^[0-9a-f]{32}$/);
    expect(await writer.write(writeOn({ id, lastRev: 2 }, { changed: [redacted(salted, 3)] }))).toBe(true);
    await writer.moved();
  });

  test('get their salts once, although a slow process gives them some later', async () => {
    const { url, db, stores, ...all } = await open(1);
    const [store] = stores;
    await store.write(writeOf('c', [ANN, BOB], 0, 2));
    await expect.poll(() => all.messages.countDocuments()).toBe(2);
    await makeOlder({ db, ...all });
    const next = await openMongo(url);
    onTestFinished(() => next.close());
    const session = db.client.startSession({ causalConsistency: true });
    const instances = { allKnow: async () => true };
    const mover = { move: async () => {} };
    const slow = createBeginning(all, instances, mover, session, (work) => db.client.withSession(work));
    let known: string[] = [];
    const write = all.messages.bulkWrite.bind(all.messages);
    all.messages.bulkWrite = async (...args: Parameters<typeof write>) => {
      await begun(next);
      known = await entriesOf(next, id);
      return write(...args);
    };
    await slow.beginSome(9);
    expect(known).toHaveLength(2);
    expect(await entriesOf(next, id)).toEqual(known);
  });

  test('begin with messages that are pending, and no process brings them back without their salts', async () => {
    const { url, db, stores, ...all } = await open(1);
    const [store] = stores;
    await store.write(writeOf('c', [ANN, BOB], 0, 3));
    await expect.poll(() => all.messages.countDocuments()).toBe(3);
    const [first] = await all.messages.find({ seq: 1 }).toArray();
    const [message] = await store.messages(id, 1, 1);
    if (!first || !message) throw new Error('it was written');
    await store.write(writeOn({ id, lastRev: 3 }, { changed: [edited(message, 4, 'other')] }));
    await expect.poll(() => all.messages.findOne({ seq: 1 })).toMatchObject({ rev: 4 });
    await makeOlder({ db, ...all });
    const tail = await all.messages.find({ seq: 3 }).toArray();
    const changed = await all.messages.find({ seq: 1 }).toArray();
    const { record, ...older } = first;
    await all.messages.deleteOne({ seq: 3 });
    await all.messages.replaceOne({ seq: 1 }, { ...older, changing: true } as typeof first);
    await all.conversations.updateMany({}, { $set: { tail, changed } });
    const next = await openMongo(url);
    onTestFinished(() => next.close());
    expect((await next.changedMessages(id, 1, 3, 9)).map(({ seq, rev }) => [seq, rev])).toEqual([[1, 4]]);
    await begun(next);
    const known = await entriesOf(next, id);
    expect(known.map((text) => JSON.parse(text)[7].map(([name]: [string]) => name))).toEqual([
      ['text', 'opening'],
      ['text'],
      ['text'],
      ['text'],
    ]);
    expect((await next.changes(id, 0, 9)).filter(({ record }) => !record)).toEqual([]);
    expect((await next.conversation(id))?.lastMessage?.record).not.toBeNull();
    // A process that knows the pending messages as they were writes them again with its next write.
    await all.conversations.updateMany({}, { $set: { tail, changed } });
    await all.messages.updateMany({}, { $set: { changing: true } });
    expect(await entriesOf(next, id)).toEqual(known);
    await next.write(writeOf('c', [ANN, BOB], 4, 1, { seq: 4 }));
    await expect.poll(() => all.messages.countDocuments()).toBe(4);
    expect((await entriesOf(next, id)).slice(0, 4)).toEqual(known);
    const stored = await all.messages.find().toArray();
    expect(stored.filter(({ record }) => !record)).toEqual([]);
  });

  test('begin as IMPORTED, their first and present texts included, and no hash of a deleted text stays', async () => {
    const url = freshUrl();
    const client = await MongoClient.connect(url, MAJORITY);
    const db = client.db(new URL(url).pathname.slice(1));
    for (const line of readFileSync(join(import.meta.dirname, '../../upgrade/older-store.ndjson'), 'utf8')
      .trim()
      .split('\n')) {
      const { collection, document } = BSON.EJSON.parse(line, { relaxed: false }) as Document;
      await db.collection(collection).insertOne(document);
    }
    await client.close();
    const { stores, messages } = await open(2, url);
    const [one, two] = stores;
    const ids: ConversationId[] = [];
    for await (const conversation of allConversations(one)) ids.push(conversation);
    await expect.poll(async () => (await one.unregistered(9)).length).toBe(ids.length);
    for (const { state, registeredRev } of await two.unregistered(9)) {
      expect([state.importedRev, registeredRev]).toEqual([state.lastRev, 0]);
      const entries = (await entriesOf(two, state.id)).map((text) => JSON.parse(text));
      expect(entries.map(([, , rev, type]) => [rev, type])).toEqual(
        Array.from({ length: state.lastRev }, (_, i) => [i + 1, 'IMPORTED']),
      );
      for (const message of await one.messages(state.id, 1, state.lastSeq)) {
        const { addedRev, rev, redactedAt, revisions } = message;
        const names = (at: number) => entries[at - 1]?.[7].map(([name]: [string]) => name);
        expect(names(addedRev)).toEqual([
          ...(redactedAt === null ? ['text'] : []),
          ...(addedRev === 1 ? ['opening'] : []),
          ...(message.replyToSeq === null ? [] : ['reply']),
          ...(message.clientId === null ? [] : ['client']),
        ]);
        if (redactedAt !== null) expect(names(rev)).toEqual(['reason']);
        else if (rev !== addedRev) expect(names(rev)).toEqual(['text']);
        expect(revisions.map(({ rev, salt }) => [rev, salt !== null])).toEqual(
          revisions.map((_, i) => (i === 0 ? [addedRev, true] : [0, false])),
        );
        expect(message.firstTextHash).toBeNull();
      }
    }
    expect(await messages.countDocuments({ firstTextHash: { $exists: true } })).toBe(0);
    const positions = (await one.unsealed(9)).flatMap(({ reads }) => reads.map(([, seq]) => seq));
    expect(positions.sort((a, b) => a - b)).toEqual(expect.arrayContaining([10, 20, 60]));
  });

  test('begin only once no live instance is of that version; what was opened meanwhile is in the record', async () => {
    const url = freshUrl();
    const before = await openMongo(url);
    await before.write(writeOf('c', [ANN, BOB], 0, 3));
    await before.close();
    const client = await MongoClient.connect(url, MAJORITY);
    const db = client.db(new URL(url).pathname.slice(1));
    await makeOlder({ db, ...collections(db) });
    await db.collection<{ _id: string }>('instances').insertOne({ ...OLDER, at: new Date() } as { _id: string });
    await client.close();
    const { stores, ...all } = await open(1, url);
    const [store] = stores;
    expect(await store.write(writeOf('opened here', [ANN, BOB], 0, 2))).toBe(true);
    expect(await store.unregistered(9)).toEqual([]);
    expect((await store.messages(id, 1, 3)).map(({ record }) => record)).toEqual([null, null, null]);
    expect(await all.conversations.countDocuments({ importedRev: { $exists: true } })).toBe(0);
    // The other one opens a conversation, too, and reads.
    await store.advanceReadPosition(id, BOB, 2, null);
    await all.conversations.updateMany({}, { $unset: { record: '' } });
    await all.db.collection<{ _id: string }>('instances').deleteOne({ _id: OLDER._id });
    await expect.poll(async () => (await store.unregistered(9)).length).toBe(2);
    expect(await store.unsealed(9)).toEqual([{ conversation: id, reads: [[BOB, 2]] }]);
    const { conversation } = writeOf('opened here', [ANN, BOB], 0);
    expect(await entriesOf(store, conversation)).toHaveLength(2);
    await store.write(writeOf('opened later', [ANN, BOB], 0, 2));
    const later = await store.conversation(writeOf('opened later', [ANN, BOB], 0).conversation);
    expect(later?.importedRev).toBe(0);
  });
});
