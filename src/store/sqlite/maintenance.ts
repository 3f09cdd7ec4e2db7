import type Database from 'libsql';
import { createScrubber, type Scrubber } from './scrubber.ts';
import { createIndexer, type Indexer } from './search/indexer.ts';
import { createSearchIndex, type SearchIndex } from './search/search-index.ts';

/** The search index, and the maintenance done behind the writes. */
export interface Maintenance {
  readonly index: SearchIndex;
  readonly indexer: Indexer;
  readonly scrubber: Scrubber;
}

/** The maintenance of the connection that writes. */
export function createMaintenance(db: Database.Database): Maintenance {
  const index = createSearchIndex(db);
  return { index, indexer: createIndexer(db, index), scrubber: createScrubber(db) };
}
