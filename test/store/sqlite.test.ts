import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterAll, describe, expect, test } from 'vitest';
import { SQL } from '../../src/store/sqlite/reader.ts';
import { migrate, VERSION } from '../../src/store/sqlite/schema.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { ANN, appendOf, BOB, EVERYTHING, message, storeContract } from './contract.ts';

const root = mkdtempSync(join(tmpdir(), 'kredichat-sqlite-'));
afterAll(() => rmSync(root, { recursive: true }));
let files = 0;
const freshFile = () => join(root, `${++files}`, 'kredichat.db');

storeContract('memory', () => openSqlite(':memory:'));
storeContract('file', () => openSqlite(freshFile()));

/** Runs a script that has `openSqlite` in a process of its own. */
function run(script: string) {
  const sqlite = JSON.stringify(join(import.meta.dirname, '../../dist/store/sqlite/sqlite.js'));
  const source = join(root, 'script.mjs');
  writeFileSync(source, `const { openSqlite } = await import(${sqlite}); ${script}`);
  return spawn(process.execPath, [source], { stdio: ['ignore', 'pipe', 'inherit'] });
}

describe('opening a file', () => {
  async function filled(): Promise<string> {
    const file = freshFile();
    const store = await openSqlite(file);
    for (let i = 0; i < 200; i++) await store.append(appendOf('c', [ANN, BOB], i, 1, { text: 'x'.repeat(500) }));
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

  test('finds what was written, all of it in the one file', async () => {
    const file = await filled();
    for (const end of ['-wal', '-shm', '-lock']) rmSync(`${file}${end}`, { force: true });
    const store = await openSqlite(file);
    expect(await store.conversation(appendOf('c', [ANN, BOB], 0).conversation)).toMatchObject({ lastSeq: 200 });
    await store.close();
  });

  test('refuses what is no database', async () => {
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
    expect(await store.conversation(appendOf('c', [ANN, BOB], 0).conversation)).toMatchObject({ lastSeq: 200 });
    await store.close();
  });

  test('refuses a second opening through a link', async () => {
    const file = await filled();
    const store = await openSqlite(file);
    symlinkSync(file, `${file}-link`);
    await expect(openSqlite(`${file}-link`)).rejects.toThrow(/is in use by another process/);
    await store.close();
  });

  test('that somebody else is writing to makes writes fail, known not to be stored, and then recovers', async () => {
    const file = freshFile();
    const store = await openSqlite(file);
    const other = new Database(file);
    other.exec('BEGIN IMMEDIATE');
    const failed = await store.append(appendOf('c', [ANN, BOB], 0)).catch((error: unknown) => error);
    expect(failed).toMatchObject({ nothingWritten: true });
    await expect(store.ping()).rejects.toThrow();
    other.exec('ROLLBACK');
    other.close();
    await store.ping();
    expect(await store.append(appendOf('c', [ANN, BOB], 0))).toBe(true);
    await store.close();
  });

  test('recovers from a write-ahead log whose end is torn, with every whole transaction', async () => {
    const file = freshFile();
    const appends = JSON.stringify(
      Array.from({ length: 20 }, (_, i) => appendOf('c', [ANN, BOB], i, 1, { text: 'x'.repeat(500) })),
    );
    const child = run(`const store = await openSqlite(${JSON.stringify(file)});
      for (const append of ${appends}) await store.append({ ...append, roles: new Map() });
      process.kill(process.pid, 'SIGKILL');`);
    await once(child, 'exit');
    const wal = `${file}-wal`;
    truncateSync(wal, readFileSync(wal).length - 100);
    const store = await openSqlite(file);
    const { conversation } = appendOf('c', [ANN, BOB], 0);
    const lastSeq = (await store.conversation(conversation))?.lastSeq ?? 0;
    expect(lastSeq).toBe(19);
    expect(await store.messages(conversation, 1, 20)).toHaveLength(19);
    expect(await store.append(appendOf('c', [ANN, BOB], 19))).toBe(true);
    await store.close();
  });
});

test('a write that breaks a law of the tables fails alone, and takes no other of its group with it', async () => {
  const store = await openSqlite(freshFile());
  const pair = [ANN, BOB];
  await store.append(appendOf('c', pair, 0, 1, { clientId: 'once' }));
  const outcomes = await Promise.allSettled([
    store.append(appendOf('before', pair, 0)),
    store.append(appendOf('c', pair, 1, 1, { clientId: 'once' })),
    store.append(appendOf('after', pair, 0)),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(await store.conversation(appendOf('c', pair, 0).conversation)).toMatchObject({ lastSeq: 1 });
  expect(await store.messages(appendOf('after', pair, 0).conversation, 1, 9)).toHaveLength(1);
  await store.close();
});

describe('every query goes by index', () => {
  const db = new Database(':memory:');
  migrate(db, 0);

  test.each(Object.entries(SQL))('%s', (_, sql) => {
    const plan = (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all({}) as { detail: string }[]).map(({ detail }) => detail);
    // Lists given as parameters and results of inner queries are walked; tables never are.
    const inner = plan.map((detail) => detail.replace('CO-ROUTINE', 'SCAN'));
    const scans = plan.filter(
      (detail) =>
        /^SCAN /.test(detail) &&
        !/ VIRTUAL TABLE | CONSTANT ROW/.test(detail) &&
        inner.indexOf(detail) === plan.indexOf(detail),
    );
    expect(scans, plan.join('\n')).toEqual([]);
    expect(
      plan.some((detail) => /^SEARCH .*USING/.test(detail)),
      plan.join('\n'),
    ).toBe(true);
  });
});

test('a page deep in 200,000 messages is found by index, and is what brute force gives', async () => {
  const store = await openSqlite(':memory:');
  const { conversation } = appendOf('c', [ANN, BOB], 0);
  for (let seq = 0; seq < 200_000; seq += 1000) await store.append(appendOf('c', [ANN, BOB], seq, 1000));
  for (const from of [1, 99_951, 100_000, 199_951]) {
    const page = await store.messages(conversation, from, from + 49);
    expect(page).toEqual(Array.from({ length: 50 }, (_, i) => message(conversation, from + i)));
  }
  expect(await store.unreadCount(conversation, BOB)).toBe(200_000);
  expect((await store.chatList(BOB, EVERYTHING, { first: 1, after: null })).conversations).toMatchObject([
    { lastSeq: 200_000 },
  ]);
  await store.close();
});
