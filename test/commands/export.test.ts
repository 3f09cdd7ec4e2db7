import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { MongoClient } from 'mongodb';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { exportStore } from '../../src/commands/export/export.ts';
import { importExport } from '../../src/commands/export/from-export.ts';
import { verifyExport } from '../../src/commands/verify/verify.ts';
import type { Conversation, Message } from '../../src/model.ts';
import { checkRecord } from '../../src/record/check.ts';
import { ephemeralKeys } from '../../src/record/keys.ts';
import { createRegistrar } from '../../src/record/registrar.ts';
import { checkLogs } from '../../src/store/check.ts';
import { openMongo } from '../../src/store/mongo/mongo.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { Store, Write } from '../../src/store/store.ts';
import { allConversations } from '../../src/store/walk.ts';
import { ANN, BOB, CAT, edited, message, redacted, writeOf, writeOn } from '../store/writes.ts';
import { processes } from '../support/process.ts';

const { directory, ran, start } = processes();
const replicaSet = inject('replicaSet');
const freshMongo = () => String(replicaSet).replace(/\/(?=\?|$)/, `/export-${randomUUID()}`);
const freshFolder = () => join(directory, randomUUID());
const nothing = () => {};

const KEYS = ephemeralKeys('kredichat');

type Lines = readonly Record<string, unknown>[];

/** Exports a store into a new folder. */
async function exportedFrom(store: Store) {
  const folder = freshFolder();
  const options = {
    scope: { kind: 'all', value: null },
    folder,
    program: '1.2.3',
    keys: KEYS,
  } as const;
  const manifest = await exportStore(store, options, nothing);
  const lines = (name: string): Lines =>
    readFileSync(join(folder, name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  const [conversations, messages] = [lines('conversations.ndjson'), lines('messages.ndjson')];
  return { folder, manifest, conversations, messages, entries: lines('entries.ndjson') };
}

/** Registers and signs all that a store holds. */
async function register(store: Store): Promise<void> {
  const fail = (error: unknown) => expect.unreachable(String(error));
  const registrar = createRegistrar({
    ...{ store, keys: KEYS, publisher: null, clock: Date.now, onError: fail, onFork: fail },
  });
  await registrar.close();
}

/** The verdict on an export, and the faults of the record that it was made from. */
async function verdictOn(folder: string, store: Store) {
  const vkeys = KEYS.signers.map(({ vkey }) => vkey);
  const faults: string[] = [];
  for await (const fault of checkRecord(store, allConversations(store), KEYS, null)) faults.push(fault);
  return { ...(await verifyExport(folder, vkeys)), faults };
}

async function opened(open: () => Promise<Store>): Promise<Store> {
  const store = await open();
  onTestFinished(() => store.close());
  return store;
}

/** A store that fails after this number of writes, and stays open. */
function failingAfter(store: Store, writes: number): () => Promise<Store> {
  let left = writes;
  const limited =
    <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> =>
      left-- > 0 ? call(...args) : Promise.reject(new Error('interrupted'));
  const { write, advanceReadPosition, setView } = store;
  const failing = {
    ...{ write: limited(write), advanceReadPosition: limited(advanceReadPosition), setView: limited(setView) },
    close: async () => {},
  };
  return async () => ({ ...store, ...failing });
}

const PEOPLE = [ANN, BOB, CAT];
const share = fc.double({ min: 0, max: 0.999, noNaN: true });
const someone = fc.constantFrom(...PEOPLE);
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('send' as const), who: someone, count: fc.nat(3) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('edit' as const, 'redact' as const), at: share }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('member' as const), who: someone, at: share }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('read' as const), who: someone, at: share }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ do: fc.constant('view' as const), who: someone },
      ...{ muted: fc.boolean(), pinned: fc.boolean(), archived: fc.boolean() },
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Writes a history to a conversation of its own. */
async function live(store: Store, configId: string, steps: readonly Step[]): Promise<void> {
  const opening = writeOf(configId, [ANN, BOB], 0, 1, { clientId: configId });
  await store.write({ ...opening, roles: new Map([[BOB, 'BANK']]) });
  const id = opening.conversation;
  for (const one of steps) {
    const state = (await store.conversation(id)) as Conversation;
    const { lastRev, lastSeq, members } = state;
    const write = async (values: Partial<Write>) => expect(await store.write(writeOn(state, values))).toBe(true);
    const said = (values: Partial<Message>, i = 0) =>
      message(id, lastSeq + 1 + i, { rev: lastRev + 1 + i, sentAt: 2000 + lastSeq + i, ...values });
    const at = async (where: number) => {
      const seq = 1 + Math.floor(where * lastSeq);
      return (await store.messages(id, seq, seq))[0] as Message;
    };
    // Members alone send, read and have views.
    if (one.do === 'send' && members.get(one.who)?.leftAt === null) {
      const origin = { source: `old/${lastSeq}`, time: '2020', digest: 'd' };
      const texts = Array.from({ length: one.count + 1 }, (_, i) => said({ sender: one.who, origin }, i));
      await write({ messages: texts, roles: new Map([[one.who, 'SELLER']]) });
    } else if (one.do === 'edit' || one.do === 'redact') {
      const target = await at(one.at);
      if (target.redactedAt !== null || target.kind !== 'TEXT') continue;
      const changed =
        one.do === 'edit' ? edited(target, lastRev + 1, `text ${lastRev}`) : redacted(target, lastRev + 1);
      await write({ changed: [changed] });
    } else if (one.do === 'member') {
      const { who: email } = one;
      const joins = members.get(email)?.leftAt !== null;
      const plain = said({ kind: 'SYSTEM', sender: email, clientId: `${lastRev}` });
      const changes = [{ field: 'members', from: joins ? null : email, to: joins ? email : null }] as const;
      const salts = { ...plain.record?.salts, changes: '0'.repeat(32) };
      const news = { ...plain, record: { salts, changes } };
      const counted = (await store.messages(id, 1, lastSeq)).filter((it) => it.kind === 'TEXT' && !it.redactedAt);
      const seen = counted.filter(({ sender }) => sender !== email).length;
      // A member that comes back keeps its place.
      const joined = joins ? { at: members.get(email)?.joinedAt ?? news.sentAt, readSeq: news.seq, seen } : null;
      const text = said({ sender: ANN }, 1);
      await write({
        messages: one.at < 0.5 ? [news] : [news, text],
        members: [{ email, joined, leftAt: joins ? null : news.sentAt }],
        state: { status: joins ? 'PENDING' : 'CLOSED', labels: [email], assignee: joins ? email : null },
      });
    } else if (one.do === 'read') {
      await store.advanceReadPosition(id, one.who, Math.floor(one.at * (lastSeq + 1)), null);
    } else if (one.do === 'view') {
      const { muted, pinned, archived } = one;
      await store.setView(id, one.who, { muted, pinned, archived });
    }
  }
}

