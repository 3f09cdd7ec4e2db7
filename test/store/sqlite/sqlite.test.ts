import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import type { ConversationId } from '../../../src/model.ts';
import { SQL } from '../../../src/store/sqlite/reader.ts';
import { RECORD_SQL } from '../../../src/store/sqlite/record/reader.ts';
import { migrate, VERSION } from '../../../src/store/sqlite/schema.ts';
import { createScrubber } from '../../../src/store/sqlite/scrubber.ts';
import { matchOf } from '../../../src/store/sqlite/search/search-index.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { StoreUnavailable } from '../../../src/store/store.ts';
import { termsOf } from '../../../src/store/tokenizer.ts';
import { storeContract } from '../contract.ts';
import { ANN, BOB, CAT, EVERYTHING, edited, message, redacted, unreadIn, writeOf, writeOn } from '../writes.ts';

const root = mkdtempSync(join(tmpdir(), 'kredichat-sqlite-'));
afterAll(() => rmSync(root, { recursive: true }));
let files = 0;
const freshFile = () => join(root, `${++files}`, 'kredichat.db');

storeContract('memory', () => openSqlite(':memory:'));
storeContract('file', () => openSqlite(freshFile()));

/** Runs a script that has `openSqlite` in a process of its own. */
function run(script: string) {
  const sqlite = JSON.stringify(join(import.meta.dirname, '../../../dist/store/sqlite/sqlite.js'));
  const source = join(root, 'script.mjs');
  writeFileSync(source, `const { openSqlite } = await import(${sqlite}); ${script}`);
  return spawn(process.execPath, [source], { stdio: ['ignore', 'pipe', 'inherit'] });
}

describe('opening a file', () => {
  async function filled(): Promise<string> {
    const file = freshFile();
    const store = await openSqlite(file);
    for (let i = 0; i < 200; i++) await store.write(writeOf('c', [ANN, BOB], i, 1, { text: 'x'.repeat(500) }));
    await store.close();
    return file;
  }

  async function refuses(file: string, reason: RegExp): Promise<void> {
    const dir = join(file, '..');
    const state = () =>
      readdirSync(dir)
        .filter((name) => !/-(lock|shm)$/.test(name))
        .map((name) => [name, readFileSync(join(dir, name)).toString('latin1')]);
    const before = state();
    await expect(openSqlite(file)).rejects.toThrow(reason);
    expect(state()).toEqual(before);
  }

  test('finds the stored data, all of it in one file', async () => {
    const file = await filled();
    for (const end of ['-wal', '-shm', '-lock']) rmSync(`${file}${end}`, { force: true });
    const store = await openSqlite(file);
    expect(await store.conversation(writeOf('c', [ANN, BOB], 0).conversation)).toMatchObject({ lastSeq: 200 });
    await store.close();
  });

  test('refuses a file that is not a database', async () => {
    const file = await filled();
    writeFileSync(file, 'This was a text file, and it is to stay one.\n'.repeat(100));
    await refuses(file, /is not a SQLite database, or it is damaged/);
    writeFileSync(file, 'short');
    await refuses(file, /is not a SQLite database, or it is damaged/);
  });

  test('refuses a damaged database', async () => {
    const file = await filled();
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.subarray(0, bytes.length / 2));
    await refuses(file, /is damaged/);
    writeFileSync(file, Buffer.concat([bytes.subarray(0, 8192), Buffer.alloc(40_960, 0x5a), bytes.subarray(49_152)]));
    await refuses(file, /is damaged/);
  });

  test('refuses another program’s database', async () => {
    const file = freshFile();
    const store = await openSqlite(file);
    await store.close();
    rmSync(file);
    const db = new Database(file);
    db.exec('CREATE TABLE notes (text TEXT)');
    db.close();
    await refuses(file, /belongs to another program/);
  });

  test('refuses a newer version', async () => {
    const file = await filled();
    const db = new Database(file);
    db.exec(`PRAGMA user_version = ${VERSION + 1}`);
    db.close();
    await refuses(file, new RegExp(`is of version ${VERSION + 1}, this program knows up to ${VERSION}`));
  });

  test('refuses a second process, until the first is gone', async () => {
    const file = await filled();
    const child = run(`await openSqlite(${JSON.stringify(file)}); console.log('open'); setInterval(() => {}, 1000);`);
    await once(child.stdout, 'data');
    await expect(openSqlite(file)).rejects.toThrow(/is in use by another process/);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const store = await openSqlite(file);
    expect(await store.conversation(writeOf('c', [ANN, BOB], 0).conversation)).toMatchObject({ lastSeq: 200 });
    await store.close();
  });

  test('refuses a second opening through a link', async () => {
    const file = await filled();
    const store = await openSqlite(file);
    symlinkSync(file, `${file}-link`);
    await expect(openSqlite(`${file}-link`)).rejects.toThrow(/is in use by another process/);
    await store.close();
  });

  test('locked by another process makes writes fail as not stored, and then recovers', async () => {
    const file = freshFile();
    const store = await openSqlite(file);
    const other = new Database(file);
    other.exec('BEGIN IMMEDIATE');
    const failed = await store.write(writeOf('c', [ANN, BOB], 0)).catch((error: unknown) => error);
    expect(failed).toMatchObject({ nothingWritten: true });
    await expect(store.ping()).rejects.toThrow();
    other.exec('ROLLBACK');
    other.close();
    await store.ping();
    expect(await store.write(writeOf('c', [ANN, BOB], 0))).toBe(true);
    await store.close();
  });

  test('recovers every complete transaction from a write-ahead log with a torn end', async () => {
    const file = freshFile();
    const writes = JSON.stringify(
      Array.from({ length: 20 }, (_, i) => writeOf('c', [ANN, BOB], i, 1, { text: 'x'.repeat(500) })),
    );
    const child = run(`const store = await openSqlite(${JSON.stringify(file)});
      for (const write of ${writes}) await store.write({ ...write, roles: new Map() });
      process.kill(process.pid, 'SIGKILL');`);
    await once(child, 'exit');
    const wal = `${file}-wal`;
    truncateSync(wal, readFileSync(wal).length - 100);
    const store = await openSqlite(file);
    const { conversation } = writeOf('c', [ANN, BOB], 0);
    const lastSeq = (await store.conversation(conversation))?.lastSeq ?? 0;
    expect(lastSeq).toBe(19);
    expect(await store.messages(conversation, 1, 20)).toHaveLength(19);
    expect(await store.write(writeOf('c', [ANN, BOB], 19))).toBe(true);
    await store.close();
  });
});

