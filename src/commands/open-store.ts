import type { StoreConfig } from '../config.ts';
import { openMongo } from '../store/mongo/mongo.ts';
import { openSqlite } from '../store/sqlite/sqlite.ts';
import type { Store } from '../store/store.ts';

/**
 * Opens a store; `report` is called when it fails later, `onOpen` with the processes that share a MongoDB store.
 * @throws Error when it cannot be opened
 */
export function openStore(
  config: StoreConfig,
  report?: (error: unknown) => void,
  onOpen?: Parameters<typeof openMongo>[2],
): Promise<Store> {
  return config.kind === 'mongodb' ? openMongo(config.url, report, onOpen) : openSqlite(config.path, report);
}