describe.runIf(replicaSet)('an export', () => {
  test('of any histories makes equal stores, SQLite to MongoDB to SQLite, interrupted anywhere', async () => {
    const short = fc.array(fc.array(step, { maxLength: 14 }), { minLength: 25, maxLength: 25 });
    // Of more than one write, also after the first.
    const long = fc.array(step, { minLength: 500, maxLength: 500 });
    const histories = fc.tuple(short, long).map(([some, one]) => [...some, one]);
    await fc.assert(
      fc.asyncProperty(histories, fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 3 }), async (all, cuts) => {
        const source = await openSqlite(':memory:');
        for (const [index, steps] of all.entries()) await live(source, `c${index}`, steps);
        await register(source);
        const first = await exportedFrom(source);
        expect(await verdictOn(first.folder, source)).toMatchObject({ result: 'verified', reason: null, faults: [] });
        expect(first.manifest).toMatchObject({ conversations: all.length, messages: first.messages.length });
        const [mongo, sqlite] = [await openMongo(freshMongo()), await openSqlite(':memory:')];
        let from = first;
        for (const target of [mongo, sqlite]) {
          for (const cut of cuts)
            await importExport(from.folder, failingAfter(target, cut), nothing).catch(({ message }) =>
              expect(message).toBe('interrupted'),
            );
          const result = await importExport(from.folder, failingAfter(target, 9999), nothing);
          expect(result).toMatchObject({ conversations: { imported: all.length, different: 0 }, complete: true });
          const again = await importExport(from.folder, failingAfter(target, 9999), nothing);
          expect(again.messages).toEqual({
            source: first.messages.length,
            imported: 0,
            present: first.messages.length,
          });
          await register(target);
          const copy = await exportedFrom(target);
          // The entries are the same, the register is another.
          expect(copy.entries).toEqual(first.entries);
          expect(await verdictOn(copy.folder, target)).toMatchObject({ result: 'verified', reason: null, faults: [] });
          expect(copy.conversations).toEqual(first.conversations);
          expect(copy.messages).toEqual(first.messages);
          expect((await checkLogs(target, nothing)).faults).toEqual([]);
          from = copy;
        }
        await Promise.all([source, mongo, sqlite].map((store) => store.close()));
      }),
      { numRuns: 2, endOnFailure: true },
    );
  });

  test('moves a running server, and is refused where it was altered or the store holds something else', async () => {
    const file = `sqlite:${join(directory, 'live.db')}`;
    const store = await openSqlite(file.slice(7));
    for (const configId of ['a', 'b']) await live(store, configId, [{ do: 'send', who: BOB, count: 3 }]);
    await store.close();
    await start({ STORE_URL: file });
    const folder = freshFolder();
    const moved = await ran({ STORE_URL: file }, 'export', '--all', '--to', folder);
    expect(moved).toMatchObject({ code: 0, out: `${folder}: 2 conversations, 10 messages\n` });
    expect(JSON.parse(moved.error)).toMatchObject({
      audit: 'export',
      over: 'command',
      on: `STORE_URL=${file} --all --to ${folder}`,
    });
    const url = freshMongo();
    const into = (to: string) => ran({ STORE_URL: to }, 'import', '--from-export', folder);
    const sums = 'conversations: 2 = 2 imported + 0 different\nmessages: 10 = 10 imported + 0 present\n';
    expect(await into(url)).toMatchObject({ code: 0, out: sums });
    expect(await ran({ STORE_URL: url }, 'check')).toMatchObject({ code: 0, out: '10 messages: no faults\n' });

    const other = await opened(() => openSqlite(':memory:'));
    await other.write(writeOf('other', [ANN, BOB], 0));
    const open = failingAfter(other, 9);
    await expect(importExport(folder, open, nothing)).rejects.toThrow('which is not in the export');
    const same = await opened(() => openSqlite(':memory:'));
    await same.write(writeOf('a', [ANN, BOB], 0, 1, { text: 'something else' }));
    await expect(importExport(folder, failingAfter(same, 99), nothing)).rejects.toThrow('holds another conversation');
    const messages = join(folder, 'messages.ndjson');
    writeFileSync(messages, readFileSync(messages, 'utf8').replace('m1', 'm2'));
    await expect(importExport(folder, open, nothing)).rejects.toThrow('messages.ndjson was altered');
  });

  test('check and export refuse a database without a store, and make none', async () => {
    const url = freshMongo();
    const name = new URL(url).pathname.slice(1);
    const error = expect.stringContaining(`kredichat: the database ${name} holds no Kredichat store\n`);
    expect(await ran({ STORE_URL: url }, 'check')).toMatchObject({ code: 1, error });
    expect(await ran({ STORE_URL: url }, 'export', '--all', '--to', freshFolder())).toMatchObject({ code: 1, error });
    const client = await MongoClient.connect(url);
    onTestFinished(() => client.close());
    expect(await client.db(name).listCollections().toArray()).toEqual([]);
    const store = await openMongo(url);
    await store.close();
    expect((await ran({ STORE_URL: url }, 'check')).code).toBe(0);
  });

  test('check finds what is wrong in MongoDB, and reads again what changes meanwhile', async () => {
    const url = freshMongo();
    const store = await opened(() => openMongo(url));
    for (const configId of ['a', 'b', 'c', 'd']) await store.write(writeOf(configId, [ANN, BOB], 0, 3));
    const client = await MongoClient.connect(url, { writeConcern: { w: 'majority' } });
    onTestFinished(() => client.close());
    const database = client.db(new URL(url).pathname.slice(1));
    const conversations = database.collection('conversations');
    const idOf = (configId: string) => writeOf(configId, [ANN, BOB], 0).conversation;
    let writes = 0;
    const busy: Store = {
      ...store,
      async messages(id, from, to) {
        const state = (await store.conversation(id)) as Conversation;
        if (writes++ === 0) await store.write(writeOn(state, { messages: [message(id, state.lastSeq + 1)] }));
        return store.messages(id, from, to);
      },
    };
    expect(await checkLogs(busy, nothing)).toEqual({ conversations: 4, messages: 13, faults: [] });
    await conversations.updateOne({ configId: 'a' }, { $inc: { counted: 1 } });
    await conversations.updateOne({ configId: 'b' }, { $set: { 'members.1.readSeq': 9 } });
    await conversations.updateOne({ configId: 'c' }, { $inc: { 'members.0.sent': 1 } });
    await conversations.updateOne({ configId: 'd' }, { $inc: { lastSeq: 1 } });
    const { faults } = await checkLogs(store, nothing);
    const found = (configId: string) => faults.filter((fault) => fault.startsWith(idOf(configId))).join();
    expect(found('a')).toContain('the counter of messages');
    expect(found('b')).toContain('a member has read beyond the last message');
    expect(found('c')).toContain('the counters of a member are wrong');
    expect(found('d')).toContain('are missing between');
  });
});

