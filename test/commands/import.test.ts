import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BSON, type Document, Long, MongoClient, ObjectId } from 'mongodb';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { readAddresses } from '../../src/commands/import/command.ts';
import { documentIdOf } from '../../src/commands/import/shapes.ts';
import { instantIn } from '../../src/commands/import/time.ts';
import { openStore } from '../../src/commands/open-store.ts';
import { readConfig } from '../../src/config.ts';
import { type Conversation, conversationId, type EmailAddress, type Message } from '../../src/model.ts';
import type { Store } from '../../src/store/store.ts';
import { ANN, BOB, CAT, edited, message, redacted, withoutLast, writeOf, writeOn } from '../store/writes.ts';
import { processes } from '../support/process.ts';

const { directory, run, ran } = processes();
const replicaSet = String(inject('replicaSet'));
const CONFIG = '0123456789abcdef01234567';
const DAY = Date.UTC(2021, 5, 1);
const idOf = (configId: string, ...members: EmailAddress[]) => conversationId({ configId, members: members.sort() });
const freshStore = () => `sqlite:${join(directory, `${randomUUID()}.db`)}`;

/** A source with these documents, in a database of its own. */
async function sourceWith(...documents: Document[]) {
  const client = await MongoClient.connect(replicaSet);
  onTestFinished(() => client.close());
  const database = `old-${randomUUID()}`;
  const collection = client.db(database).collection('conversation');
  await collection.insertMany(documents);
  const args = ['import', '--from', replicaSet, '--database', database];
  const before = await collection.find().toArray();
  /** Runs the command; the source is as before. */
  async function moved(to: string, ...more: string[]) {
    const result = await ran({}, ...args, '--to', to, '--json', ...more);
    expect(await collection.find().toArray()).toEqual(before);
    return { ...result, counts: result.out && JSON.parse(result.out) };
  }
  return { args, collection, name: `${database}.conversation`, moved };
}

/** Inserts a document by a command of bytes, with 0xFF for each `~`, which no driver writes. */
async function insertRaw(database: string, document: Document): Promise<void> {
  const command = { insert: 'conversation', documents: [{ _id: new ObjectId(), ...document }], $db: database };
  const body = BSON.serialize(command).map((byte) => (byte === 0x7e ? 0xff : byte));
  const head = Buffer.alloc(21);
  // OP_MSG: length, id, the id answered, 2013, flags, and one section of kind 0.
  for (const [index, value] of [head.length + body.length, 1, 0, 2013, 0].entries())
    head.writeInt32LE(value, index * 4);
  const { hostname, port } = new URL(replicaSet);
  const socket = connect(Number(port), hostname).on('error', () => {});
  socket.write(Buffer.concat([head, body]));
  await once(socket, 'data');
  socket.destroy();
}

