import type { StoreConfig } from '../config.ts';
import { openMongo, requireMongoStore } from '../store/mongo/mongo.ts';
import type { RecordReader } from '../store/sqlite/record/reader.ts';
import { openSqlite, readSqlite } from '../store/sqlite/sqlite.ts';
import type { Store } from '../store/store.ts';
import type { WholeStore } from '../store/walk.ts';

/** The reads of a store and its record. */
export type StoredRecord = WholeStore & RecordReader;

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

/**
 * Reads a store beside a running server; makes none.
 * @throws Error when there is none, or it cannot be read
 */
export async function readStore<T>(config: StoreConfig, use: (store: StoredRecord) => Promise<T>): Promise<T> {
  if (config.kind === 'sqlite') return readSqlite(config.path, use);
  await requireMongoStore(config.url);
  const store = await openMongo(config.url);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}
