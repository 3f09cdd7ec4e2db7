import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Config } from '../config.ts';
import { createKey, ephemeralKeys, loadKeys, type RecordKeys } from '../record/keys.ts';

/**
 * The keys of RECORD_KEY_FILE, with the name RECORD_ORIGIN. Without it: for a SQLite file, the key beside it, made at
 * the first start; in memory, a new key; for MongoDB none, and nothing is signed.
 * @throws Error that names the file, when a key cannot be used
 */
export function recordKeys(
  { store, record: { origin, keyFiles } }: Pick<Config, 'store' | 'record'>,
  missing: 'create' | 'skip',
): RecordKeys {
  if (keyFiles.length > 0 || store.kind === 'mongodb') return loadKeys(keyFiles, origin);
  if (store.path === ':memory:') return ephemeralKeys(origin);
  const file = join(dirname(store.path), 'record-key.pem');
  if (missing === 'create') {
    mkdirSync(dirname(file), { recursive: true });
    createKey(file);
  }
  return loadKeys(existsSync(file) ? [file] : [], origin);
}