async function reading<T>(url: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(readConfig({ STORE_URL: url }).store);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

type Contents = readonly { readonly conversation: Conversation | null; readonly messages: readonly Message[] }[];

function contents(url: string, ...ids: Conversation['id'][]): Promise<Contents> {
  return reading(url, (store) =>
    Promise.all(
      ids.map(async (id) => ({
        conversation: await store.conversation(id),
        messages: await store.messages(id, 1, 1_000_000),
      })),
    ),
  );
}

/** A message of the newer generation. */
const said = (sender: string, text: string, second: number, ...readers: string[]) => ({
  ...{ text, sender, is_read: readers, time: `2021-06-01T00:00:${String(second).padStart(2, '0')}.123456` },
});
/** A message of the older generation. */
const wrote = (sender: string, text: string, second: number, read: boolean) => ({
  ...{ text, sender, is_read: read, time: new Date(DAY + second * 1000) },
});
const summary = ({ seq, sender, text, sentAt }: Message) => [seq, sender, text, (sentAt - DAY) / 1000];

describe.runIf(inject('replicaSet'))('an import', () => {
  test.each(['SQLite', 'MongoDB'])('of the older generation into %s', async (kind) => {
    const people = [ANN, BOB];
    const [first, second] = [new ObjectId(), new ObjectId()];
    const { moved, name } = await sourceWith(
      {
        ...{ _id: first, config_id: CONFIG, members: people, party: 'Acme' },
        subject: [
          { label: 'Invoice', xpath: '/a' },
          { label: 'Amount', xpath: '/b' },
        ],
        message: [wrote(ANN, 'one', 1, true), wrote(BOB, 'three', 5, true), wrote(ANN, 'dated back', 2, false)],
      },
      {
        ...{ _id: second, config_id: CONFIG, members: ['BOB@example.com', ANN], party: 'Acme Ltd', subject: '' },
        message: [wrote(BOB, 'two', 3, true), wrote(BOB, 'four', 5, true)],
      },
      { config_id: CONFIG, members: people, party: '', subject: null, message: [] },
      { config_id: CONFIG, members: [ANN, BOB, CAT], message: [wrote(ANN, 'all', 1, true), wrote(BOB, 'b', 2, true)] },
    );
    const to = kind === 'SQLite' ? freshStore() : replicaSet.replace(/\/(?=\?|$)/, `/new-${randomUUID()}`);
    const { code, counts } = await moved(to);
    expect(code).toBe(0);
    expect(counts).toEqual({
      documents: { source: 4, imported: 2, merged: 1, refused: 1 },
      messages: { source: 7, imported: 7, present: 0, refused: 0 },
      complete: true,
    });
    const [two, three] = await contents(to, idOf(CONFIG, ANN, BOB), idOf(CONFIG, ANN, BOB, CAT));
    expect(two?.messages.map(summary)).toEqual([
      [1, ANN, 'one', 1],
      [2, BOB, 'two', 3],
      [3, BOB, 'three', 5],
      [4, ANN, 'dated back', 5],
      [5, BOB, 'four', 5],
    ]);
    expect(two?.messages[3]).toMatchObject({
      clientId: `import:${first}:2`,
      origin: {
        source: `${name}/${first}/2`,
        time: '2021-06-01T00:00:02.000Z',
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    });
    expect(two?.conversation).toMatchObject({
      configId: CONFIG,
      subject: 'Invoice, Amount',
      party: 'Acme',
      lastRev: 5,
    });
    // "dated back" was not read: of its reader nothing is claimed beyond.
    expect([ANN, BOB].map((member) => two?.conversation?.members.get(member)?.readSeq)).toEqual([5, 3]);
    // Which of the three has read is not said.
    expect([ANN, BOB, CAT].map((member) => three?.conversation?.members.get(member)?.readSeq)).toEqual([1, 0, 0]);
  });

  test('of the newer generation: left-out senders, texts for times, readers by name', async () => {
    const { moved } = await sourceWith(
      {
        ...{ config_id: CONFIG, members: [ANN], party: 7, subject: '' },
        message: [said(BOB, 'one', 1, ANN), said(ANN, 'two', 2, 'Bob@Example.com'), said(BOB, 'three', 3)],
      },
      {
        config_id: CONFIG,
        members: [BOB, CAT],
        subject: 'Offer',
        message: [{ ...said(BOB, 'dated', 1), time: new Date(DAY) }],
      },
    );
    const to = freshStore();
    expect((await moved(to, '--time-zone', 'Asia/Kolkata')).counts.complete).toBe(true);
    const [one, two] = await contents(to, idOf(CONFIG, ANN, BOB), idOf(CONFIG, BOB, CAT));
    const zone = 5.5 * 3600;
    expect(one?.messages.map(summary)).toEqual([
      [1, BOB, 'one', 1.123 - zone],
      [2, ANN, 'two', 2.123 - zone],
      [3, BOB, 'three', 3.123 - zone],
    ]);
    expect(one?.messages[0]?.origin?.time).toBe('2021-06-01T00:00:01.123456');
    expect(one?.conversation).toMatchObject({ party: '7', subject: null });
    expect([ANN, BOB].map((member) => one?.conversation?.members.get(member)?.readSeq)).toEqual([2, 3]);
    expect(two?.conversation).toMatchObject({ party: null, subject: 'Offer' });
    expect(two?.messages.map(summary)).toEqual([[1, BOB, 'dated', 0]]);
  });

  test('refuses what cannot be stored, and reports each with its reason', async () => {
    const long = 'x'.repeat(10_001);
    const texts = ['', long, 'a\0b', ' \n', 'good'];
    const { moved, collection } = await sourceWith(
      {
        ...{ config_id: CONFIG, members: [ANN, 'Bob B., Sales'], party: 'p'.repeat(65), subject: 'a\nb' },
        message: [
          ...texts.map((text) => said(ANN, text, 1)),
          ...[said('nobody', 'text', 1), { ...said(ANN, 'text', 1), time: '2021-02-30T00:00:00' }, { text: 5 }, 'text'],
        ],
      },
      { config_id: CONFIG, members: [ANN, 'no address'], message: [said(ANN, 'text', 1)] },
      { config_id: CONFIG, members: [ANN], message: [said(ANN, 'text', 1)] },
      { config_id: 5, members: [ANN, BOB], message: [said(ANN, 'text', 1)] },
      { config_id: CONFIG, members: 'all', message: 'none' },
      {
        _id: { shop: 1 } as unknown as ObjectId,
        config_id: { a: 1 },
        members: [ANN, BOB],
        message: [said(ANN, 'text', 1)],
      },
    );
    const [map, report] = [join(directory, 'map.csv'), join(directory, 'report.ndjson')];
    writeFileSync(map, `name,address\n"Bob B., Sales",${BOB}\n`);
    const to = freshStore();
    const { code, counts } = await moved(to, '--map', map, '--report', report);
    expect(code).toBe(0);
    expect(counts).toEqual({
      documents: { source: 6, imported: 1, merged: 0, refused: 5 },
      messages: { source: 13, imported: 1, present: 0, refused: 12 },
      complete: true,
    });
    const ids = (await collection.find().toArray()).map(({ _id }) => documentIdOf(_id));
    const lines = readFileSync(report, 'utf8').trimEnd().split('\n');
    const refusals = lines.map((line) => JSON.parse(line));
    expect(refusals.map((one) => ({ ...one, document: ids.indexOf(one.document) }))).toMatchInlineSnapshot(`
      [
        {
          "document": 5,
          "reason": "\`config_id\` must be a string; got object",
        },
        {
          "document": 0,
          "reason": "left out: \`subject\` must not hold control characters or line breaks.",
        },
        {
          "document": 0,
          "reason": "left out: \`party\` must be up to 64 code points long",
        },
        {
          "document": 1,
          "reason": "\`members\` must be an e-mail address; got "no address"",
        },
        {
          "document": 2,
          "reason": "\`members\` must hold 2 to 1024 different addresses; got 1.",
        },
        {
          "document": 3,
          "reason": "\`config_id\` must be a string; got number",
        },
        {
          "document": 4,
          "reason": "\`members\` must be a list",
        },
        {
          "document": 0,
          "index": 0,
          "reason": "\`text\` must be 1 to 10000 code points long; got 0.",
        },
        {
          "document": 0,
          "index": 1,
          "reason": "\`text\` must be 1 to 10000 code points long; got 10001.",
        },
        {
          "document": 0,
          "index": 2,
          "reason": "\`text\` must not hold the character U+0000.",
        },
        {
          "document": 0,
          "index": 3,
          "reason": "\`text\` must hold more than white space and invisible characters.",
        },
        {
          "document": 0,
          "index": 5,
          "reason": "\`sender\` must be an e-mail address; got "nobody"",
        },
        {
          "document": 0,
          "index": 6,
          "reason": "\`time\` must be a date or YYYY-MM-DDTHH:MM:SS.ffffff; got "2021-02-30T00:00:00"",
        },
        {
          "document": 0,
          "index": 7,
          "reason": "\`time\` must be a date or YYYY-MM-DDTHH:MM:SS.ffffff; got undefined",
        },
        {
          "document": 0,
          "index": 8,
          "reason": "\`time\` must be a date or YYYY-MM-DDTHH:MM:SS.ffffff; got undefined",
        },
      ]
    `);
    expect(lines.join()).not.toContain(long);

    const split = freshStore();
    expect((await moved(split, '--map', map, '--long-text', 'split')).counts.messages).toMatchObject({ imported: 2 });
    expect((await moved(split, '--map', map, '--long-text', 'split')).counts.messages).toMatchObject({ present: 2 });
    const [parts] = await contents(split, idOf(CONFIG, ANN, BOB));
    expect(parts?.messages.map(({ clientId, text }) => [clientId, text.length])).toEqual([
      [`import:${ids[0]}:1`, 10_000],
      [`import:${ids[0]}:1:1`, 1],
      [`import:${ids[0]}:4`, 4],
    ]);
  });

  test('run again adds what is new, after what was sent here meanwhile', async () => {
    const { args, collection } = await sourceWith({
      ...{ config_id: CONFIG, members: [ANN, BOB], message: [said(ANN, 'one', 1, BOB)] },
    });
    const to = freshStore();
    const again = async () => JSON.parse((await ran({}, ...args, '--to', to, '--json')).out).messages;
    expect(await again()).toEqual({ source: 1, imported: 1, present: 0, refused: 0 });
    expect(await again()).toEqual({ source: 1, imported: 0, present: 1, refused: 0 });
    const id = idOf(CONFIG, ANN, BOB);
    await reading(to, async (store) => {
      const conversation = await store.conversation(id);
      const here = message(id, 2, { text: 'sent here', sender: BOB, sentAt: DAY + 90_000 });
      await store.write(writeOn(conversation as Conversation, { messages: [here] }));
    });
    await collection.updateOne({}, { $push: { message: said(ANN, 'two', 2, BOB) } as Document });
    expect(await again()).toEqual({ source: 2, imported: 1, present: 1, refused: 0 });
    const [found] = await contents(to, id);
    expect(found?.messages.map(summary)).toEqual([
      [1, ANN, 'one', 1.123],
      [2, BOB, 'sent here', 90],
      [3, ANN, 'two', 90],
    ]);
    // Nothing is known of the message between.
    expect([ANN, BOB].map((member) => found?.conversation?.members.get(member)?.readSeq)).toEqual([1, 1]);
  });

  test('a left-out sender that is new at the second run belongs to the conversation of the first', async () => {
    const { args, collection } = await sourceWith({
      ...{ config_id: CONFIG, members: [ANN], message: [said(BOB, 'one', 1)] },
    });
    const to = freshStore();
    const again = async () => JSON.parse((await ran({}, ...args, '--to', to, '--json')).out).messages;
    expect(await again()).toMatchObject({ imported: 1 });
    await collection.updateOne(
      {},
      { $push: { message: { $each: [said(CAT, 'two', 2), said(BOB, 'three', 3)] } } as Document },
    );
    expect(await again()).toEqual({ source: 3, imported: 1, present: 1, refused: 1 });
    const id = idOf(CONFIG, ANN, BOB);
    await reading(to, async (store) => {
      const conversation = (await store.conversation(id)) as Conversation;
      const added = message(id, 3, { kind: 'SYSTEM', text: 'added', sentAt: DAY + 4000 });
      const joined = { at: DAY, readSeq: 3, seen: 2 };
      await store.write(writeOn(conversation, { messages: [added], members: [{ email: CAT, joined, leftAt: null }] }));
    });
    expect(await again()).toEqual({ source: 3, imported: 1, present: 2, refused: 0 });
    const [found] = await contents(to, id);
    expect(found?.messages.map(({ text }) => text)).toEqual(['one', 'three', 'added', 'two']);
  });

  test('a left-out sender that is new belongs to its conversation, however much came before it there', async () => {
    const document = new ObjectId();
    const { args, collection } = await sourceWith(
      {
        config_id: CONFIG,
        members: [ANN, BOB],
        message: Array.from({ length: 101 }, (_, i) => wrote(ANN, `${i}`, 0, true)),
      },
      { _id: document, config_id: CONFIG, members: [ANN], message: [said(BOB, 'one', 1)] },
      { config_id: CONFIG, members: [ANN, BOB, CAT], message: [said(CAT, 'of three', 1)] },
    );
    const to = freshStore();
    const again = async () => JSON.parse((await ran({}, ...args, '--to', to, '--json')).out).messages;
    expect(await again()).toMatchObject({ imported: 103 });
    await collection.updateOne({ _id: document }, { $push: { message: said(CAT, 'two', 2) } as Document });
    expect(await again()).toEqual({ source: 104, imported: 0, present: 103, refused: 1 });
  });

  test('a source whose list lost a message adds nothing twice, and nothing passes for another', async () => {
    const { args, collection } = await sourceWith({
      ...{ config_id: CONFIG, members: [ANN, BOB] },
      message: [said(ANN, 'a', 1), said(BOB, 'b', 2), said(ANN, 'c', 3)],
    });
    const to = freshStore();
    const again = async () => JSON.parse((await ran({}, ...args, '--to', to, '--json')).out).messages;
    await again();
    await collection.updateOne({}, { $pull: { message: { text: 'b' } } as Document });
    await collection.updateOne({}, { $push: { message: said(ANN, 'd', 4) } as Document });
    expect(await again()).toEqual({ source: 3, imported: 0, present: 1, refused: 2 });
    const [found] = await contents(to, idOf(CONFIG, ANN, BOB));
    expect(found?.messages.map(({ text }) => text)).toEqual(['a', 'b', 'c']);
  });

  test('a message sent here with the client id of one of the source does not pass for it', async () => {
    const { moved, collection } = await sourceWith({
      ...{ config_id: CONFIG, members: [ANN, BOB], message: [said(ANN, 'true', 1), said(ANN, 'two', 2)] },
    });
    const to = freshStore();
    const { _id } = (await collection.findOne()) as Document;
    await reading(to, (store) => {
      return store.write(writeOf(CONFIG, [ANN, BOB], 0, 1, { text: 'false', clientId: `import:${_id}:0` }));
    });
    expect((await moved(to)).counts.messages).toEqual({ source: 2, imported: 1, present: 0, refused: 1 });
  });

  test.each(['SQLite', 'MongoDB'])(
    'run again leaves edits, redactions and closed conversations of %s alone',
    async (kind) => {
      const { args, collection } = await sourceWith({
        ...{ config_id: CONFIG, members: [ANN, BOB], message: [said(ANN, 'edited', 1, BOB), said(BOB, 'redacted', 2)] },
      });
      const to = kind === 'SQLite' ? freshStore() : replicaSet.replace(/\/(?=\?|$)/, `/new-${randomUUID()}`);
      const again = async () => JSON.parse((await ran({}, ...args, '--to', to, '--json')).out).messages;
      await again();
      const id = idOf(CONFIG, ANN, BOB);
      await reading(to, async (store) => {
        const conversation = (await store.conversation(id)) as Conversation;
        const [one, two] = (await store.messages(id, 1, 2)) as [Message, Message];
        const changed = [edited(one, 3, 'new'), redacted(two, 4)];
        const state = { status: 'CLOSED', labels: [], assignee: null } as const;
        await store.write(writeOn(conversation, { changed, state }));
      });
      await collection.updateOne({}, { $push: { message: said(ANN, 'late', 3) } as Document });
      expect(await again()).toEqual({ source: 3, imported: 0, present: 2, refused: 1 });
      const [found] = await contents(to, id);
      expect(found?.messages.map(({ text }) => text)).toEqual(['new', '']);
    },
  );

  test('takes odd fields for what they are, and orders by microseconds', async () => {
    const big = (digits: string) => Long.fromString(`12345678901234567${digits}`) as unknown as ObjectId;
    const far = { ...said(ANN, 'far', 1), time: new Date(Date.UTC(10_000, 0)) };
    const readers = { ...said(BOB, 'readers', 1), is_read: [{ toString: 1 }, null, ANN] };
    const { moved } = await sourceWith(
      {
        ...{ _id: big('88'), config_id: CONFIG, members: [ANN, BOB], subject: [{ label: { a: 1 } }], party: 'Acme' },
        message: [{ ...said(ANN, 'later', 0), time: '2021-06-01T00:00:00.000900' }, readers, far],
      },
      {
        ...{ _id: big('89'), config_id: CONFIG, members: [ANN, BOB], party: 'Other' },
        message: [{ ...said(BOB, 'sooner', 0), time: '2021-06-01T00:00:00.000100' }],
      },
    );
    const [to, report] = [freshStore(), join(directory, 'odd.ndjson')];
    const { counts } = await moved(to, '--report', report);
    expect(counts.messages).toEqual({ source: 4, imported: 3, present: 0, refused: 1 });
    const [found] = await contents(to, idOf(CONFIG, ANN, BOB));
    expect(found?.messages.map(({ text }) => text)).toEqual(['sooner', 'later', 'readers']);
    const reasons = readFileSync(report, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).reason);
    expect(reasons).toEqual([
      'left out: `subject` must be a string; got object',
      expect.stringContaining('left out: `party` is "Other", and another in an earlier document of c_'),
      '`time` must be a date or YYYY-MM-DDTHH:MM:SS.ffffff; got object',
    ]);
  });

  test('text that is not UTF-8 is refused alone', async () => {
    const { args } = await sourceWith({ config_id: 'other', members: [ANN, BOB], message: [said(ANN, 'a', 1)] });
    const odd = {
      config_id: CONFIG,
      members: [ANN, BOB],
      party: 'p~~',
      message: [said(ANN, 'fine', 1), said(BOB, 't~~', 2)],
    };
    await insertRaw(args[4] ?? '', odd);
    const report = join(directory, 'utf8.ndjson');
    const result = await ran({}, ...args, '--to', freshStore(), '--json', '--report', report);
    expect(JSON.parse(result.out).messages).toEqual({ source: 3, imported: 2, present: 0, refused: 1 });
    expect(readFileSync(report, 'utf8')).toMatch(/`party` must be UTF-8.*"index":1,"reason":"[^"]*UTF-8/s);
  });

  test('ends with one line where the report, the login or the source is none', async () => {
    const { args } = await sourceWith({ config_id: CONFIG, members: [ANN], message: [said(ANN, '', 1)] });
    const error = async (...all: string[]) => {
      const result = await ran({}, ...all);
      expect(result.code).toBe(1);
      return result.error
        .trimEnd()
        .split('\n')
        .filter((line) => !line.startsWith('{'));
    };
    const missing = join(directory, 'missing', 'report');
    expect(await error(...args, '--dry-run', '--report', missing)).toEqual([
      expect.stringContaining('kredichat: ENOENT'),
    ]);
    expect(await error(...args, '--dry-run', '--report', '/dev/full')).toEqual([
      expect.stringContaining('kredichat: ENOSPC'),
    ]);
    const login = args.with(2, replicaSet.replace('//', '//a:secret@'));
    expect(await error(...login, '--dry-run')).toEqual(['kredichat: Authentication failed.']);
    const wrong = args.with(4, 'wrong');
    expect(await error(...wrong, '--dry-run')).toEqual([
      'kredichat: wrong.conversation holds no document: is the name right?',
    ]);
  });

  test('a trial run writes nothing', async () => {
    const { moved } = await sourceWith({ config_id: CONFIG, members: [ANN, BOB], message: [said(ANN, 'one', 1)] });
    const to = freshStore();
    expect((await moved(to, '--dry-run')).counts).toMatchObject({ messages: { imported: 1 }, complete: true });
    expect(existsSync(to.replace('sqlite:', ''))).toBe(false);
  });

  test('says who ran it, and never a password', async () => {
    const { args } = await sourceWith({ config_id: CONFIG, members: [ANN, BOB], message: [said(ANN, 'one', 1)] });
    const { error } = await ran({}, ...args, '--dry-run');
    expect(JSON.parse(error)).toMatchObject({ audit: 'import', over: 'command', who: expect.any(String) });
    const refused = await ran({}, 'import', '--from', 'mongodb://a:secret@127.0.0.1:1/', '--database', 'd');
    expect(refused.code).toBe(1);
    expect(refused.error).toContain('ECONNREFUSED');
    expect(refused.error).not.toContain('secret');
    const odd = 'mongodb://a:sec/ret@127.0.0.1:1/?tlsCertificateKeyFilePassword=hidden';
    const invalid = await ran({}, 'import', '--from', odd, '--database', 'd', '--to', 'memory:');
    expect(invalid.code).toBe(1);
    expect(invalid.error).toContain('memory:, which has no file');
    expect(invalid.error).not.toMatch(/sec|hidden/);
  });

  test('killed at ten random moments and run again equals one run in peace', async () => {
    const documents = Array.from({ length: 60 }, (_, i) => ({
      config_id: `config ${i % 50}`,
      members: [ANN, BOB],
      message: Array.from({ length: 10 + ((i * 37) % 300) }, (_, k) =>
        said(k % 2 ? ANN : BOB, `${i} ${k}`, (k * 7) % 60, k < 5 ? ANN : BOB, BOB),
      ),
    }));
    const ids = Array.from({ length: 50 }, (_, i) => idOf(`config ${i}`, ANN, BOB));
    const { args, moved } = await sourceWith(...documents);
    const peace = freshStore();
    const started = performance.now();
    expect((await moved(peace)).counts.complete).toBe(true);
    const took = performance.now() - started;
    const to = freshStore();
    for (let i = 0; i < 10; i++) {
      const child = run({}, ...args, '--to', to);
      await Promise.race([once(child, 'exit'), delay(took * (0.2 + 0.8 * Math.random()))]);
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    const { counts } = await moved(to);
    expect(counts.complete).toBe(true);
    const unsalted = (all: Contents) =>
      all.map((one) => ({
        conversation: one?.conversation && withoutLast(one.conversation),
        messages: one?.messages.map(({ record, ...message }) => message),
      }));
    expect(unsalted(await contents(to, ...ids))).toEqual(unsalted(await contents(peace, ...ids)));
  });

  test('100,000 messages in one document take less than 200 MB of memory', async () => {
    const list = Array.from({ length: 100_000 }, (_, i) =>
      said(i % 2 ? ANN : BOB, `message ${i} of many`, i % 60, ANN),
    );
    const { args } = await sourceWith({ config_id: CONFIG, members: [ANN, BOB], message: list });
    const child = run({}, ...args, '--to', freshStore(), '--json');
    let peak = 0;
    const timer = setInterval(() => {
      peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? peak);
    }, 50);
    const [code] = await once(child, 'exit');
    clearInterval(timer);
    expect(code).toBe(0);
    expect(peak).toBeGreaterThan(0);
    expect(peak).toBeLessThan(200_000);
  });
});

