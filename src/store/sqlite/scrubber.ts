import type Database from 'libsql';

/** Pages that are scrubbed between two groups of writes. */
const PAGES = 500;
/**
 * Pages of the search index that are merged between two groups of writes: adapted so that a merge takes about `ms`
 * milliseconds. The cost of a page is not known in advance: pages that become empty are read and zeroed, but not
 * counted.
 */
const MERGED_PAGES = { min: 10, max: 100, ms: 15 } as const;
/** Positions of a round before its first page. */
const [BEGUN, MERGING] = [-1, 0];
/** The bytes before the content of a b-tree page, by its type (SQLite file format, section 1.6). */
const HEADER_BYTES: Readonly<Record<number, number>> = { 2: 12, 5: 12, 10: 8, 13: 8 };
/**
 * Up to this page number the first byte of a page that is no b-tree page is 0: it begins with another page's number.
 */
const MAX_PAGE = 0xffffff;

export interface Scrubber {
  /** Asks for a round; part of the transaction that is under way. */
  begin(): void;
  /** Does one step of a round. */
  step(): Progress;
}

/** Work left: none, more steps of the round, one more round, or the end of a round that an outside reader blocks. */
type Progress = 'done' | 'more' | 'again' | 'busy';

/**
 * Removes the remains of redacted texts, in rounds of small steps between the writes:
 *
 * 1. Merges the search index, which holds removed words until then. The older segments are freed, and zeroed.
 * 2. Zeroes the unallocated middle of every page. `secure_delete` zeroes deleted bytes; but when SQLite splits a page,
 *    it leaves the moved bytes there, where no deletion finds them.
 * 3. Empties the write-ahead log.
 *
 * The file holds the progress of the round, so that the next process resumes it. After redactions in the middle of a
 * round one more round follows, however many they are: so a redacted text is gone after two rounds at most.
 */
export function createScrubber(db: Database.Database): Scrubber {
  const begin = db.prepare(`INSERT INTO scrub (pk, position) VALUES (1, ${BEGUN})
    ON CONFLICT (pk) DO UPDATE SET again = again OR position <> ${BEGUN}`);
  const position = db.prepare('SELECT position FROM scrub');
  const setPosition = db.prepare('UPDATE scrub SET position = ?');
  const repeat = db.prepare(`UPDATE scrub SET position = ${BEGUN}, again = 0 WHERE again`);
  const end = db.prepare('DELETE FROM scrub');
  const merge = db.prepare(`INSERT INTO search (search, rank) VALUES ('merge', ?)`);
  const changes = db.prepare('SELECT total_changes() AS count');
  const size = db.prepare('PRAGMA page_count');
  const read = db.prepare('SELECT pgno, data FROM json_each(?) JOIN sqlite_dbpage ON pgno = value');
  const write = db.prepare('UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?');

  let pages: number = MERGED_PAGES.max;

  /** True when everything in the index at the start of the round is merged (SQLite FTS5, section 6.8). */
  function mergeSome(begins: boolean): boolean {
    const before = (changes.get([]) as { count: number }).count;
    const began = performance.now();
    // A negative number starts one merge of all segments of the index; a positive one continues it.
    merge.run([begins ? -pages : pages]);
    const slow = performance.now() - began > MERGED_PAGES.ms;
    pages = slow ? Math.max(MERGED_PAGES.min, pages >> 1) : Math.min(MERGED_PAGES.max, pages + MERGED_PAGES.min);
    return (changes.get([]) as { count: number }).count - before < 2;
  }

  /** Zeroes the unallocated middle of some pages; returns the next page, or null after the last. */
  function zeroSome(from: number): number | null {
    const { page_count: count } = size.get([]) as { page_count: number };
    const to = Math.min(from + PAGES - 1, count, MAX_PAGE);
    const numbers = Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
    for (const { pgno, data } of read.all([JSON.stringify(numbers)]) as { pgno: number; data: ArrayBuffer }[]) {
      const page = Buffer.from(data);
      if (zeroMiddle(page, pgno === 1 ? 100 : 0)) write.run([page, pgno]);
    }
    return to < Math.min(count, MAX_PAGE) ? to + 1 : null;
  }

  /** Does the step at a position; returns the next position, or null at the end of the round. */
  function advance(from: number): number | null {
    if (from <= MERGING) return mergeSome(from === BEGUN) && from === MERGING ? 1 : MERGING;
    return zeroSome(from);
  }

  return {
    begin: () => void begin.run([]),
    step() {
      const found = position.get([]) as { position: number } | undefined;
      if (!found) return 'done';
      db.exec('BEGIN IMMEDIATE');
      const next = advance(found.position);
      if (next !== null) setPosition.run([next]);
      db.exec('COMMIT');
      if (next !== null) return 'more';
      const { busy } = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get([]) as { busy: number };
      if (busy !== 0) return 'busy';
      if (repeat.run([]).changes > 0) return 'again';
      end.run([]);
      return 'done';
    },
  };
}

/** Zeroes the bytes between the cell pointers and the cells. True when some were not zero. */
function zeroMiddle(page: Buffer, at: number): boolean {
  const header = HEADER_BYTES[page[at] ?? 0];
  if (header === undefined) return false;
  const from = at + header + 2 * page.readUInt16BE(at + 3);
  const to = page.readUInt16BE(at + 5) || 65_536;
  if (from >= to || to > page.length) return false;
  const middle = page.subarray(from, to);
  if (middle.every((byte) => byte === 0)) return false;
  middle.fill(0);
  return true;
}
