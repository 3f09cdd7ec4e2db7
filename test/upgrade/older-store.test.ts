import { randomUUID } from 'node:crypto';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BSON, type Document, MongoClient } from 'mongodb';
import { expect, inject, test } from 'vitest';
import { type ConversationId, conversationId, type EmailAddress, type Message } from '../../src/model.ts';
import { openMongo } from '../../src/store/mongo/mongo.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { ANN, BOB, CAT, EVERYTHING, email, withoutLast } from '../store/writes.ts';
import { post } from '../support/clients.ts';
import { processes } from '../support/process.ts';
import { startServer } from '../support/server.ts';
import { recount } from './recount.ts';

const { directory, ran } = processes();
const DAN = email('dan');
const idOf = (configId: string, ...members: EmailAddress[]) => conversationId({ configId, members: members.sort() });
const IDS = [
  idOf('invoice-1', ANN, BOB, CAT),
  idOf('invoice-2', ANN, BOB),
  idOf('invoice-3', ANN, CAT),
  idOf('invoice-4', ANN, BOB),
];
const [ONE] = IDS as [ConversationId];

/** A copy of the SQLite file that the older program wrote. */
function sqliteFile(): string {
  const file = join(directory, `${randomUUID()}.db`);
  copyFileSync(join(import.meta.dirname, 'older-store.db'), file);
  return file;
}

/** A database with the documents that the older program wrote. */
async function mongoUrl(): Promise<string> {
  const url = String(inject('replicaSet')).replace(/\/(?=\?|$)/, `/older-${randomUUID()}`);
  const client = await MongoClient.connect(url);
  const lines = readFileSync(join(import.meta.dirname, 'older-store.ndjson'), 'utf8')
    .trimEnd()
    .split('\n');
  const documents = lines.map((line) => BSON.EJSON.parse(line, { relaxed: false }) as Document);
  const db = client.db(new URL(url).pathname.slice(1));
  for (const name of new Set(documents.map(({ collection }) => collection)))
    await db.collection(name).insertMany(
      documents.filter(({ collection }) => collection === name).map(({ document }) => document),
      { writeConcern: { w: 'majority' } },
    );
  await client.close();
  return url;
}

/** A message with the names of its salts. */
function withoutSalts({ record, revisions, ...message }: Message) {
  return {
    ...{ ...message, record: Object.keys(record?.salts ?? {}).sort() },
    revisions: revisions.map(({ salt, ...revision }) => ({ ...revision, isSalted: salt !== null })),
  };
}

/** Everything that a store holds of the conversations, and what it computes for members. */
async function contentsOf(store: Store) {
  const conversations = await Promise.all(
    IDS.map(async (id) => {
      const [state, log] = [await store.conversation(id), await store.messages(id, 1, 1000)];
      if (!state) throw new Error(`${id} is missing`);
      const { stored, byLog } = recount(state, log);
      expect(stored).toEqual(byLog);
      expect(log.map(({ seq }) => seq)).toEqual(Array.from({ length: state.lastSeq }, (_, index) => index + 1));
      const changes = (await store.changes(id, 0, 1000)).map(({ seq, rev }) => [seq, rev]);
      return { state: withoutLast(state), log: log.map(withoutSalts), changes };
    }),
  );
  /** For each member the present and the archived conversations, and what is unread in them. */
  const lists = await Promise.all(
    [ANN, BOB, CAT, DAN].flatMap((reader) =>
      [false, true].map(async (archived) => {
        const filter = { ...EVERYTHING, archived };
        const { conversations } = await store.chatList(reader, filter, { first: 10, after: null });
        return [conversations.map(({ id }) => id), await store.unreadTotal(reader, filter)];
      }),
    ),
  );
  return { conversations, lists };
}

/** Sends, edits and redacts over a server, and checks the log and the counters after it. */
async function use(store: Store): Promise<void> {
  const { url } = await startServer({}, { store });
  const before = (await store.conversation(ONE))?.lastSeq ?? 0;
  const run = async (user: string, mutation: string) =>
    expect((await post(url, user, `mutation { ${mutation} }`)).errors).toBeUndefined();
  const message = `conversationId: "${ONE}", seq:`;
  await run(ANN, `sendMessage(input: { to: { id: "${ONE}" }, text: "new" }) { deduplicated }`);
  await run(
    ANN,
    `sendMessage(input: { to: { id: "${ONE}" }, text: "Invoice 1 is due", clientId: "first" }) { deduplicated }`,
  );
  await run(BOB, `editMessage(input: { ${message} 4, text: "edited later" }) { message { seq } }`);
  await run(ANN, `redactMessage(input: { ${message} 57, reason: "a slip" }) { message { seq } }`);
  const { conversations } = await contentsOf(store);
  const { log = [] } = conversations[0] ?? {};
  // The conversation is reopened by the new text; the first message is not stored again.
  expect(log.slice(before)).toMatchObject([{ kind: 'SYSTEM' }, { text: 'new' }]);
  const texts = ['text 4 – é 上海 😀', 'text 4, corrected', 'text 4, corrected twice'];
  expect(log[3]).toMatchObject({ text: 'edited later', origin: null, revisions: texts.map((text) => ({ text })) });
  expect(log[56]).toMatchObject({ text: '', redactionReason: 'a slip', revisions: [] });
}

test('a SQLite file of the older program is read, checked and written', async () => {
  const file = sqliteFile();
  const environment = { STORE_URL: `sqlite:${file}` };
  for (const args of [['check'], ['export', '--all', '--to', join(directory, 'export')]])
    expect(await ran(environment, ...args)).toMatchObject({
      code: 1,
      error: expect.stringContaining(': start the server once to update it'),
    });
  expect((await ran(environment, 'backup', join(directory, 'backup'))).code).toBe(0);
  const store = await openSqlite(file);
  const { conversations, lists } = await contentsOf(store);
  expect(conversations.map(({ state, log }) => [state.status, log.length, state.counted])).toEqual([
    ['PENDING', 62, 57],
    ['OPEN', 3, 3],
    ['OPEN', 33, 32],
    ['CLOSED', 2, 1],
  ]);
  const [one, two, three, four] = IDS;
  expect(lists).toEqual([
    ...[
      [[two, four, three, one], 39],
      [[], 0],
    ],
    ...[
      [[one], 26],
      [[four, two], 0],
    ],
    ...[
      [[three], 32],
      [[], 0],
    ],
    ...[
      [[three], 0],
      [[], 0],
    ],
  ]);
  await use(store);
  await store.close();
  expect(await ran(environment, 'check')).toMatchObject({
    code: 0,
    out: '102 messages: no faults\n',
  });
});

test.runIf(inject('replicaSet'))(
  'a MongoDB database of the older program has the same contents, and is written',
  async () => {
    const [mongo, sqlite] = [await openMongo(await mongoUrl()), await openSqlite(sqliteFile())];
    // The record begins when the registrar asks for what is not registered; a SQLite file has it from the migration.
    expect(await mongo.unregistered(10)).toHaveLength(IDS.length);
    expect(await contentsOf(mongo)).toEqual(await contentsOf(sqlite));
    await sqlite.close();
    await use(mongo);
  },
);
