import type Database from 'libsql';
import type { Seq } from '../../../model.ts';
import type { IndexRow, SearchIndex } from './search-index.ts';

/**
 * Messages that one step indexes, and that may wait for it while writes come. In small steps a message costs several
 * times as much: each is a transaction, and leaves the index one more segment to merge.
 */
export const STEP_MESSAGES = 500;
/** UTF-16 units of text, after which a step ends. */
const STEP_TEXT = 200_000;

export interface Indexer {
  /** Messages that are not in the index yet. Messages of a transaction rolled back are counted until the next step. */
  lag(): number;
  /** `seq` up to which the messages of a conversation are in the index. */
  indexedSeq(pk: number): number;
  /** Records that messages were added to this conversation. */
  note(pk: number, count: number): void;
  /** Indexes a slice of these conversations within the current transaction. True while there is more. */
  catchUp(pks: readonly number[]): boolean;
  /** Indexes as many messages as were noted, in whole steps: so the lag does not grow by more than one step. */
  keepUp(): void;
  /** Indexes one step. */
  step(): void;
}

/**
 * Adds the words of messages to the search index, behind the writes, so that these do not wait for it: in large steps
 * while writes come, and the rest when none come. The progress is stored with each conversation, so that the next
 * process resumes it. A search that finds the index far behind has it catch up with the searched conversations, a slice
 * at a time, so that writes go on meanwhile.
 */
export function createIndexer(db: Database.Database, index: SearchIndex): Indexer {
  const indexed = db.prepare('SELECT indexed_seq AS seq FROM conversations WHERE pk = ?');
  // In the order of the index: FTS5 starts a new segment where a row comes before the last one.
  const states = db.prepare(`SELECT json_group_array(json_array(pk, indexed_seq, last_seq)) AS json FROM
    (SELECT * FROM conversations WHERE pk IN (SELECT value FROM json_each(?)) ORDER BY pk)`);
  const texts = db.prepare(`SELECT json_group_array(json_array(conversation, seq, text)) AS json FROM json_each(?)
    CROSS JOIN messages ON conversation = value ->> 0 AND seq BETWEEN value ->> 1 AND value ->> 2
    WHERE kind = 'TEXT' AND redacted_at IS NULL`);
  const advance = db.prepare(`UPDATE conversations SET indexed_seq = value ->> 1 FROM json_each(?)
    WHERE pk = value ->> 0`);

  /** Number of messages not in the index, by conversation. */
  const behind = new Map<number, number>();
  let lag = 0;
  /** Messages noted, less those indexed since. */
  let added = 0;

  function set(pk: number, count: number): void {
    lag += count - (behind.get(pk) ?? 0);
    if (count > 0) behind.set(pk, count);
    else behind.delete(pk);
  }

  const undone = db.prepare(
    'SELECT pk, last_seq - indexed_seq AS count FROM conversations WHERE indexed_seq < last_seq',
  );
  for (const { pk, count } of undone.all([]) as { pk: number; count: number }[]) set(pk, count);

  function read<Row>(statement: Database.Statement, parameter: readonly unknown[]): Row[] {
    return JSON.parse((statement.get([JSON.stringify(parameter)]) as { json: string }).json) as Row[];
  }

  /** Indexes a slice of these conversations; returns the number of messages left in each that it reached. */
  function slice(pks: readonly number[]): [pk: number, left: number][] {
    let room = STEP_MESSAGES;
    const stretches = read<[number, number, number]>(states, pks).map(([pk, before, last]) => {
      const to = Math.min(last, before + room);
      room -= to - before;
      return { pk, from: before + 1, to, last };
    });
    const all = read<IndexRow>(
      texts,
      stretches.map(({ pk, from, to }) => [pk, from, to]),
    );
    let length = 0;
    const rows = all.filter(([, , text]) => {
      const within = length < STEP_TEXT;
      length += text.length;
      return within;
    });
    index.add(rows);
    const end = rows.length < all.length ? rows.at(-1) : undefined;
    const done = end
      ? stretches
          .filter(({ pk }) => pk <= end[0])
          .map((stretch) => (stretch.pk === end[0] ? { ...stretch, to: end[1] } : stretch))
      : stretches;
    advance.run([JSON.stringify(done.filter(({ from, to }) => from <= to).map(({ pk, to }) => [pk, to]))]);
    const found = new Set(stretches.map(({ pk }) => pk));
    // When its opening was rolled back, a conversation does not exist.
    const undone = pks.filter((pk) => !found.has(pk)).map((pk): [number, number] => [pk, 0]);
    return [...undone, ...done.map(({ pk, to, last }): [number, number] => [pk, last - to])];
  }

  function step(): void {
    const pks: number[] = [];
    for (const pk of behind.keys()) if (pks.push(pk) === STEP_MESSAGES) break;
    db.exec('BEGIN IMMEDIATE');
    const left = slice(pks);
    db.exec('COMMIT');
    const before = lag;
    for (const [pk, count] of left) set(pk, count);
    added = Math.min(lag, Math.max(0, added - (before - lag)));
  }

  return {
    lag: () => lag,
    indexedSeq: (pk) => (indexed.get([pk]) as { seq: Seq }).seq,
    note(pk, count) {
      set(pk, (behind.get(pk) ?? 0) + count);
      added += count;
    },
    catchUp(pks) {
      const left = slice(pks);
      return left.length < pks.length || left.some(([, count]) => count > 0);
    },
    keepUp() {
      for (let before = Number.POSITIVE_INFINITY; added >= STEP_MESSAGES && lag < before; ) {
        before = lag;
        step();
      }
    },
    step,
  };
}
