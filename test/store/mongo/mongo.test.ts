import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { MongoClient, ObjectId } from 'mongodb';
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import { type Message, unreadOf } from '../../../src/model.ts';
import { backfillWords } from '../../../src/store/mongo/backfill/words.ts';
import { collections, type MessageDocument, toDocument } from '../../../src/store/mongo/documents.ts';
import { openMongo } from '../../../src/store/mongo/mongo.ts';
import { createReader } from '../../../src/store/mongo/reader.ts';
import { createWriter } from '../../../src/store/mongo/writer.ts';
import { type Store, StoreUnavailable, type WakeUp, type Write } from '../../../src/store/store.ts';
import { termsOf } from '../../../src/store/tokenizer.ts';
import { startReplicaSet } from '../../support/replica-set.ts';
import { storeContract } from '../contract.ts';
import { ANN, BOB, CAT, EVERYTHING, edited, email, message, redacted, unreadIn, writeOf, writeOn } from '../writes.ts';

const replicaSet = inject('replicaSet');
const freshUrl = () => String(replicaSet).replace(/\/(?=\?|$)/, `/store-${randomUUID()}`);

describe.runIf(replicaSet)('on a replica set', () => {
  storeContract('MongoDB', () => openMongo(freshUrl()));

  test('an open store is notified of every write of another, the first included', async () => {
    const url = freshUrl();
    const writer = await openMongo(url);
    for (let i = 0; i < 10; i++) {
      const listener = await openMongo(url);
      const told: unknown[] = [];
      listener.watch((wakeUp) => told.push(wakeUp && 'conversation' in wakeUp && wakeUp.conversation));
      const write = writeOf(`c${i}`, [ANN, BOB], 0);
      await writer.write(write);
      await expect.poll(() => told).toEqual([write.conversation]);
      await listener.close();
    }
    await writer.close();
  });

  test('a change stream that broke reports lost hints', async () => {
    // A replica set of its own: the fault is for every client of it.
    const set = await startReplicaSet(1);
    const onError = vi.fn();
    const store = await openMongo(set.uri('stream'), onError);
    const told: unknown[] = [];
    store.watch((wakeUp) => told.push(wakeUp));
    // What a token answers that the oplog no longer holds (ChangeStreamHistoryLost).
    const data = { failCommands: ['getMore'], errorCode: 286 };
    await set.admin({ configureFailPoint: 'failCommand', mode: 'alwaysOn', data });
    await expect.poll(() => onError).toHaveBeenCalled();
    await set.admin({ configureFailPoint: 'failCommand', mode: 'off' });
    await expect.poll(() => told).toEqual([null]);
    const { conversation } = writeOf('c', [ANN, BOB], 0);
    // Only the stream reports the writes of another instance.
    const elsewhere = await openMongo(set.uri('stream'));
    await elsewhere.write(writeOf('c', [ANN, BOB], 0));
    await expect.poll(() => told).toContainEqual(expect.objectContaining({ kind: 'log', conversation }));
    await Promise.all([elsewhere.close(), store.close()]);
    await set.stop();
  });

  test('messages that cannot be moved stay in the tail, for every reader and the next writer', async () => {
    const set = await startReplicaSet(1);
    const [one, two] = [await openMongo(set.uri('moves')), await openMongo(set.uri('moves'))];
    const pair = [ANN, BOB];
    const { conversation } = writeOf('c', pair, 0);
    const three = (after: number) => {
      const append = writeOf('c', pair, after, 3);
      return { ...append, messages: append.messages.map((m) => ({ ...m, clientId: `id ${m.seq}` })) };
    };
    await one.write(three(0));
    // Appends to a conversation that exists are updates: only moves fail.
    await set.admin({
      configureFailPoint: 'failCommand',
      mode: 'alwaysOn',
      data: { failCommands: ['insert'], errorCode: 96 },
    });
    expect(await one.write(three(3))).toBe(true);
    expect(await two.write(three(6))).toBe(true);
    expect(await one.write(three(9))).toBe(true);
    const look = async () => {
      for (const store of [one, two]) {
        const seqs = (await store.messages(conversation, 1, 20)).map(({ seq }) => seq);
        expect(seqs).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
        const found = await store.messagesByClientId(conversation, [
          { sender: ANN, clientId: 'id 4' },
          { sender: ANN, clientId: 'id 9' },
        ]);
        expect(found.map(({ seq }) => seq).sort()).toEqual([4, 9]);
        expect(await store.firstUnread(conversation, BOB)).toBe(5);
        expect(await unreadIn(store, conversation, BOB)).toBe(8);
      }
    };
    await one.advanceReadPosition(conversation, BOB, 4, null);
    await look();
    await set.admin({ configureFailPoint: 'failCommand', mode: 'off' });
    expect(await two.write(writeOf('other', pair, 0))).toBe(true);
    const client = await MongoClient.connect(set.uri('moves'));
    const moved = () => client.db('moves').collection('messages').countDocuments({ conversation });
    // The last write of the other store is moved, too, if the stream has reported it.
    await expect.poll(moved).toBeGreaterThanOrEqual(9);
    await look();
    await Promise.all([one.close(), two.close(), client.close()]);
    await set.stop();
  });

  test('a long tail leaves its conversation once it is moved, and no message is missed', async () => {
    const url = freshUrl();
    const [one, two] = [await openMongo(url), await openMongo(url)];
    const text = 'long '.repeat(3000);
    const pair = [ANN, BOB];
    await one.write(writeOf('c', pair, 0, 3, { text }));
    await one.write(writeOf('c', pair, 3, 1, { text }));
    const { conversation } = writeOf('c', pair, 0);
    const client = await MongoClient.connect(url);
    const stored = client.db(new URL(url).pathname.slice(1)).collection<{ _id: string }>('conversations');
    await expect.poll(() => stored.findOne({ _id: conversation })).toMatchObject({ tail: [], lastSeq: 4 });
    for (const store of [one, two]) {
      expect(await store.messages(conversation, 1, 9)).toHaveLength(4);
      expect(await store.changes(conversation, 2, 9)).toHaveLength(2);
      expect([await unreadIn(store, conversation, BOB), await store.firstUnread(conversation, BOB)]).toEqual([4, 1]);
      expect(await store.unreadTotal(BOB, EVERYTHING)).toBe(4);
      const query = { terms: termsOf('long'), conversation: null };
      expect((await store.search(BOB, query, { first: 9, after: null })).hits).toHaveLength(4);
    }
    expect(await two.write(writeOf('c', pair, 4))).toBe(true);
    expect(await one.write(writeOf('c', pair, 5))).toBe(true);
    expect(await two.messages(conversation, 1, 9)).toHaveLength(6);
    await Promise.all([one.close(), two.close(), client.close()]);
  });

  test('a search that takes MongoDB too long is given up', async () => {
    // The fault is for every client of the set.
    const set = await startReplicaSet(1);
    const store = await openMongo(set.uri('slow'));
    await store.write(writeOf('c', [ANN, BOB], 0));
    const search = () => store.search(BOB, { terms: termsOf('m1'), conversation: null }, { first: 9, after: null });
    await set.admin({ configureFailPoint: 'maxTimeAlwaysTimeOut', mode: 'alwaysOn' });
    await expect(search()).rejects.toThrow(StoreUnavailable);
    await set.admin({ configureFailPoint: 'maxTimeAlwaysTimeOut', mode: 'off' });
    expect((await search()).hits).toHaveLength(1);
    await store.close();
    await set.stop();
  });

  test.each([
    ['without search', { $unset: { words: '' } }],
    ['with other words', { $set: { words: ['发票m2'] } }],
  ])('messages of a version %s are found after a while', async (_, update) => {
    const url = freshUrl();
    const before = await openMongo(url);
    const texts = ['m1', '发票m2', 'm3'];
    const { messages, ...opening } = writeOf('c', [ANN, BOB], 0, 3);
    await before.write({ ...opening, messages: messages.map((one, i) => ({ ...one, text: texts[i] ?? '' })) });
    await before.write(writeOf('c', [ANN, BOB], 3));
    await before.close();
    const client = await MongoClient.connect(url);
    const db = client.db(new URL(url).pathname.slice(1));
    await db.collection('messages').updateMany({ text: '发票m2' }, update);
    await db.collection('probes').deleteMany({});
    // The record of an earlier version about its words.
    await db.collection<{ _id: string }>('probes').insertOne({ _id: 'words' });
    const store = await openMongo(url);
    const search = () => store.search(BOB, { terms: termsOf('票 m2'), conversation: null }, { first: 9, after: null });
    await expect.poll(async () => (await search()).hits.length).toBe(1);
    await Promise.all([store.close(), client.close()]);
  });

  test('a start waits for an index that takes longer to build than a socket may take to answer', async () => {
    const set = await startReplicaSet(1);
    const client = await MongoClient.connect(set.uri('large'));
    await client.db('large').collection('messages').insertOne({ seq: 1 });
    await set.admin({ configureFailPoint: 'hangAfterStartingIndexBuild', mode: 'alwaysOn' });
    const opening = openMongo(set.uri('large'));
    await setTimeout(4000);
    await set.admin({ configureFailPoint: 'hangAfterStartingIndexBuild', mode: 'off' });
    const store = await opening;
    expect(await client.db('large').collection('messages').indexExists(['changed', 'system'])).toBe(true);
    await Promise.all([store.close(), client.close()]);
    await set.stop();
  });

  test('other instances report a write, and the members that left with it', async () => {
    const url = freshUrl();
    const [one, two] = [await openMongo(url), await openMongo(url)];
    const told: WakeUp[] = [];
    two.watch((wakeUp) => wakeUp && told.push(wakeUp));
    const { conversation: id } = writeOf('c', [ANN, BOB], 0);
    await one.write(writeOf('c', [ANN, BOB], 0));
    // A stream that is not open yet misses hints, as it may.
    const hint = { kind: 'typing' as const, conversation: id, member: BOB, typing: true };
    await expect
      .poll(async () => {
        await one.tellTyping(hint);
        return told;
      })
      .toContainEqual(hint);
    told.length = 0;
    const written: Write[] = [];
    const write = (values: Partial<Write>) => {
      written.push(writeOn({ id, lastRev: written.length + 1 }, values));
      return one.write(written.at(-1) as Write);
    };
    for (let lastRev = 1; lastRev < 8; lastRev++) {
      const [leftAt, joined] = lastRev % 2 ? [lastRev, null] : [null, { at: lastRev, readSeq: 0, seen: 0 }];
      const emails = lastRev < 4 ? [BOB] : [ANN, BOB];
      const members = emails.map((email) => ({ email, joined, leftAt }));
      await write({ messages: [message(id, lastRev + 1, { kind: 'SYSTEM' })], members });
    }
    await write({ messages: [message(id, 9)], roles: new Map([[ANN, 'BANK']]) });
    const [first] = await one.messages(id, 1, 1);
    if (!first) throw new Error('it was just written');
    const state = { status: 'PENDING', labels: ['a'], assignee: null } as const;
    await write({ changed: [edited(first, 10, 'other')], state });
    const changes = () => told.filter((wakeUp) => wakeUp.kind === 'log');
    await expect.poll(() => changes().length).toBe(9);
    const plain = { kind: 'log', conversation: id };
    const left = [[BOB], null, [BOB], null, [ANN, BOB], null, [ANN, BOB], null, null];
    expect(changes()).toEqual(left.map((left, i) => ({ ...plain, write: written[i], ...(left && { left }) })));
    await Promise.all([one.close(), two.close()]);
  });

  test('words are filled in from where an earlier process ended, and once', async () => {
    const url = freshUrl();
    await openMongo(url).then(async (store) => {
      for (let seq = 0; seq < 600; seq += 100) await store.write(writeOf('c', [ANN, BOB], seq, 100));
      await store.write(writeOf('c', [ANN, BOB], 600));
      await store.close();
    });
    const client = await MongoClient.connect(url);
    const all = collections(client.db(new URL(url).pathname.slice(1)));
    await all.messages.updateMany({}, { $set: { words: ['old'] } }, { writeConcern: { w: 'majority' } });
    await all.probes.deleteMany({});
    const outdated = () => all.messages.countDocuments({ words: 'old' });
    // Stopped in the third batch of 200.
    let asked = 0;
    await backfillWords(all, () => ++asked > 450);
    expect(await outdated()).toBe(601 - 400);
    await backfillWords(all, () => false);
    expect(await outdated()).toBe(0);
    await all.messages.updateOne({ seq: 1 }, { $set: { words: ['old'] } });
    await backfillWords(all, () => false);
    expect(await outdated()).toBe(1);
    await client.close();
  });

  test('conversations of a version without counters are counted before they are served', async () => {
    const url = freshUrl();
    const before = await openMongo(url);
    const members = [ANN, BOB, CAT];
    const ids = Array.from({ length: 130 }, (_, i) => writeOf(`c${i}`, members, 0).conversation);
    await Promise.all(ids.map((_, i) => before.write(writeOf(`c${i}`, members, 0, 3, { sender: i % 2 ? BOB : ANN }))));
    const [id = ids[0]] = ids;
    if (!id) throw new Error('there are 130');
    for (let rev = 4; rev < 10; rev++) {
      const values = { rev, sender: rev % 2 ? BOB : ANN, kind: rev === 6 ? ('SYSTEM' as const) : ('TEXT' as const) };
      await before.write(writeOn({ id, lastRev: rev - 1 }, { messages: [message(id, rev, values)] }));
    }
    await before.advanceReadPosition(id, BOB, 5, null);
    await before.advanceReadPosition(id, CAT, 9, null);
    await before.write(writeOn({ id, lastRev: 9 }, { changed: [redacted(message(id, 2), 10)] }));
    await before.write(writeOn({ id, lastRev: 10 }, { messages: [message(id, 10, { rev: 11 })] }));
    const all = async (store: Store) => Promise.all(ids.map((id) => store.conversation(id)));
    const expected = await all(before);
    expect(expected[0]).toMatchObject({ counted: 8 });
    await before.close();
    const client = await MongoClient.connect(url);
    const db = client.db(new URL(url).pathname.slice(1));
    const without = { $unset: { counted: '', 'members.$[].sent': '', 'members.$[].seen': '' } };
    await db.collection('conversations').updateMany({}, without, { writeConcern: { w: 'majority' } });
    await db.collection('probes').deleteMany({}, { writeConcern: { w: 'majority' } });
    const [one, two] = await Promise.all([openMongo(url), openMongo(url)]);
    expect(await all(one)).toEqual(expected);
    await Promise.all([one.close(), two.close(), client.close()]);
  });

  test('hints about typing reach other instances', async () => {
    const url = freshUrl();
    const [one, two] = [await openMongo(url), await openMongo(url)];
    const told: unknown[] = [];
    two.watch((wakeUp) => wakeUp?.kind === 'typing' && told.push(wakeUp));
    await one.write(writeOf('c', [ANN, BOB], 0));
    const { conversation } = writeOf('c', [ANN, BOB], 0);
    const hint = { kind: 'typing' as const, conversation, member: BOB, typing: true };
    // A stream that is not open yet misses hints, as it may.
    await expect
      .poll(async () => {
        await one.tellTyping(hint);
        return told;
      })
      .toContainEqual(hint);
    await Promise.all([one.close(), two.close()]);
  });

  describe('a changed message', () => {
    /** Three instances and the stored documents of a conversation with six messages. */
    async function open() {
      const url = freshUrl();
      const stores = await Promise.all([openMongo(url), openMongo(url), openMongo(url)]);
      const client = await MongoClient.connect(url);
      const db = client.db(new URL(url).pathname.slice(1));
      onTestFinished(async () => {
        await Promise.all(stores.map((store) => store.close()));
        await client.close();
      });
      const [one, two, three] = stores as [Store, Store, Store];
      await one.write(writeOf('c', [ANN, BOB], 0, 6));
      const stored = db.collection<MessageDocument>('messages');
      await expect.poll(() => stored.countDocuments()).toBe(6);
      return { one, two, three, stored, db };
    }
    const { conversation: id } = writeOf('c', [ANN, BOB], 0);
    type Change = (before: Message, rev: number) => Message;
    async function change(store: Store, seq: number, to: Change): Promise<boolean> {
      const head = await store.conversation(id);
      const [before] = await store.messages(id, seq, seq);
      if (!head || !before) throw new Error('it was written');
      return store.write(writeOn(head, { changed: [to(before, head.lastRev + 1)] }));
    }

    test('that is not moved, as after a kill, is in its new state for every reader and the next writer', async () => {
      const { one, two, three, stored } = await open();
      const before = await stored.find({ seq: { $lte: 2 } }).toArray();
      await change(one, 1, redacted);
      await expect.poll(() => stored.findOne({ seq: 1 })).toMatchObject({ rev: 7 });
      await change(two, 2, (message, rev) => edited(message, rev, 'edited'));
      await expect.poll(() => stored.findOne({ seq: 2 })).toMatchObject({ rev: 8 });
      // The stores read majority-committed data.
      const writeConcern = { w: 'majority' } as const;
      for (const document of before.slice(1))
        await stored.replaceOne({ _id: document._id }, { ...document, changing: true }, { writeConcern });
      const look = async () => {
        for (const store of [one, two, three]) {
          expect((await store.messages(id, 1, 6)).map(({ text }) => text)).toEqual([
            '',
            'edited',
            'm3',
            'm4',
            'm5',
            'm6',
          ]);
          expect((await store.changes(id, 5, 9)).map(({ seq, rev }) => [seq, rev]).slice(0, 3)).toEqual([
            [6, 6],
            [1, 7],
            [2, 8],
          ]);
          expect(await store.firstUnread(id, BOB)).toBe(2);
          const search = { terms: termsOf('m2'), conversation: id };
          expect((await store.search(BOB, search, { first: 9, after: null })).hits).toEqual([]);
          const found = await store.search(BOB, { ...search, terms: termsOf('edited') }, { first: 9, after: null });
          expect(found.hits).toHaveLength(1);
        }
      };
      await look();
      expect(await unreadIn(three, id, BOB)).toBe(5);
      await three.write(writeOn({ id, lastRev: 8 }, { messages: [message(id, 7, { rev: 9 })] }));
      await expect.poll(() => stored.findOne({ seq: 2 })).toMatchObject({ rev: 8, text: 'edited', words: ['edited'] });
      expect(await stored.countDocuments({ changing: true })).toBe(0);
      await look();
    });

    test('that changes during a read of changes is not left out', async () => {
      const { one, two, stored, db } = await open();
      const { conversations, messages } = collections(db);
      const read = conversations.findOne.bind(conversations);
      let meanwhile = async () => {
        await change(two, 2, (before, rev) => edited(before, rev, 'again'));
        await expect.poll(() => stored.findOne({ seq: 2 })).toMatchObject({ rev: 8 });
      };
      conversations.findOne = (async (...args: Parameters<typeof read>) => {
        const found = await read(...args);
        await meanwhile();
        meanwhile = async () => {};
        return found;
      }) as typeof conversations.findOne;
      await change(one, 1, redacted);
      await expect.poll(() => stored.findOne({ seq: 1 })).toMatchObject({ rev: 7 });
      const { changes } = createReader({ conversations, messages }, db.client.startSession());
      expect((await changes(id, 1, 9)).map(({ seq }) => seq)).toEqual([3, 4, 5, 6, 1, 2]);
    });

    test('never reverts under concurrent readers and writers', async () => {
      const { one, two, stored } = await open();
      let writing = true;
      const write = async (store: Store, name: string) => {
        for (let i = 0; i < 60; ) {
          const head = await store.conversation(id);
          if (!head) throw new Error('it was written');
          const { lastRev, lastSeq } = head;
          const sent = message(id, lastSeq + 1, { rev: lastRev + 1, text: `${name} ${i}` });
          const written =
            i % 3 === 0
              ? await store.write(writeOn(head, { messages: [sent] }))
              : await change(store, 1 + (i % 6), (before, rev) => edited(before, rev, `${name} ${i}`));
          if (written) i++;
        }
      };
      const read = async (store: Store) => {
        const newest = new Map<number, number>();
        while (writing) {
          const { lastRev = 0, lastSeq = 0 } = (await store.conversation(id)) ?? {};
          const messages = await store.messages(id, 1, lastSeq);
          expect(messages).toHaveLength(lastSeq);
          expect(Math.max(...messages.map(({ rev }) => rev))).toBeGreaterThanOrEqual(lastRev);
          for (const { seq, rev } of messages) {
            expect(rev).toBeGreaterThanOrEqual(newest.get(seq) ?? 0);
            newest.set(seq, rev);
          }
        }
      };
      const reading = [read(one), read(two)];
      await Promise.all([write(one, 'one'), write(two, 'two')]);
      writing = false;
      await Promise.all(reading);
      const head = await one.conversation(id);
      expect(head).toMatchObject({ lastSeq: 46, lastRev: 126 });
      const log = await one.messages(id, 1, 46);
      expect(await two.messages(id, 1, 46)).toEqual(log);
      for (const { text, revisions } of log.slice(0, 6)) {
        const texts = [...revisions.map(({ text }) => text), text];
        expect(new Set(texts).size).toBe(texts.length);
      }
      expect(log.flatMap(({ revisions }) => revisions)).toHaveLength(80);
      await expect.poll(() => stored.countDocuments({ changing: true })).toBe(0);
    });

    test('is in no counter under concurrent reads, redactions and writes once redacted', async () => {
      const { one, two, three } = await open();
      await one.write(writeOn({ id, lastRev: 6 }, { messages: [message(id, 7, { sender: BOB })] }));
      const until = async (done: () => Promise<boolean>) => {
        while (!(await done()));
      };
      const redact = async (store: Store, seqs: readonly number[]) => {
        for (const seq of seqs) await until(() => change(store, seq, redacted));
      };
      const send = async (store: Store) => {
        for (let i = 0; i < 15; i++)
          await until(async () => {
            const head = await store.conversation(id);
            if (!head) throw new Error('it was written');
            const { lastSeq, lastRev } = head;
            const sent = message(id, lastSeq + 1, { rev: lastRev + 1, sender: i % 2 ? ANN : BOB });
            return store.write(writeOn(head, { messages: [sent] }));
          });
      };
      const read = async (store: Store, reader: typeof BOB) => {
        for (let i = 0; i < 30; i++) {
          const head = await store.conversation(id);
          if (!head) throw new Error('it was written');
          const seq = i % 3 === 0 ? Math.max(1, head.lastSeq - 2) : head.lastSeq;
          await store.advanceReadPosition(id, reader, seq, null, ...(i % 2 ? [head] : []));
        }
      };
      await Promise.all([
        ...[redact(one, [1, 5, 7]), redact(three, [2, 6]), send(one), send(two)],
        ...[read(two, BOB), read(three, BOB), read(one, ANN)],
      ]);
      const head = await one.conversation(id);
      const counting = (await one.messages(id, 1, 37)).filter(({ redactedAt }) => redactedAt === null);
      expect(head).toMatchObject({ lastSeq: 37, lastRev: 42, counted: 32 });
      for (const who of [ANN, BOB]) {
        const others = counting.filter(({ sender }) => sender !== who);
        const { readSeq, sent, seen } = head?.members.get(who) ?? {};
        expect([sent, seen]).toEqual([32 - others.length, others.filter(({ seq }) => seq <= (readSeq ?? 0)).length]);
      }
    });

    test('to nothing is not counted as seen by a read position that was decided on before', async () => {
      const { one, two, three } = await open();
      for (const seq of [1, 2, 3]) {
        const known = await one.conversation(id);
        if (!known) throw new Error('it was written');
        await change(two, seq, redacted);
        await three.advanceReadPosition(id, BOB, known.lastSeq, null, known);
        const head = await one.conversation(id);
        expect(head?.members.get(BOB)).toMatchObject({ readSeq: known.lastSeq, seen: known.lastSeq - seq });
        const { lastSeq = 0, lastRev = 0 } = head ?? {};
        await one.write(writeOn({ id, lastRev }, { messages: [message(id, lastSeq + 1, { rev: lastRev + 1 })] }));
      }
    });

    test('to nothing is in no document', async () => {
      const { one, two, three, db } = await open();
      await change(one, 3, (before, rev) => edited(before, rev, 'hidden-4711'));
      await change(two, 3, (before, rev) => edited(before, rev, 'known'));
      await change(three, 3, redacted);
      const everything = async () =>
        JSON.stringify(await Promise.all((await db.collections()).map((collection) => collection.find().toArray())));
      await expect.poll(everything).not.toMatch(/hidden|4711|known|m3/);
      expect(await everything()).toMatch(/a slip/);
    });
  });

  test('lists, counts and searches receive none of 1,024 members but the first and the reader', async () => {
    const url = freshUrl();
    const store = await openMongo(url);
    const members = [BOB, ...Array.from({ length: 1023 }, (_, i) => email(`m${i}`))];
    const { conversation: id } = writeOf('crowd', members, 0);
    await store.write(writeOf('crowd', members, 0, 2));
    const client = await MongoClient.connect(url);
    const db = client.db(new URL(url).pathname.slice(1));
    await db.command({ profile: 2 });

    for (const unreadOnly of [false, true]) {
      const filter = { ...EVERYTHING, unreadOnly };
      expect((await store.chatList(BOB, filter, { first: 9, after: null })).conversations).toHaveLength(1);
      expect(await store.unreadTotal(BOB, filter)).toBe(2);
    }
    const [listed] = await store.listed(BOB, [id]);
    expect(listed && unreadOf(listed, listed.reader)).toBe(2);
    expect(await store.memberCount(id)).toBe(1024);
    expect(await store.firstUnread(id, BOB)).toBe(1);
    const query = { terms: termsOf('m1'), conversation: null };
    expect((await store.search(BOB, query, { first: 9, after: null })).hits).toHaveLength(1);
    expect(await store.conversation(id, CAT)).toBeNull();

    await db.command({ profile: 0 });
    const operations = await db
      .collection('system.profile')
      .find({ ns: /conversations$/ })
      .toArray();
    expect(operations.length).toBeGreaterThan(8);
    // A member takes at least 120 bytes: all members are 25 times as much.
    for (const { responseLength, command } of operations)
      expect(responseLength, JSON.stringify(command)).toBeLessThan(5000);
    await client.close();
    await store.close();
  });

  test('client ids that are asked for at the same time are looked up by two queries', async () => {
    const url = freshUrl();
    const store = await openMongo(url);
    const writes = Array.from({ length: 20 }, (_, i) => writeOf(`c${i}`, [ANN, BOB], 0, 1, { clientId: `id ${i}` }));
    await Promise.all(writes.map((write) => store.write(write)));
    const client = await MongoClient.connect(url);
    const db = client.db(new URL(url).pathname.slice(1));
    await db.command({ profile: 2 });
    const found = await Promise.all(
      writes.map(({ conversation }, i) =>
        store.messagesByClientId(conversation, [
          { sender: ANN, clientId: `id ${i}` },
          { sender: ANN, clientId: `id ${i}` },
          { sender: BOB, clientId: `id ${i}` },
          { sender: ANN, clientId: `id ${(i + 1) % 20}` },
        ]),
      ),
    );
    await db.command({ profile: 0 });
    expect(found).toEqual(writes.map(({ messages }) => messages));
    const queries = db.collection('system.profile').find({ op: 'query', ns: /(conversations|messages)$/ });
    expect((await queries.toArray()).map(({ ns }) => String(ns).split('.').at(-1)).sort()).toEqual([
      'conversations',
      'messages',
    ]);
    await client.close();
    await store.close();
  });

  test('client ids are looked up without the conversation in a state that this process wrote or heard of', async () => {
    const url = freshUrl();
    const [one, two] = [await openMongo(url), await openMongo(url)];
    const told: string[] = [];
    two.watch((wakeUp) => wakeUp?.kind === 'log' && told.push(wakeUp.conversation));
    // Until the stream is open it reports nothing.
    let others = 0;
    await expect
      .poll(async () => {
        await one.write(writeOf(`other ${others++}`, [ANN, BOB], 0));
        return told.length;
      })
      .toBeGreaterThan(0);
    const { conversation: id } = writeOf('c', [ANN, BOB], 0);
    const lastRev = 4;
    for (let after = 0; after < lastRev; after++)
      await one.write(writeOf('c', [ANN, BOB], after, 1, { clientId: `id ${after}` }));
    await expect.poll(() => told.filter((conversation) => conversation === id).length).toBe(lastRev);
    const client = await MongoClient.connect(url);
    const db = client.db(new URL(url).pathname.slice(1));
    await db.command({ profile: 2 });
    for (const store of [one, two]) {
      const found = await store.messagesByClientId(id, [{ sender: ANN, clientId: `id ${lastRev - 1}` }], lastRev);
      expect(found.map(({ seq }) => seq)).toEqual([lastRev]);
    }
    await db.command({ profile: 0 });
    const queries = db.collection('system.profile').find({ op: 'query', ns: /(conversations|messages)$/ });
    expect((await queries.toArray()).map(({ ns }) => String(ns).split('.').at(-1))).toEqual(['messages', 'messages']);
    await Promise.all([one.close(), two.close(), client.close()]);
  });

  test('a state that the stream does not mention is unchanged, or not known', async () => {
    const { conversation: id } = writeOf('c', [ANN, BOB], 0);
    const document = (seq: number, rev = seq) => toDocument(message(id, seq, { rev }), new ObjectId());
    const nothing = {} as never;
    const { learn, pendingAt } = createWriter(nothing, nothing, nothing, nothing, () => {});
    const written = (rev: number) => ({ lastRev: rev, written: JSON.stringify({ afterRev: rev - 1, rev }) });
    const changed = [document(1, 2)];
    learn(id, { ...written(2), tail: [], changed });
    // The next write carries the change on, which the stream does not repeat.
    learn(id, { ...written(3), tail: [document(2, 3)] });
    expect(pendingAt(id, 3)?.changed).toEqual(changed);
    learn(id, { ...written(5), tail: [document(4, 5)] });
    expect(pendingAt(id, 5)).toBeNull();
    expect(pendingAt(id, 3)?.changed).toEqual(changed);
  });

  test('a message counts as not searchable until it is moved', async () => {
    const store = await openMongo(freshUrl());
    await store.write(writeOf('c', [ANN, BOB], 0, 3));
    expect(store.searchLag()).toBe(3);
    await expect.poll(store.searchLag).toBe(0);
    await store.close();
  });

  test('every query examines at most one document more than it returns', async () => {
    const url = freshUrl();
    const store = await openMongo(url);
    const pair = [ANN, BOB];
    const { conversation } = writeOf('c', pair, 0);
    for (let seq = 0; seq < 2000; seq += 100) await store.write(writeOf('c', pair, seq, 100));
    for (let i = 0; i < 200; i++)
      await store.write(writeOf(`other ${i}`, pair, 0, 1, { clientId: `id ${i}`, sentAt: 5000 + i }));
    const client = await MongoClient.connect(url);
    const db = client.db(new URL(url).pathname.slice(1));
    await db.command({ profile: 2 });

    await store.conversation(conversation);
    expect(await store.conversation(conversation, CAT)).toBeNull();
    expect(await store.listed(BOB, [conversation])).toHaveLength(1);
    expect(await store.memberCount(conversation)).toBe(2);
    expect(await store.messages(conversation, 1000, 1049)).toHaveLength(50);
    expect(await store.messages(conversation, 1951, 2000)).toHaveLength(50);
    expect(await store.messagesByClientId(conversation, [{ sender: ANN, clientId: 'none' }])).toEqual([]);
    expect(await store.firstUnread(conversation, BOB)).toBe(1);
    const page = await store.chatList(BOB, EVERYTHING, { first: 20, after: null });
    const query = { terms: termsOf('m1000'), conversation: null };
    expect((await store.search(BOB, query, { first: 20, after: null })).hits).toHaveLength(1);
    const last = page.conversations.at(-1);
    if (!last) throw new Error('there are 201');
    await store.chatList(BOB, EVERYTHING, { first: 20, after: { ...last, pinned: false } });
    await store.write(writeOf('c', pair, 2000));
    await store.advanceReadPosition(conversation, BOB, 1990, null);
    expect(await unreadIn(store, conversation, BOB)).toBe(11);

    await db.command({ profile: 0 });
    const operations = await db
      .collection('system.profile')
      .find({
        op: { $in: ['query', 'command', 'update'] },
        ns: /(conversations|messages)$/,
        planSummary: { $exists: true },
      })
      .toArray();
    expect(operations.length).toBeGreaterThan(10);
    for (const { planSummary, keysExamined, docsExamined, nreturned, nMatched, command } of operations) {
      const returned = command.aggregate ? 10 : (nreturned ?? nMatched ?? 1);
      expect(planSummary, JSON.stringify(command)).toMatch(/^(IXSCAN|IDHACK|COUNT_SCAN)/);
      expect(docsExamined, JSON.stringify(command)).toBeLessThanOrEqual(returned + 1);
      // A search examines one entry of the index for each conversation, and the next one.
      const looks = 2 * (command.filter?.conversation?.$in?.length ?? 0);
      expect(keysExamined, JSON.stringify(command)).toBeLessThanOrEqual(returned + 1 + looks);
    }
    await client.close();
    await store.close();
  });
});
