import type Database from 'libsql';
import type { SearchIndex } from './search-index.ts';

/** Messages that are made searchable between two groups of writes. */
const MESSAGES = 200;

export interface Indexer {
  /** Up to which number the messages of a conversation are in the index. */
  indexedSeq(pk: number): number;
  /** There may be more to do in this conversation. */
  note(pk: number): void;
  /** Makes all messages of these conversations searchable; part of the transaction that is under way. */
  catchUp(pks: readonly number[]): void;
  /** Does a part of what there is to do. True while there is more. */
  step(): boolean;
}

/**
 * Puts the words of messages into the search index, behind the writes, which would wait for it otherwise. How far it is
 * stands with each conversation, so it goes on where an earlier process ended; a search that finds it behind has it
 * catch up with the conversations it looks at.
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

  /** Goes on with one conversation; gives how many messages that took. */
  function goOn(pk: number, limit: number): number {
    const { indexed, last } = (state.get([pk]) as { indexed: number; last: number } | undefined) ?? {
      indexed: 0,
      last: 0,
    };
    const to = Math.min(last, indexed + limit);
    if (to > indexed) {
      const rows = texts.all([pk, indexed + 1, to]) as { seq: number; text: string }[];
      index.add(rows.map(({ seq, text }) => [pk, seq, text]));
      advance.run([to, pk]);
    }
    if (to === last) behind.delete(pk);
    return to - indexed;
  }

  return {
    indexedSeq: (pk) => (state.get([pk]) as { indexed: number }).indexed,
    note: (pk) => void behind.add(pk),
    catchUp(pks) {
      for (const pk of pks) while (goOn(pk, MESSAGES) === MESSAGES);
    },
    step() {
      if (behind.size === 0) return false;
      db.exec('BEGIN IMMEDIATE');
      let room = MESSAGES;
      for (const pk of behind) {
        room -= goOn(pk, room);
        if (room <= 0) break;
      }
      db.exec('COMMIT');
      return behind.size > 0;
    },
  };
}
