import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterAll, expect, test } from 'vitest';
import { migrate } from '../../../../src/store/sqlite/schema.ts';
import { createIndexer, STEP_MESSAGES } from '../../../../src/store/sqlite/search/indexer.ts';
import { createSearchIndex } from '../../../../src/store/sqlite/search/search-index.ts';
import { openSqlite } from '../../../../src/store/sqlite/sqlite.ts';
import { ANN, BOB, writeOf } from '../../writes.ts';

const root = mkdtempSync(join(tmpdir(), 'kredichat-indexer-'));
afterAll(() => rmSync(root, { recursive: true }));

test('under sustained writes the lag of the index is bounded, and equals the lag that the store reports', async () => {
  const file = join(root, 'sustained.db');
  const store = await openSqlite(file);
  const db = new Database(file);
  const statement = db.prepare('SELECT sum(last_seq - indexed_seq) AS lag FROM conversations');
  const lag = () => (statement.get([]) as { lag: number }).lag;
  const lags: number[] = [];
  const said: number[] = [];
  const together = 100;
  for (let seq = 0; seq < 80; seq++) {
    await Promise.all(Array.from({ length: together }, (_, i) => store.write(writeOf(`c${i}`, [ANN, BOB], seq))));
    lags.push(lag());
    said.push(store.searchLag());
  }
  expect(Math.max(...lags)).toBeLessThan(STEP_MESSAGES + together);
  expect(Math.max(...said)).toBeLessThan(STEP_MESSAGES + together);
  expect(Math.max(...said)).toBeGreaterThan(0);
  // Once nothing is written, all of it comes into the index.
  await expect.poll(() => [lag(), store.searchLag()]).toEqual([0, 0]);
  db.close();
  await store.close();
});

/** Conversations numbered from 1, in which messages are added. */
function logs(conversations: number) {
  const db = new Database(':memory:');
  migrate(db, 0);
  for (let pk = 1; pk <= conversations; pk++)
    db.exec(`INSERT INTO conversations (pk, id, config_id, created_at, last_activity_at, last_seq, last_rev)
      VALUES (${pk}, 'c${pk}', 'c', 1, 1, 0, 0)`);
  const add = (pk: number, count: number, text = 'hello') =>
    db.exec(`INSERT INTO messages (conversation, seq, rev, kind, sender, text, sent_at)
        SELECT ${pk}, last_seq + value, last_seq + value, 'TEXT', '${ANN}', '${text} ' || value, 1
        FROM conversations, generate_series(1, ${count}) WHERE pk = ${pk};
      UPDATE conversations SET last_seq = last_seq + ${count} WHERE pk = ${pk}`);
  const count = (sql: string) => (db.prepare(`SELECT (${sql}) AS count`).get([]) as { count: number }).count;
  const start = () => createIndexer(db, createSearchIndex(db));
  return {
    db,
    add,
    start,
    found: (word: string) => count(`SELECT count(*) FROM search WHERE search MATCH '${word}'`),
    parts: () => count('SELECT count(DISTINCT segid) FROM search_idx'),
  };
}

test('writes wait until as many messages as they add are in the index, but not for earlier ones', () => {
  const { add, start } = logs(1);
  add(1, 10 * STEP_MESSAGES);
  const indexer = start();
  indexer.keepUp();
  expect(indexer.lag()).toBe(10 * STEP_MESSAGES);
  const added = 2 * STEP_MESSAGES + 1;
  add(1, added);
  indexer.note(1, added);
  indexer.keepUp();
  expect(indexer.lag()).toBe(10 * STEP_MESSAGES + 1);
});

test('long texts take more steps, and the lag is still bounded', () => {
  const { add, start, found } = logs(3);
  const indexer = start();
  for (const pk of [1, 2, 3]) {
    add(pk, STEP_MESSAGES, 'x'.repeat(1000));
    indexer.note(pk, STEP_MESSAGES);
  }
  indexer.step();
  expect(indexer.lag()).toBeGreaterThan(2 * STEP_MESSAGES);
  indexer.keepUp();
  expect(indexer.lag()).toBeLessThan(STEP_MESSAGES);
  while (indexer.lag() > 0) indexer.step();
  for (const pk of [1, 2, 3]) expect([1, STEP_MESSAGES].map((i) => found(`"${pk}_${i}"`))).toEqual([1, 1]);
});

test('a step over many conversations adds one part to the index, in any order of theirs', () => {
  const { add, start, parts } = logs(60);
  const indexer = start();
  for (let i = 0; i < 120; i++) {
    const pk = 1 + ((i * 37) % 60);
    add(pk, 1);
    indexer.note(pk, 1);
  }
  indexer.step();
  expect([indexer.lag(), parts()]).toEqual([0, 1]);
});

test('messages of a transaction that was rolled back are dropped at the next step', () => {
  const { db, add, start } = logs(1);
  const indexer = start();
  db.exec('BEGIN');
  add(1, 3);
  indexer.note(1, 3);
  db.exec('ROLLBACK');
  indexer.step();
  expect(indexer.lag()).toBe(0);
});

test('writes that arrive during a transaction are grouped into the next one', async () => {
  const file = join(root, 'gathered.db');
  const store = await openSqlite(file);
  /**
   * Transactions in the write-ahead log: their last frame says how large the file is then (SQLite file format, section
   * 4.1).
   */
  const transactions = () => {
    const wal = readFileSync(`${file}-wal`);
    let count = 0;
    for (let at = 32; at < wal.length; at += 24 + 4096) if (wal.readUInt32BE(at + 4) > 0) count++;
    return count;
  };
  let seq = 0;
  async function taken(): Promise<number> {
    const before = transactions();
    const write = (configId: string) => store.write(writeOf(configId, [ANN, BOB], seq));
    const first = write('a');
    const second = write('b');
    await first;
    await Promise.all([second, write('c')]);
    seq++;
    return transactions() - before;
  }
  await taken();
  // Where the disk is slow, the second does not wait for the third.
  await expect.poll(taken).toBe(2);
  await store.close();
});

test('conversations that were rolled back are dropped, and delay no write', () => {
  const indexer = logs(1).start();
  // Noted by a transaction that then fails: there are no such conversations.
  for (let pk = 2; pk <= 7; pk++) indexer.note(pk, 100);
  expect(indexer.lag()).toBe(600);
  indexer.keepUp();
  expect(indexer.lag()).toBe(0);
});