test.each([
  ['UTC', '2021-06-01T10:20:30.123456', '2021-06-01T10:20:30.123Z'],
  ['Asia/Kolkata', '2021-06-01T10:20:30', '2021-06-01T04:50:30.000Z'],
  ['Europe/Berlin', '2021-06-01 10:20:30.5', '2021-06-01T08:20:30.500Z'],
  ['Europe/Berlin', '2021-06-01T10:20:30Z', '2021-06-01T10:20:30.000Z'],
  ['Europe/Berlin', '2021-06-01T10:20:30-03:30', '2021-06-01T13:50:30.000Z'],
  // Twice in that night, and not at all in the other.
  ['Europe/Berlin', '2021-10-31T02:30:00', '2021-10-31T00:30:00.000Z'],
  ['Europe/Berlin', '2021-03-28T02:30:00', '2021-03-28T01:30:00.000Z'],
])('in %s, %s is %s', (zone, text, expected) => {
  expect(new Date(instantIn(zone, text) ?? Number.NaN).toISOString()).toBe(expected);
});

test.each(['', 'yesterday', '2021-02-30T00:00:00', '2021-06-01', '2021-06-01T24:00:01', '1622541600'])(
  '%j is no time',
  (text) => {
    expect(instantIn('UTC', text)).toBe(null);
  },
);

test('a map of addresses takes names with commas and quotes', () => {
  const csv =
    '\ufeffName,Address\r\nPlain, p@example.com\r\n"Doe, ""J"" ",j@example.com\r\nB, C,"b@example.com"\r\n\r\n';
  expect([...readAddresses(csv)]).toEqual([
    ['name', 'Address'],
    ['plain', 'p@example.com'],
    ['doe, "j"', 'j@example.com'],
    ['b, c', 'b@example.com'],
  ]);
});