test('an export holds each conversation in one state, although messages change while it is written', async () => {
  const store = await opened(() => openSqlite(':memory:'));
  const write = writeOf('c', [ANN, BOB], 0, 3);
  await store.write(write);
  const id = write.conversation;
  let reads = 0;
  const changing: Store = {
    ...store,
    async messages(...range) {
      const { lastRev } = (await store.conversation(id)) as Conversation;
      const [second = message(id, 2)] = await store.messages(id, 2, 2);
      if (reads++ < 2) await store.write(writeOn({ id, lastRev }, { changed: [edited(second, lastRev + 1, 'new')] }));
      return store.messages(...range);
    },
  };
  const { conversations, messages } = await exportedFrom(changing);
  expect(conversations).toMatchObject([{ lastSeq: 3, lastRev: 5 }]);
  expect(messages.map(({ seq, rev }) => [seq, rev])).toEqual([
    [1, 1],
    [2, 5],
    [3, 3],
  ]);
});

test('options that do not go together are a usage error: exit code 2, nothing done', async () => {
  const folder = freshFolder();
  for (const args of [
    ['export', '--to', folder],
    ['import', '--database', 'x'],
    ['import', '--from-export', folder, '--database', 'x'],
  ])
    expect((await ran({ STORE_URL: 'memory:' }, ...args)).code, args.join(' ')).toBe(2);
});
