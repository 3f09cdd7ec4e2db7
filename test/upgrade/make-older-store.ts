/**
 * Makes the stores of the older program that `older-store.test.ts` opens: `older-store.db` (SQLite) and
 * `older-store.ndjson` (MongoDB, a line of extended JSON for each document, with the name of its collection). Both
 * hold the same contents, as the older program writes them with this clock. Made once, and not to be made again:
 *
 *   npx tsx test/upgrade/make-older-store.ts
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { BSON, MongoClient } from 'mongodb';
import { post } from '../support/clients.ts';
import { findMongod } from '../support/mongod.ts';
import { startReplicaSet } from '../support/replica-set.ts';
import { buildOlderProgram } from './older-program.ts';

const [ANN, BOB, CAT, DAN] = ['ann@example.com', 'bob@example.com', 'cat@example.com', 'dan@example.com'];

const older = buildOlderProgram();
const part = (path: string) => import(join(older.folder, 'dist', path));
const { createServer } = await part('server.js');
const { readConfig } = await part('config.js');
const { createLogger } = await part('observability/logger.js');

/** Chats on a store of the older program by its API: the same on each store. */
async function chatOn(store: { close(): Promise<void> }): Promise<void> {
  const config = readConfig({ PORT: '0', LOG_LEVEL: 'silent', RATE_LIMIT_MESSAGES: '0' });
  let now = Date.parse('2026-01-05T09:00:00Z');
  const server = createServer({ config, store, clock: () => now, logger: createLogger('silent', process.stdout) });
  const url = await server.listen();
  async function run(user: string, field: string, input: object) {
    now += 60_000;
    const type = `${field[0]?.toUpperCase()}${field.slice(1)}Input!`;
    const result = /Message$/.test(field) ? 'message { seq conversationId }' : 'conversation { id }';
    const mutation = `mutation ($input: ${type}) { ${field}(input: $input) { ${result} } }`;
    const { data, errors } = await post(url, user, mutation, { input });
    if (!data) throw new Error(`${field}: ${JSON.stringify(errors)}`);
    return data[field];
  }
  async function open(configId: string, members: string[], text: string, about = {}): Promise<string> {
    const to = { key: { configId, members } };
    return (await run(ANN, 'sendMessage', { to, text, clientId: 'first', ...about })).message.conversationId;
  }
  const send = (user: string, id: string, text: string, more = {}) =>
    run(user, 'sendMessage', { to: { id }, text, ...more });
  const update = (user: string, id: string, change: object) =>
    run(user, 'updateConversation', { conversationId: id, ...change });
  const read = (user: string, id: string, seq: number) => run(user, 'markRead', { conversationId: id, seq });
  const edit = (user: string, id: string, seq: number, text: string) =>
    run(user, 'editMessage', { conversationId: id, seq, text });
  const redact = (user: string, id: string, seq: number) =>
    run(user, 'redactMessage', { conversationId: id, seq, reason: 'a slip' });
  const view = (user: string, id: string, change: object) => run(user, 'updateView', { conversationId: id, ...change });

  // A long conversation: replies, edits, redactions, read positions, a member that left.
  const one = await open('invoice-1', [ANN, BOB, CAT], 'Invoice 1 is due', { subject: 'Invoice 1', party: 'Acme' });
  for (let i = 2; i <= 60; i++)
    await send([ANN, BOB, CAT][i % 3] ?? ANN, one, `text ${i} – é 上海 😀`, {
      clientId: `id ${i}`,
      ...(i % 7 === 0 && { replyToSeq: i - 3 }),
    });
  await edit(BOB, one, 4, 'text 4, corrected');
  await edit(BOB, one, 4, 'text 4, corrected twice');
  await edit(ANN, one, 57, 'text 57, corrected');
  await redact(CAT, one, 5);
  await redact(BOB, one, 7);
  await read(BOB, one, 20);
  await read(CAT, one, 60);
  await update(ANN, one, { addLabels: ['urgent', 'disputed'], assignee: BOB, status: 'PENDING' });
  await update(CAT, one, { removeMembers: [CAT] });
  await redact(ANN, one, 54);

  // A conversation with long texts, archived and muted by one member and pinned by the other.
  const two = await open('invoice-2', [ANN, BOB], 'long '.repeat(1900));
  await send(BOB, two, 'longer '.repeat(1300));
  await edit(BOB, two, 2, 'shorter');
  await view(BOB, two, { archived: true, muted: true });
  await view(ANN, two, { pinned: true });
  await send(ANN, two, 'Please answer');

  // Archived, then a batch, members that join, and a closed conversation.
  const three = await open('invoice-3', [ANN, CAT], 'One moment');
  await view(CAT, three, { archived: true });
  await run(ANN, 'sendMessages', {
    to: { id: three },
    messages: Array.from({ length: 30 }, (_, i) => ({ text: `row ${i}`, clientId: `row ${i}` })),
  });
  await update(ANN, three, { addMembers: [DAN] });
  await send(DAN, three, 'Hello');
  await read(ANN, three, 10);
  const four = await open('invoice-4', [ANN, BOB], 'Paid');
  await view(BOB, four, { archived: true });
  await update(ANN, four, { status: 'CLOSED' });
  await server.close();
}

const file = join(mkdtempSync(join(tmpdir(), 'kredichat-older-store-')), 'older.db');
const { openSqlite } = await part('store/sqlite/sqlite.js');
const sqlite = await openSqlite(file);
await chatOn(sqlite);
await sqlite.close();
const db = new Database(file);
db.prepare('VACUUM INTO ?').run(join(import.meta.dirname, 'older-store.db'));
db.close();

const set = await startReplicaSet(1, [], await findMongod());
const { openMongo } = await part('store/mongo/mongo.js');
const mongo = await openMongo(set.uri('older'));
await chatOn(mongo);
await mongo.close();
const client = await MongoClient.connect(set.uri('older'));
const lines: string[] = [];
for (const collection of ['conversations', 'messages', 'probes'])
  for await (const document of client.db('older').collection(collection).find().sort({ _id: 1 }))
    lines.push(BSON.EJSON.stringify({ collection, document }, { relaxed: false }));
writeFileSync(join(import.meta.dirname, 'older-store.ndjson'), `${lines.join('\n')}\n`);
await client.close();
await set.stop();
older.remove();
process.exit(0);
