import { randomUUID } from 'node:crypto';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'libsql';
import { type Document, MongoClient } from 'mongodb';
import { inject, onTestFinished } from 'vitest';
import { check } from '../../src/commands/check.ts';
import { type Config, readConfig } from '../../src/config.ts';
import { createLogger, type Logger } from '../../src/observability/logger.ts';
import { createKey, loadKeys } from '../../src/record/keys.ts';
import { createServer } from '../../src/server.ts';
import { openMongo } from '../../src/store/mongo/mongo.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { post } from '../support/clients.ts';

export const KINDS = ['sqlite', 'mongodb'] as const;
export const replicaSet = inject('replicaSet');

/** A message as it is stored, by the names of the model. */
export type Raw = Record<string, unknown> & { seq: number; rev: number; addedRev?: number | null };
/** A member as it is stored. */
type RawMember = Record<string, unknown> & { email: string; readSeq: number };

/** The stored rows or documents of a conversation, open to changes. */
export interface Stored {
  head: Record<string, unknown> & { lastSeq: number; lastRev: number };
  messages: Raw[];
  members: RawMember[];
}

/** A database with its key and the folder of what is published. */
export interface Rig {
  readonly environment: Record<string, string>;
  open(): Promise<Store>;
  /** The same contents in another database. */
  copy(): Promise<Rig>;
  /** Rewrites a conversation past the program, its counters of unread messages included. */
  rewrite(configId: string, change: (stored: Stored) => void): Promise<void>;
  /** Forgets the register; everything is to be registered anew. */
  forgetRegister(): Promise<void>;
}

/** A fresh, empty one. */
export function rigOf(kind: (typeof KINDS)[number], directory: string): Rig {
  const folder = join(directory, randomUUID());
  mkdirSync(folder);
  const key = join(folder, 'key.pem');
  createKey(key);
  const record = { RECORD_KEY_FILE: key, RECORD_PUBLISH: join(folder, 'published') };
  return kind === 'sqlite' ? sqliteAt(join(folder, `${randomUUID()}.db`), record) : mongoAt(randomUUID(), record);
}

function sqliteAt(path: string, record: Record<string, string>): Rig {
  const environment = { STORE_URL: `sqlite:${path}`, ...record };
  const use = <T>(work: (db: Database.Database) => T): T => {
    const db = new Database(path);
    try {
      return work(db);
    } finally {
      db.close();
    }
  };
  return {
    environment,
    open: () => openSqlite(path),
    async copy() {
      use((db) => db.exec('PRAGMA wal_checkpoint(TRUNCATE)'));
      const to = path.replace(/[^/]+$/, `${randomUUID()}.db`);
      copyFileSync(path, to);
      return sqliteAt(to, record);
    },
    async rewrite(configId, change) {
      use((db) => {
        db.exec('BEGIN');
        const row = (sql: string, ...args: unknown[]) =>
          db
            .prepare(sql)
            .all(args)
            .map((one) => fromRow(one as never));
        const [head] = row('SELECT * FROM conversations WHERE config_id = ?', configId);
        const pk = head?.pk;
        const stored = {
          head,
          messages: row('SELECT * FROM messages WHERE conversation = ? ORDER BY seq', pk),
          members: row('SELECT * FROM members WHERE conversation = ?', pk),
        } as unknown as Stored;
        change(stored);
        recount(stored);
        for (const table of ['messages', 'members'] as const) {
          db.prepare(`DELETE FROM ${table} WHERE conversation = ?`).run(pk);
          for (const one of stored[table]) {
            const columns = toRow(one);
            const names = Object.keys(columns);
            const marks = names.map(() => '?');
            db.prepare(`INSERT INTO ${table} (${names}) VALUES (${marks})`).run(Object.values(columns));
          }
        }
        const { lastSeq, lastRev, counted } = stored.head;
        const set = 'UPDATE conversations SET last_seq = ?, last_rev = ?, counted = ? WHERE pk = ?';
        db.prepare(set).run(lastSeq, lastRev, counted, pk);
        db.exec('COMMIT');
      });
    },
    async forgetRegister() {
      use((db) =>
        db.exec(`DELETE FROM register; DELETE FROM tiles; UPDATE record SET size = 0, checkpoint = NULL,
          checkpoint_size = 0; UPDATE conversations SET unregistered = 1, registered_rev = 0;
          UPDATE members SET unsealed = 1 WHERE read_seq > 0`),
      );
    },
  };
}

const JSON_COLUMNS = ['record', 'revisions', 'origin'];
const fromRow = (row: Record<string, unknown>) =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
      JSON_COLUMNS.includes(name) && value !== null ? JSON.parse(String(value)) : value,
    ]),
  );
const toRow = (fields: Record<string, unknown>) =>
  Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value !== null && typeof value === 'object' ? JSON.stringify(value) : value,
    ]),
  );

