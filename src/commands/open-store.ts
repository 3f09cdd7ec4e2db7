import type { StoreConfig } from '../config.ts';
import { openMongo } from '../store/mongo/mongo.ts';
import { openSqlite } from '../store/sqlite/sqlite.ts';
import type { Store } from '../store/store.ts';

/**
 * Opens a store; `report` is called when it fails later.
 * @throws Error when it cannot be opened
 */
export function openStore(config: StoreConfig, report?: (error: unknown) => void): Promise<Store> {
  return config.kind === 'mongodb' ? openMongo(config.url, report) : openSqlite(config.path, report);
}
