import type Database from 'libsql';

/** Pages that are looked at between two groups of writes. */
const PAGES = 500;
/**
 * Pages of the search index that are merged between two groups of writes: as many as take about that long, in milliseconds.
 * What a page takes is not known before: pages that become empty are read and zeroed, and not counted.
 */
const MERGED_PAGES = { min: 10, max: 100, ms: 15 } as const;
/** Where a round stands before it looks at the first page. */
const [BEGUN, MERGING] = [-1, 0];
/** The bytes before the content of a b-tree page, by its type (SQLite file format, section 1.6). */
const HEADER_BYTES: Readonly<Record<number, number>> = { 2: 12, 5: 12, 10: 8, 13: 8 };
/** Up to this page the first byte of a page that is no b-tree page is 0: it begins with the number of another page. */
const MAX_PAGE = 0xffffff;

export interface Scrubber {
  /** Asks for a round; part of the transaction that is under way. */
  begin(): void;
  /** Does a part of what there is to do. */
  step(): Progress;
}

/** What there is left to do: nothing, more of a round, the first of one more, or the end of one that a reader from outside is in the way of. */
type Progress = 'done' | 'more' | 'again' | 'busy';

/**
 * Takes away what is left of redacted texts, in rounds of small steps between the writes:
 *
 * 1. Merges the search index, which holds removed words until then. The older of its parts are freed, and zeroed.
 * 2. Zeroes the unallocated middle of every page. `secure_delete` zeroes what is deleted; but when SQLite spreads the rows
 *    of a page over two, it leaves their bytes there, where no deletion finds them.
 * 3. Empties the write-ahead log.
 *
 * How far a round is stands in the file: whatever ends the process, the next one goes on. After a redaction in the middle
 * of a round there is one more, however many such redactions there are: so each is waited for by two rounds at most.
 */
export function createScrubber(db: Database.Database): Scrubber {
  const begin = db.prepare(`INSERT INTO scrub (pk, position) VALUES (1, ${BEGUN})
    ON CONFLICT (pk) DO UPDATE SET again = again OR position <> ${BEGUN}`);
  const position = db.prepare('SELECT position FROM scrub');
  const moveOn = db.prepare('UPDATE scrub SET position = ?');
  const repeat = db.prepare(`UPDATE scrub SET position = ${BEGUN}, again = 0 WHERE again`);
  const end = db.prepare('DELETE FROM scrub');
  const merge = db.prepare(`INSERT INTO search (search, rank) VALUES ('merge', ?)`);
  const changes = db.prepare('SELECT total_changes() AS count');
  const size = db.prepare('PRAGMA page_count');
  const read = db.prepare('SELECT pgno, data FROM json_each(?) JOIN sqlite_dbpage ON pgno = value');
  const write = db.prepare('UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?');

  let pages: number = MERGED_PAGES.max;

  /** True when all that was in the index at the beginning is merged (SQLite FTS5, section 6.8). */
  function mergeSome(begins: boolean): boolean {
    const before = (changes.get([]) as { count: number }).count;
    const began = performance.now();
    // A negative number takes all parts of the index, however new, into one merge; a positive one goes on with it.
    merge.run([begins ? -pages : pages]);
    const slow = performance.now() - began > MERGED_PAGES.ms;
    pages = slow ? Math.max(MERGED_PAGES.min, pages >> 1) : Math.min(MERGED_PAGES.max, pages + MERGED_PAGES.min);
    return (changes.get([]) as { count: number }).count - before < 2;
  }

  /** Zeroes the middles of some pages; gives the next page, or null after the last. */
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

  function go(from: number): number | null {
    if (from <= MERGING) return mergeSome(from === BEGUN) && from === MERGING ? 1 : MERGING;
    return zeroSome(from);
  }

  return {
    begin: () => void begin.run([]),
    step() {
      const found = position.get([]) as { position: number } | undefined;
      if (!found) return 'done';
      db.exec('BEGIN IMMEDIATE');
      const next = go(found.position);
      if (next !== null) moveOn.run([next]);
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

/** Zeroes what lies between the cell pointers and the cells. True when there was something. */
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
