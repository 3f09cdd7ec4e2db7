import type Database from 'libsql';
import { createIndexer } from './indexer.ts';
import { createScrubber } from './scrubber.ts';
import { createSearchIndex } from './search-index.ts';
import type { Chores } from './writer.ts';

/** What the connection that writes does beside writing. */
export function createMaintenance(db: Database.Database): Chores {
  const index = createSearchIndex(db);
  return { index, indexer: createIndexer(db, index), scrubber: createScrubber(db) };
}
