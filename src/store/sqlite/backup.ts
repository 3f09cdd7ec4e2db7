import { pathToFileURL } from 'node:url';
import Database from 'libsql';
import { APPLICATION_ID, VERSION } from './schema.ts';

/** The contents of a SQLite store, as `backup` and `check` count them. */
export interface Contents {
  /** Version of the tables (`PRAGMA user_version`). */
  readonly schema: number;
  readonly conversations: number;
  readonly messages: number;
}

function open<T>(file: string, use: (db: Database.Database) => T): T {
  const db = new Database(`${pathToFileURL(file).href}?mode=ro`);
  try {
    return use(db);
  } finally {
    db.close();
  }
}

/**
 * Copies the file into a new one, without free pages and so without remains of redacted texts (SQLite, VACUUM INTO). A
 * server that uses the file goes on reading and writing; the copy holds one state of it.
 */
export function copySqlite(from: string, to: string): void {
  open(from, (db) => db.prepare('VACUUM INTO ?').run(to));
}

/** Each query finds the conversations that break one law of the log. */
const LAWS: Readonly<Record<string, string>> = {
  'the numbers of the messages have a hole': `
    SELECT id FROM conversations c LEFT JOIN messages m ON m.conversation = c.pk
    GROUP BY c.pk HAVING count(m.seq) <> last_seq OR min(m.seq) <> 1 OR max(m.seq) <> last_seq`,
  'two messages have one position, or one beyond the last': `
    SELECT id FROM conversations c JOIN messages m ON m.conversation = c.pk
    GROUP BY c.pk HAVING count(DISTINCT m.rev) <> count(*) OR max(m.rev) > last_rev`,
  'a member has read beyond the last message': `
    SELECT DISTINCT id FROM conversations c JOIN members r ON r.conversation = c.pk WHERE read_seq > last_seq`,
  'the counter of messages that count as unread is wrong': `
    SELECT id FROM conversations c WHERE counted <> (SELECT count(*) FROM messages
      WHERE conversation = c.pk AND kind = 'TEXT' AND redacted_at IS NULL)`,
  'the counters of a member are wrong': `
    SELECT DISTINCT id FROM conversations c JOIN members r ON r.conversation = c.pk WHERE sent <> (SELECT count(*)
      FROM messages WHERE conversation = c.pk AND kind = 'TEXT' AND redacted_at IS NULL AND sender = email)
    OR seen <> (SELECT count(*) FROM messages WHERE conversation = c.pk AND kind = 'TEXT' AND redacted_at IS NULL
      AND sender <> email AND seq <= read_seq)`,
};

/**
 * Checks a whole file: its pages and indexes (SQLite, PRAGMA integrity_check), and the laws of the log. Gives what it
 * holds and the faults, one line each.
 * @throws Error when it is not a file of this program, or of a newer version
 */
export function checkSqlite(file: string): { readonly contents: Contents; readonly faults: readonly string[] } {
  return open(file, (db) => {
    const column = <T>(sql: string) => (db.prepare(sql).raw().all() as [T][]).map(([value]) => value);
    const number = (sql: string) => Number(column<number>(sql)[0]);
    const schema = number('PRAGMA user_version');
    if (number('PRAGMA application_id') !== APPLICATION_ID) throw new Error(`${file} is not a Kredichat store`);
    if (schema > VERSION) throw new Error(`${file} is of version ${schema}; this program reads up to ${VERSION}`);
    const pages = column<string>('PRAGMA integrity_check(20)').filter((line) => line !== 'ok');
    const laws = schema < VERSION ? [] : Object.entries(LAWS);
    const broken = laws.flatMap(([law, sql]) => column<string>(`${sql} LIMIT 20`).map((id) => `${id}: ${law}`));
    return {
      contents: {
        schema,
        conversations: number('SELECT count(*) FROM conversations'),
        messages: number('SELECT count(*) FROM messages'),
      },
      faults: [...pages, ...broken],
    };
  });
}
