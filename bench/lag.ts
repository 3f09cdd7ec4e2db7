import Database from 'libsql';
import type { Target } from './servers.ts';

const LAG = 'SELECT sum(last_seq - indexed_seq) AS lag FROM conversations';

/** Messages of a server's SQLite file that a search would have to index first; NaN where there is no such file. */
export async function indexLag({ file }: Target): Promise<number> {
  if (file === null) return Number.NaN;
  const db = new Database(file, { readonly: true } as Database.Options);
  const { lag } = db.prepare(LAG).get([]) as { lag: number };
  db.close();
  return lag;
}