function mongoAt(name: string, record: Record<string, string>): Rig {
  const url = String(replicaSet).replace(/\/(?=\?|$)/, `/rig-${name}`);
  const use = async <T>(work: (client: MongoClient) => Promise<T>): Promise<T> => {
    const client = await MongoClient.connect(url, { writeConcern: { w: 'majority' } });
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  };
  return {
    environment: { STORE_URL: url, ...record },
    open: () => openMongo(url),
    async copy() {
      const to = randomUUID();
      await use(async (client) => {
        const [from, target] = [client.db(`rig-${name}`), client.db(`rig-${to}`)];
        for (const { name } of await from.listCollections().toArray()) {
          const documents = await from.collection(name).find().toArray();
          if (documents.length > 0) await target.collection(name).insertMany(documents);
        }
      });
      return mongoAt(to, record);
    },
    async rewrite(configId, change) {
      await use(async (client) => {
        const db = client.db(`rig-${name}`);
        const { _id, tail, changed, members, ...head } = (await db
          .collection('conversations')
          .findOne({ configId })) as Document;
        const moved = await db.collection('messages').find({ conversation: _id }).toArray();
        const newest = new Map<number, Document>();
        for (const one of [...moved, ...(tail ?? []), ...(changed ?? [])])
          if (one.rev >= (newest.get(one.seq)?.rev ?? 0)) newest.set(one.seq, one);
        const messages = [...newest.values()].sort((a, b) => a.seq - b.seq).map(({ changing, ...rest }) => rest);
        const stored = { head, messages, members } as unknown as Stored;
        change(stored);
        recount(stored);
        const { lastSeq, lastRev, counted } = stored.head;
        await db.collection('messages').deleteMany({ conversation: _id });
        const documents = stored.messages.map((one) => ({ ...one, _id: `${_id}:${one.seq}` }));
        await db.collection('messages').insertMany(documents as never);
        const set = { lastSeq, lastRev, counted, members: stored.members, tail: documents.slice(-1) };
        await db.collection('conversations').updateOne({ _id }, { $set: set, $unset: { changed: '' } });
      });
    },
    async forgetRegister() {
      await use(async (client) => {
        const db = client.db(`rig-${name}`);
        for (const name of ['register', 'tiles', 'record']) await db.collection(name).deleteMany({});
        const { ObjectId } = await import('mongodb');
        const marks = { unregistered: new ObjectId(), unsealed: new ObjectId() };
        await db.collection('conversations').updateMany({}, { $set: { record: marks } });
      });
    },
  };
}

/** Makes the counters of unread messages right. */
function recount({ head, messages, members }: Stored): void {
  const counted = messages.filter(({ kind, redactedAt }) => kind === 'TEXT' && (redactedAt ?? null) === null);
  head.counted = counted.length;
  for (const member of members) {
    member.sent = counted.filter(({ sender }) => sender === member.email).length;
    member.seen = counted.filter(({ sender, seq }) => sender !== member.email && seq <= member.readSeq).length;
  }
}

export function configOf({ environment }: Pick<Rig, 'environment'>): Config {
  const quick = { PORT: '0', LOG_LEVEL: 'silent', RATE_LIMIT_MESSAGES: '0', DRAIN_SPREAD_SECONDS: '0' };
  return readConfig({ ...quick, ...environment });
}

/** A server on it, of this process. */
export async function serve(rig: Rig, given: { store?: Store; logger?: Logger; isShared?: boolean } = {}) {
  const config = configOf(rig);
  const store = given.store ?? (await rig.open());
  const logger = given.logger ?? createLogger('silent', process.stdout);
  const keys = loadKeys(config.record.keyFiles, config.record.origin);
  const server = createServer({ config, store, keys, clock: Date.now, logger });
  const url = await server.listen();
  let ended: Promise<void> | null = null;
  const end = async () => {
    await server.close();
    await store.close();
  };
  const stop = () => {
    ended ??= end();
    return ended;
  };
  if (!given.isShared) onTestFinished(stop);
  return { url, store, stop, chat: chatOn(url) };
}

/** What clients do, by `configId`; everything must succeed. */
function chatOn(url: string) {
  const ids = new Map<string, string>();
  async function run(user: string, field: string, type: string, input: object, selection = '__typename') {
    const query = `mutation ($input: ${type}!) { ${field}(input: $input) { ${selection} } }`;
    const { data, errors } = await post(url, user, query, { input });
    if (errors) throw new Error(JSON.stringify(errors));
    return data[field];
  }
  const at = (configId: string) => ({ conversationId: ids.get(configId) });
  return {
    ids,
    async open(configId: string, members: readonly string[], text: string): Promise<string> {
      const input = { to: { key: { configId, members } }, text };
      const { conversation } = await run(
        members[0] ?? '',
        'sendMessage',
        'SendMessageInput',
        input,
        'conversation { id }',
      );
      ids.set(configId, conversation.id);
      return conversation.id;
    },
    say: (configId: string, user: string, texts: readonly string[]) =>
      run(user, 'sendMessages', 'SendMessagesInput', {
        to: { id: ids.get(configId) },
        messages: texts.map((text) => ({ text, clientId: randomUUID() })),
      }),
    edit: (configId: string, user: string, seq: number, text: string) =>
      run(user, 'editMessage', 'EditMessageInput', { ...at(configId), seq, text }),
    redact: (configId: string, user: string, seq: number) =>
      run(user, 'redactMessage', 'RedactMessageInput', { ...at(configId), seq, reason: 'a slip' }),
    read: (configId: string, user: string, seq: number) =>
      run(user, 'markRead', 'MarkReadInput', { ...at(configId), seq }),
    update: (configId: string, user: string, changes: object) =>
      run(user, 'updateConversation', 'UpdateConversationInput', { ...at(configId), ...changes }),
  };
}

export type Chat = ReturnType<typeof chatOn>;

/** The faults that `kredichat check` finds. */
export async function faultsOf(rig: Pick<Rig, 'environment'>): Promise<readonly string[]> {
  return (await check(configOf(rig), () => {})).faults;
}

/** The verifier key of a rig. */
export function vkeyOf(rig: Rig): string {
  const { record } = configOf(rig);
  return loadKeys(record.keyFiles, record.origin).signers[0]?.vkey ?? '';
}
