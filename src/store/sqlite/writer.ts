import type Database from 'libsql';
import type { ConversationId, EmailAddress, Role } from '../../model.ts';
import type { Append } from '../store.ts';
import { VERSION } from './schema.ts';

/** A write the writer understands; JSON, so that it crosses into the writer's thread as one text. */
export type Command =
  | { readonly kind: 'append'; readonly append: Omit<Append, 'roles'>; readonly roles: readonly [EmailAddress, Role][] }
  | {
      readonly kind: 'moveRead';
      readonly id: ConversationId;
      readonly reader: EmailAddress;
      readonly seq: number;
      readonly role: Role | null;
    }
  | { readonly kind: 'ping' };

/** What came of a command: whether it changed something, or why it failed. */
export type Outcome = { readonly changed: boolean } | { readonly failed: string; readonly nothingWritten: boolean };

/**
 * Applies commands in order, all in one transaction: one fsync for however many came together.
 * Where one of them breaks the transaction, each is tried again alone, so that it fails alone.
 */
export function createWriter(db: Database.Database): (commands: readonly Command[]) => Outcome[] {
  const open = db.prepare(`INSERT INTO conversations
    (id, config_id, subject, party, created_at, last_activity_at, last_seq, last_rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING`);
  const join = db.prepare(`INSERT INTO members (conversation, email, joined_at)
    SELECT (SELECT pk FROM conversations WHERE id = ?1), value, ?3 FROM json_each(?2)`);
  const advance = db.prepare(`UPDATE conversations SET last_seq = ?, last_rev = ?, last_activity_at = ?
    WHERE id = ? AND last_rev = ? RETURNING pk`);
  const pkOf = db.prepare('SELECT pk FROM conversations WHERE id = ?');
  // All messages of a transaction in one statement: a call for each would cost more than writing it does.
  const insert = db.prepare(`INSERT INTO messages
    (conversation, seq, rev, kind, sender, text, client_id, reply_to_seq, sent_at)
    SELECT ${Array.from({ length: 9 }, (_, i) => `value ->> ${i}`)} FROM json_each(?)`);
  const setRole = db.prepare('UPDATE members SET role = ? WHERE conversation = ? AND email = ?');
  const moveRead = db.prepare(`UPDATE members SET read_seq = ?1, role = coalesce(?2, role)
    WHERE conversation = ?3 AND email = ?4 AND read_seq < ?1`);

  /** Rows of messages to be inserted before the transaction ends. */
  let rows: unknown[][] = [];

  function append(
    { conversation, afterRev, opening, messages }: Omit<Append, 'roles'>,
    roles: Iterable<[EmailAddress, Role]>,
  ): boolean {
    const newest = messages.at(-1);
    if (!newest) return false;
    const heads = [newest.seq, newest.rev, newest.sentAt];
    let pk: number;
    if (opening) {
      const { configId, subject, party, members } = opening;
      const at = messages[0]?.sentAt;
      if (open.run([conversation, configId, subject, party, at, newest.sentAt, newest.seq, newest.rev]).changes === 0)
        return false;
      join.run([conversation, JSON.stringify(members), at]);
      pk = (pkOf.get([conversation]) as { pk: number }).pk;
    } else {
      const row = advance.get([...heads, conversation, afterRev]) as { pk: number } | undefined;
      if (!row) return false;
      pk = row.pk;
    }
    for (const m of messages) {
      rows.push([pk, m.seq, m.rev, m.kind, m.sender, m.text, m.clientId, m.replyToSeq, m.sentAt]);
    }
    for (const [email, role] of roles) setRole.run([role, pk, email]);
    return true;
  }

  function apply(command: Command): boolean {
    switch (command.kind) {
      case 'append':
        return append(command.append, command.roles);
      case 'moveRead': {
        const pk = (pkOf.get([command.id]) as { pk: number } | undefined)?.pk ?? null;
        return moveRead.run([command.seq, command.role, pk, command.reader]).changes > 0;
      }
      case 'ping':
        // Writes a page of the file, so that it fails when the next append would.
        db.exec(`PRAGMA user_version = ${VERSION}`);
        return true;
    }
  }

  function commit(commands: readonly Command[]): Outcome[] {
    let committing = false;
    try {
      db.exec('BEGIN IMMEDIATE');
      rows = [];
      const outcomes = commands.map((command) => ({ changed: apply(command) }));
      if (rows.length > 0) insert.run([JSON.stringify(rows)]);
      committing = true;
      db.exec('COMMIT');
      return outcomes;
    } catch (error) {
      if (db.inTransaction) db.exec('ROLLBACK');
      if (commands.length > 1) return commands.flatMap((command) => commit([command]));
      // A full disk fails before anything reaches the log; after another failure of COMMIT nobody knows.
      const full = error instanceof Error && 'code' in error && error.code === 'SQLITE_FULL';
      return [{ failed: String(error), nothingWritten: full || !committing }];
    }
  }
  return commit;
}
