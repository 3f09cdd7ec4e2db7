import type Database from 'libsql';
import type { IndexRow, SearchIndex } from './search-index.ts';

/** Messages that are made searchable between two groups of writes. */
const MESSAGES = 200;
/** UTF-16 units of text, after which that is enough. */
const CHARACTERS = 100_000;

export interface Indexer {
  /** Up to which number the messages of a conversation are in the index. */
  indexedSeq(pk: number): number;
  /** There may be more to do in this conversation. */
  note(pk: number): void;
  /** Makes a slice of these conversations searchable; part of the transaction that is under way. True while there is more. */
  catchUp(pks: readonly number[]): boolean;
  /** Does a part of what there is to do. True while there is more. */
  step(): boolean;
}

/**
 * Puts the words of messages into the search index, behind the writes, which would wait for it otherwise. How far it is
 * stands with each conversation, so it goes on where an earlier process ended; a search that finds it far behind has it
 * catch up with the conversations it looks at, a slice at a time, so that writes go on meanwhile.
 */
export function createIndexer(db: Database.Database, index: SearchIndex): Indexer {
  const state = db.prepare('SELECT indexed_seq AS indexed, last_seq AS last FROM conversations WHERE pk = ?');
  const texts = db.prepare(`SELECT seq, text FROM messages
    WHERE conversation = ? AND seq BETWEEN ? AND ? AND kind = 'TEXT' AND redacted_at IS NULL`);
  const advance = db.prepare('UPDATE conversations SET indexed_seq = ? WHERE pk = ?');
  const behind = new Set(
    (db.prepare('SELECT pk FROM conversations WHERE indexed_seq < last_seq').all([]) as { pk: number }[]).map(
      ({ pk }) => pk,
    ),
  );

  /** Goes on with one conversation; gives what is left of the room for more. */
  function goOn(pk: number, room: number): number {
    const found = state.get([pk]) as { indexed: number; last: number } | undefined;
    const { indexed, last } = found ?? { indexed: 0, last: 0 };
    let to = Math.min(last, indexed + room);
    if (to > indexed) {
      let characters = 0;
      const rows: IndexRow[] = [];
      for (const { seq, text } of texts.all([pk, indexed + 1, to]) as { seq: number; text: string }[]) {
        rows.push([pk, seq, text]);
        characters += text.length;
        if (characters > CHARACTERS) to = seq;
        if (to === seq) break;
      }
      index.add(rows);
      advance.run([to, pk]);
      room -= characters > CHARACTERS ? room : to - indexed;
    }
    if (to === last) behind.delete(pk);
    return room;
  }

  /** A slice of what there is to do in these conversations. */
  function slice(pks: Iterable<number>): void {
    let room = MESSAGES;
    for (const pk of pks) {
      room = goOn(pk, room);
      if (room === 0) break;
    }
  }

  return {
    indexedSeq: (pk) => (state.get([pk]) as { indexed: number }).indexed,
    note: (pk) => void behind.add(pk),
    catchUp(pks) {
      // Of a transaction that was undone it is not known any more that they are behind.
      for (const pk of pks) behind.add(pk);
      slice(pks);
      return pks.some((pk) => behind.has(pk));
    },
    step() {
      if (behind.size === 0) return false;
      db.exec('BEGIN IMMEDIATE');
      slice(behind);
      db.exec('COMMIT');
      return behind.size > 0;
    },
  };
}
