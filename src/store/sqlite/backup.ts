import { pathToFileURL } from 'node:url';
import Database from 'libsql';
import { type Checked, checkLogs } from '../check.ts';
import { createReader } from './reader.ts';
import { APPLICATION_ID, requireVersion, VERSION } from './schema.ts';

/** The contents of a SQLite store, as `backup` and `check` count them. */
export interface Contents {
  /** Version of the tables (`PRAGMA user_version`). */
  readonly schema: number;
  readonly conversations: number;
  readonly messages: number;
}

async function open<T>(file: string, use: (db: Database.Database) => T | Promise<T>): Promise<T> {
  const db = new Database(`${pathToFileURL(file).href}?mode=ro`);
  try {
    return await use(db);
  } finally {
    db.close();
  }
}

/**
 * Copies the file into a new one, without free pages and so without remains of redacted texts (SQLite, VACUUM INTO). A
 * server that uses the file goes on reading and writing; the copy holds one state of it.
 */
export function copySqlite(from: string, to: string): Promise<unknown> {
  return open(from, (db) => db.prepare('VACUUM INTO ?').run(to));
}

/**
 * Checks a whole file: its pages and indexes (SQLite, PRAGMA integrity_check), and the laws of the log. Gives what it
 * holds and the faults, one line each.
 * @param older what to do with a file of an older version: refuse it, or take it, and check only its pages and indexes
 * @throws Error when it is not a file of this program, or of a version that is refused
 */
export function checkSqlite(
  file: string,
  older: 'refuse' | 'take',
  progress: (messages: number) => void,
): Promise<Contents & Checked> {
  return open(file, async (db) => {
    const column = <T>(sql: string) => (db.prepare(sql).raw().all() as [T][]).map(([value]) => value);
    const number = (sql: string) => Number(column<number>(sql)[0]);
    const schema = number('PRAGMA user_version');
    if (number('PRAGMA application_id') !== APPLICATION_ID) throw new Error(`${file} is not a Kredichat store`);
    requireVersion(file, schema, older);
    const pages = column<string>('PRAGMA integrity_check(20)').filter((line) => line !== 'ok');
    const counts = {
      conversations: number('SELECT count(*) FROM conversations'),
      messages: number('SELECT count(*) FROM messages'),
    };
    const { faults } = schema < VERSION ? { faults: [] } : await checkLogs(createReader(db), progress);
    return { schema, ...counts, faults: [...pages, ...faults] };
  });
}
