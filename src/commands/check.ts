import type { Config } from '../config.ts';
import { checkRecord } from '../record/check.ts';
import { createPublisher } from '../record/publisher.ts';
import { type Checked, checkLogs } from '../store/check.ts';
import { checkSqlite } from '../store/sqlite/backup.ts';
import { allConversations } from '../store/walk.ts';
import { readStore, type StoredRecord } from './open-store.ts';
import { recordKeys } from './record-keys.ts';

/**
 * Checks a store beside a running server: the pages of a SQLite file, the laws of every log, and the record. `progress`
 * is called with the number of messages done since.
 * @throws Error when there is no store, or it cannot be read
 */
export async function check(
  config: Pick<Config, 'store' | 'record'>,
  progress: (messages: number) => void,
): Promise<Checked> {
  const { store, record } = config;
  const keys = recordKeys(config, 'skip');
  const publisher = record.publish === null ? null : createPublisher(record.publish);
  const faultsOf = async (reads: StoredRecord) => {
    const faults: string[] = [];
    for await (const fault of checkRecord(reads, allConversations(reads), keys, publisher)) faults.push(fault);
    return faults;
  };
  const laws =
    store.kind === 'sqlite'
      ? await checkSqlite(store.path, 'refuse', progress)
      : await readStore(store, (reads) => checkLogs(reads, progress));
  return { ...laws, faults: [...laws.faults, ...(await readStore(store, faultsOf))] };
}
