import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { describe, expect, inject, test, vi } from 'vitest';
import { openMongo } from '../../src/store/mongo/mongo.ts';
import { startReplicaSet } from '../support/replica-set.ts';
import { ANN, appendOf, BOB, EVERYTHING, storeContract } from './contract.ts';

const replicaSet = inject('replicaSet');
const freshUrl = () => String(replicaSet).replace(/\/(?=\?|$)/, `/store-${randomUUID()}`);

describe.runIf(replicaSet)('on a replica set', () => {
  storeContract('MongoDB', () => openMongo(freshUrl()));

  test('a change stream that breaks is opened again, and says that hints were lost', async () => {
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
    const { conversation } = appendOf('c', [ANN, BOB], 0);
    // Only the stream can tell of what another instance wrote.
    const elsewhere = await openMongo(set.uri('stream'));
    await elsewhere.append(appendOf('c', [ANN, BOB], 0));
    await expect.poll(() => told).toContainEqual({ conversation });
    await Promise.all([elsewhere.close(), store.close()]);
    await set.stop();
  });

  test('what cannot be moved is carried on by the tail, for every reader and the next writer', async () => {
    const set = await startReplicaSet(1);
    const [one, two] = [await openMongo(set.uri('moves')), await openMongo(set.uri('moves'))];
    const pair = [ANN, BOB];
    const { conversation } = appendOf('c', pair, 0);
    const three = (after: number) => {
      const append = appendOf('c', pair, after, 3);
      return { ...append, messages: append.messages.map((m) => ({ ...m, clientId: `id ${m.seq}` })) };
    };
    await one.append(three(0));
    // Appends to a conversation that exists are updates: only moves fail.
    await set.admin({
      configureFailPoint: 'failCommand',
      mode: 'alwaysOn',
      data: { failCommands: ['insert'], errorCode: 96 },
    });
    expect(await one.append(three(3))).toBe(true);
    expect(await two.append(three(6))).toBe(true);
    expect(await one.append(three(9))).toBe(true);
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
        expect(await store.unreadCount(conversation, BOB)).toBe(8);
      }
    };
    await one.moveRead(conversation, BOB, 4, null);
    await look();
    await set.admin({ configureFailPoint: 'failCommand', mode: 'off' });
    expect(await two.append(appendOf('other', pair, 0))).toBe(true);
    const client = await MongoClient.connect(set.uri('moves'));
    const moved = () => client.db('moves').collection('messages').countDocuments({ conversation });
    await expect.poll(moved).toBe(9);
    await look();
    await Promise.all([one.close(), two.close(), client.close()]);
    await set.stop();
  });

  test('every query examines what it returns, and one more at most', async () => {
    const url = freshUrl();
    const store = await openMongo(url);
    const pair = [ANN, BOB];
    const { conversation } = appendOf('c', pair, 0);
    for (let seq = 0; seq < 2000; seq += 100) await store.append(appendOf('c', pair, seq, 100));
    for (let i = 0; i < 200; i++)
      await store.append(appendOf(`other ${i}`, pair, 0, 1, { clientId: `id ${i}`, sentAt: 5000 + i }));
    const client = await MongoClient.connect(url);
    const db = client.db(new URL(url).pathname.slice(1));
    await db.command({ profile: 2 });

    await store.conversation(conversation);
    expect(await store.messages(conversation, 1000, 1049)).toHaveLength(50);
    expect(await store.messages(conversation, 1951, 2000)).toHaveLength(50);
    expect(await store.messagesByClientId(conversation, [{ sender: ANN, clientId: 'none' }])).toEqual([]);
    expect(await store.firstUnread(conversation, BOB)).toBe(1);
    const page = await store.chatList(BOB, EVERYTHING, { first: 20, after: null });
    const last = page.conversations.at(-1);
    if (!last) throw new Error('there are 201');
    await store.chatList(BOB, EVERYTHING, { first: 20, after: { ...last, pinned: false } });
    await store.append(appendOf('c', pair, 2000));
    await store.moveRead(conversation, BOB, 1990, null);
    expect(await store.unreadCount(conversation, BOB)).toBe(11);

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
      expect(keysExamined, JSON.stringify(command)).toBeLessThanOrEqual(returned + 1);
    }
    await client.close();
    await store.close();
  });
});