test('a write that violates a constraint fails alone, without the other writes of its group', async () => {
  const store = await openSqlite(freshFile());
  const pair = [ANN, BOB];
  await store.write(writeOf('c', pair, 0, 1, { clientId: 'once' }));
  const outcomes = await Promise.allSettled([
    store.write(writeOf('before', pair, 0)),
    store.write(writeOf('c', pair, 1, 1, { clientId: 'once' })),
    store.write(writeOf('after', pair, 0)),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(await store.conversation(writeOf('c', pair, 0).conversation)).toMatchObject({ lastSeq: 1 });
  expect(await store.messages(writeOf('after', pair, 0).conversation, 1, 9)).toHaveLength(1);
  await store.close();
});

test('a redacted text is nowhere in the file, regardless of the history of its page', async () => {
  const file = freshFile();
  const store = await openSqlite(file);
  const configs = Array.from({ length: 12 }, (_, i) => `c${i}`);
  const ids = configs.map((configId) => writeOf(configId, [ANN, BOB], 0).conversation);
  const name = (which: number, seq: number) => `secret${which}q${seq}z`;
  // In a script without spaces: two characters that are in the index together.
  const pair = (which: number, seq: number) => `${String.fromCodePoint(0x4e00 + which * 120 + seq)}密`;
  // Long and short texts in turns over many conversations: pages are split in their middle.
  for (let seq = 1; seq <= 120; seq++) {
    await Promise.all(
      configs.map((configId, which) => {
        const text =
          `${name(which, seq)} 甲${pair(which, seq)} ` +
          `${'x'.repeat((seq * 37 + which * 101) % (seq % 11 === 0 ? 6000 : 300))}`;
        return store.write(writeOf(configId, [ANN, BOB], seq - 1, 1, { text }));
      }),
    );
  }
  const gone: string[] = [];
  for (const [which, id] of ids.entries()) {
    for (let seq = 1; seq <= 120; seq += 3) {
      const { lastRev = 0 } = (await store.conversation(id)) ?? {};
      const [before] = await store.messages(id, seq, seq);
      if (!before) throw new Error('it was written');
      const second = edited(before, lastRev + 1, `${name(which, seq)} again ${pair(which, seq)}`);
      await store.write(writeOn({ id, lastRev }, { changed: [second] }));
      await store.write(writeOn({ id, lastRev: lastRev + 1 }, { changed: [redacted(second, lastRev + 2)] }));
      gone.push(name(which, seq), Buffer.from(pair(which, seq)).toString('latin1'));
    }
  }
  const left = () => {
    const bytes = [file, `${file}-wal`].map((path) => readFileSync(path, 'latin1')).join('');
    return gone.filter((text) => bytes.includes(text));
  };
  // Without a stop: the scrubber works as soon as it has been answered.
  await expect.poll(left).toEqual([]);
  await store.close();
  const db = new Database(file);
  expect(db.prepare('PRAGMA integrity_check').raw().get()).toEqual(['ok']);
  db.exec("INSERT INTO search (search) VALUES ('integrity-check')");
  db.close();
  const again = await openSqlite(file);
  const query = { terms: termsOf('secret0*'), conversation: null };
  expect((await again.search(BOB, query, { first: 1, after: null })).hits).toHaveLength(1);
  const kept = { terms: termsOf(pair(0, 2)), conversation: null };
  expect((await again.search(BOB, kept, { first: 9, after: null })).hits).toMatchObject([{ message: { seq: 2 } }]);
  expect(await again.messages(ids[0] as ConversationId, 2, 2)).toMatchObject([{ seq: 2, rev: 2 }]);
  await again.close();
});

describe('the scrubber', () => {
  async function open() {
    const file = freshFile();
    await (await openSqlite(file)).close();
    const [db, other] = [new Database(file), new Database(file)];
    onTestFinished(() => {
      db.close();
      other.close();
    });
    return { scrubber: createScrubber(db), other };
  }

  test('finishes its round under continuous redactions, and does one more', async () => {
    const { scrubber } = await open();
    const round = (redact: () => void) => {
      for (let steps = 0; steps < 20; steps++) {
        redact();
        const progress = scrubber.step();
        if (progress !== 'more') return progress;
      }
      return 'more';
    };
    expect(round(() => {})).toBe('done');
    expect(round(scrubber.begin)).toBe('again');
    expect(round(scrubber.begin)).toBe('again');
    expect(round(() => {})).toBe('done');
    expect(scrubber.step()).toBe('done');
  });

  test('reports that an external reader blocks it', async () => {
    const { scrubber, other } = await open();
    scrubber.begin();
    other.exec('BEGIN');
    other.prepare('SELECT count(*) FROM messages').get();
    const steps = Array.from({ length: 6 }, () => scrubber.step());
    expect(steps.slice(-2)).toEqual(['busy', 'busy']);
    other.exec('COMMIT');
    expect(scrubber.step()).toBe('done');
  });
});

test('messages not yet in the index are found, and a search that indexes them delays no write', async () => {
  // There is no background work here: only searches add messages to the index.
  const store = await openSqlite(':memory:');
  for (let seq = 0; seq < 6000; seq += 1000) await store.write(writeOf('c', [ANN, BOB], seq, 1000));
  const find = (text: string) =>
    store.search(BOB, { terms: termsOf(text), conversation: null }, { first: 9, after: null });
  const ended: string[] = [];
  const searching = find('m600*').then((page) => {
    ended.push('search');
    return page;
  });
  await store.write(writeOf('other', [ANN, BOB], 0)).then(() => ended.push('write'));
  expect((await searching).hits.map(({ message: { text } }) => text)).toEqual(['m6000', 'm600']);
  expect(ended).toEqual(['write', 'search']);
  for (const text of ['m1', 'm4500', 'm5999']) expect((await find(text)).hits).not.toEqual([]);
  // What was accepted is finished.
  const last = find('m4*');
  await store.close();
  expect((await last).hits).toHaveLength(9);
  await expect(find('m1')).rejects.toThrow(StoreUnavailable);
});

test.each([2, 3, 4])('a file of version %i is migrated with its contents', async (version) => {
  const file = freshFile();
  mkdirSync(join(file, '..'));
  const old = new Database(file);
  old.exec('PRAGMA journal_mode = WAL');
  migrate(old, 0, version);
  old.exec(`INSERT INTO conversations (id, config_id, created_at, last_activity_at, last_seq, last_rev)
      VALUES ('${writeOf('c', [ANN, BOB], 0).conversation}', 'c', 1001, 1002, 2, 2);
    INSERT INTO members (conversation, email, joined_at) VALUES (1, '${ANN}', 1001), (1, '${BOB}', 1001);
    INSERT INTO messages (conversation, seq, rev, kind, sender, text, sent_at)
      VALUES (1, 1, 1, 'TEXT', '${ANN}', 'm1', 1001), (1, 2, 2, 'TEXT', '${ANN}', 'Überweisung', 1002);`);
  // The index is rebuilt, regardless of its contents.
  if (version > 2) old.exec('UPDATE conversations SET indexed_seq = 2');
  old.close();
  const store = await openSqlite(file);
  const { conversation: id } = writeOf('c', [ANN, BOB], 0);
  const expected = [message(id, 1), message(id, 2, { text: 'Überweisung' })];
  const record = { salts: expect.objectContaining({ text: expect.stringMatching(/^[0-9a-f]{32}$/) }) };
  expect(await store.messages(id, 1, 9)).toEqual(expected.map((one) => ({ ...one, record })));
  expect(await store.changes(id, 1, 9)).toEqual([{ ...expected[1], record }]);
  const find = (text: string) =>
    store.search(BOB, { terms: termsOf(text), conversation: null }, { first: 9, after: null });
  expect((await find('uber*')).hits).toHaveLength(1);
  await store.write(writeOn({ id, lastRev: 2 }, { changed: [redacted(message(id, 2, { text: 'Überweisung' }), 3)] }));
  expect((await find('uber*')).hits).toEqual([]);
  await store.close();
});

test('counters of a file without them are computed from its messages', async () => {
  const file = freshFile();
  mkdirSync(join(file, '..'));
  const old = new Database(file);
  old.exec('PRAGMA journal_mode = WAL');
  migrate(old, 0, 6);
  const ids = ['a', 'b', 'c'].map((configId) => writeOf(configId, [ANN, BOB, CAT], 0).conversation);
  // Of 30 messages every fifth is the server's, every seventh redacted, and one is by a sender that is no member.
  const log = Array.from({ length: 30 }, (_, i) => ({
    ...{ seq: i + 1, kind: i % 5 === 0 ? 'SYSTEM' : 'TEXT', redactedAt: i % 7 === 0 ? 1 : null },
    sender: i === 12 ? 'gone@example.com' : i % 3 === 0 ? ANN : BOB,
  }));
  const counts = log.filter(({ kind, redactedAt }) => kind === 'TEXT' && redactedAt === null);
  const readSeqs = [
    [0, 0, 30],
    [3, 17, 0],
    [30, 29, 10],
  ];
  for (const [i, id] of ids.entries()) {
    // The last has no messages that count.
    const entries = i === 2 ? log.slice(0, 1) : log;
    old
      .prepare(`INSERT INTO conversations (id, config_id, created_at, last_activity_at, last_seq, last_rev)
      VALUES (?, 'c', 1001, 1002, ?, ?)`)
      .run([id, entries.length, entries.length]);
    for (const [k, who] of [ANN, BOB, CAT].entries())
      old
        .prepare('INSERT INTO members (conversation, email, joined_at, read_seq) VALUES (?, ?, 1001, ?)')
        .run([...[i + 1, who, Math.min(readSeqs[i]?.[k] ?? 0, entries.length)]]);
    for (const { seq, kind, sender, redactedAt } of entries)
      old
        .prepare(`INSERT INTO messages (conversation, seq, rev, kind, sender, text, sent_at, redacted_at)
        VALUES (?, ?, ?, ?, ?, 'x', 1, ?)`)
        .run([i + 1, seq, seq, kind, sender, redactedAt]);
  }
  old.close();
  const store = await openSqlite(file);
  for (const [i, id] of ids.entries()) {
    const counting = i === 2 ? [] : counts;
    const head = await store.conversation(id);
    expect(head?.counted).toBe(counting.length);
    for (const [k, who] of [ANN, BOB, CAT].entries()) {
      const others = counting.filter(({ sender }) => sender !== who);
      const seen = others.filter(({ seq }) => seq <= (readSeqs[i]?.[k] ?? 0)).length;
      expect(head?.members.get(who)).toMatchObject({ sent: counting.length - others.length, seen });
      expect(await unreadIn(store, id, who)).toBe(others.length - seen);
    }
  }
  await store.close();
});

test('a search asks the index for words of the conversations it is in, and for no others', () => {
  expect(matchOf([10, 36], termsOf('inv* Due'))).toBe('("a_inv" * AND "a_due") OR ("10_inv" * AND "10_due")');
});

const { register, ...recordSql } = RECORD_SQL;

describe('every query uses an index', () => {
  const db = new Database(':memory:');
  migrate(db, 0);

  test.each(Object.entries({ ...SQL, ...recordSql }))('%s', (_, sql) => {
    const plan = (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all({}) as { detail: string }[]).map(({ detail }) => detail);
    // Scans are allowed of lists in parameters and of inner queries, never of tables.
    const inner = plan.map((detail) => detail.replace('CO-ROUTINE', 'SCAN'));
    const scans = plan.filter(
      (detail) =>
        /^SCAN /.test(detail) &&
        // Of an index of what is marked, all of it is meant.
        !/ VIRTUAL TABLE | CONSTANT ROW|INDEX (conversations_unregistered|members_unsealed)$/.test(detail) &&
        inner.indexOf(detail) === plan.indexOf(detail),
    );
    expect(scans, plan.join('\n')).toEqual([]);
    expect(
      plan.some((detail) => /^SEARCH .*USING|^SCAN search VIRTUAL TABLE INDEX \d+:M/.test(detail)),
      plan.join('\n'),
    ).toBe(true);
  });
});

test('no statement is compiled again for other parameters', () => {
  const db = new Database(':memory:');
  migrate(db, 0);
  const names = (sql: string) => [...sql.matchAll(/@(\w+)/g)].map(([, name]) => name);
  const statements = Object.values({ ...SQL, ...recordSql }).map((sql) => ({ sql, statement: db.prepare(sql) }));
  for (const value of [0, 1])
    for (const { sql, statement } of statements)
      statement.all(Object.fromEntries(names(sql).map((name) => [name, name === 'limit' ? value : `"${value}"`])));
  const run = db.prepare("SELECT sql, reprep FROM sqlite_stmt WHERE sql LIKE '%@%'").all() as { reprep: number }[];
  expect(run.length).toBe(statements.length + 1);
  expect(run.filter(({ reprep }) => reprep > 0)).toEqual([]);
  db.close();
});

test('a list reads the first members by index, and only for its own page', () => {
  const db = new Database(':memory:');
  migrate(db, 0);
  for (const sql of [SQL.chatList, SQL.listed]) {
    const plan = (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all({}) as { detail: string }[]).map(({ detail }) => detail);
    const read = plan.indexOf('SEARCH members USING INDEX members_by_joining (conversation=?)');
    expect(read, plan.join('\n')).toBeGreaterThan(0);
    expect(plan.filter((detail) => /SEARCH members /.test(detail))).toHaveLength(1);
    // At most one sort, which chooses the page before members are read: members come in order.
    expect(plan.slice(read).join('\n')).not.toContain('TEMP B-TREE');
  }
  db.close();
});

test('a page deep in 200,000 messages is found by index, and equals brute force', async () => {
  const store = await openSqlite(':memory:');
  const { conversation } = writeOf('c', [ANN, BOB], 0);
  for (let seq = 0; seq < 200_000; seq += 1000) await store.write(writeOf('c', [ANN, BOB], seq, 1000));
  for (const from of [1, 99_951, 100_000, 199_951]) {
    const page = await store.messages(conversation, from, from + 49);
    expect(page).toEqual(Array.from({ length: 50 }, (_, i) => message(conversation, from + i)));
  }
  expect(await unreadIn(store, conversation, BOB)).toBe(200_000);
  expect((await store.chatList(BOB, EVERYTHING, { first: 1, after: null })).conversations).toMatchObject([
    { lastSeq: 200_000 },
  ]);
  await store.close();
});
