import type Database from 'libsql';
import type { ConversationId, EmailAddress, Instant, Rev, Role, Seq, View } from '../../model.ts';
import type { ReadMoved, Write } from '../store.ts';
import { changesOf } from '../unread-counters.ts';
import { createLogWriter } from './log-writer.ts';
import type { Maintenance } from './maintenance.ts';
import { createRecordWriter, type RegisterRows } from './record/writer.ts';

/** A write the writer understands; JSON, so that it crosses into the writer's thread as one text. */
export type Command =
  | { readonly kind: 'write'; readonly write: Omit<Write, 'roles'>; readonly roles: readonly [EmailAddress, Role][] }
  | {
      readonly kind: 'advanceReadPosition';
      readonly id: ConversationId;
      readonly reader: EmailAddress;
      readonly seq: Seq;
      readonly role: Role | null;
      readonly at: Instant | null;
    }
  | {
      readonly kind: 'setView';
      readonly id: ConversationId;
      readonly reader: EmailAddress;
      readonly view: Partial<View>;
    }
  | { readonly kind: 'register'; readonly batch: RegisterRows }
  | { readonly kind: 'checkpoint'; readonly checkpoint: string; readonly size: number }
  | { readonly kind: 'index'; readonly pks: readonly number[] }
  | { readonly kind: 'ping' };

/**
 * Pages that a ping writes: as many as an ordinary send; more after a failed write, as the part of the log that this
 * write has extended has room for small writes.
 */
const [PROBE_PAGES, SUSPICIOUS_PAGES] = [16, 64];
/** How long the result of a ping also answers later pings, in milliseconds. */
const PROBED_MS = 500;

/** Position and counter of a conversation. */
interface Head {
  readonly pk: number;
  readonly lastSeq: Seq;
  readonly lastRev: Rev;
  readonly counted: number;
}

/** Whether a command changed something; with a read position that moved, the fields of its wake-up. */
export interface Done {
  readonly changed: boolean;
  readonly read?: Pick<ReadMoved, 'seen' | 'changes'>;
}

/** Result of a command, or why it failed. */
export type Outcome = Done | { readonly failed: string; readonly nothingWritten: boolean };

/**
 * Applies commands in order, all in one transaction: one fsync for however many came together.
 * When one of them breaks the transaction, each is tried again alone, so that only the faulty one fails.
 */
export function createWriter(
  db: Database.Database,
  maintenance: Maintenance,
): (commands: readonly Command[]) => Outcome[] {
  const log = createLogWriter(db, maintenance);
  const record = createRecordWriter(db);
  const headOf = db.prepare(
    'SELECT pk, last_seq AS lastSeq, last_rev AS lastRev, counted FROM conversations WHERE id = ?',
  );
  const advanceReadPosition = db.prepare(`UPDATE members SET read_seq = ?1, role = coalesce(?2, role),
    read_at = CASE WHEN read_seq < ?1 THEN ?7 ELSE read_at END, unsealed = unsealed OR read_seq < ?1,
    seen = CASE ?1 WHEN ?5 THEN ?6 - sent ELSE seen + (SELECT count(*) FROM messages m
      WHERE m.conversation = ?3 AND m.seq > read_seq AND m.seq <= ?1 AND m.sender <> ?4
        AND m.kind = 'TEXT' AND m.redacted_at IS NULL) END
    WHERE conversation = ?3 AND email = ?4 AND left_at IS NULL
      AND (read_seq < ?1 OR (read_seq = ?1 AND ?2 IS NOT NULL AND role IS NOT ?2))
    RETURNING seen`);
  const setView = db.prepare(`UPDATE members SET muted = coalesce(?1, muted), pinned = coalesce(?2, pinned),
    archived = coalesce(?3, archived) WHERE conversation = ?4 AND email = ?5 AND left_at IS NULL
    AND (muted, pinned, archived) <> (coalesce(?1, muted), coalesce(?2, pinned), coalesce(?3, archived))`);

  // SQLite writes the pages although their content stays the same.
  const probe = db.prepare('UPDATE sqlite_dbpage SET data = data WHERE pgno <= ?');
  let probedAt = Number.NEGATIVE_INFINITY;
  /** Whether the last write failed. */
  let failing = false;

  function apply(command: Command): Done {
    switch (command.kind) {
      case 'write':
        return { changed: log.write(command.write, command.roles) };
      case 'advanceReadPosition': {
        const { id, reader, seq, role, at } = command;
        const head = headOf.get([id]) as Head | undefined;
        if (!head) return { changed: false };
        log.flushUpTo(head.pk, seq);
        const values = [seq, role, head.pk, reader, head.lastSeq, head.counted, at];
        const moved = advanceReadPosition.get(values) as { seen: number } | undefined;
        return moved ? { changed: true, read: { seen: moved.seen, changes: changesOf(head) } } : { changed: false };
      }
      case 'setView': {
        log.flush();
        const { muted, pinned, archived } = command.view;
        const values = [muted, pinned, archived].map((value) => (value === undefined ? null : Number(value)));
        const { pk = null } = (headOf.get([command.id]) as Head | undefined) ?? {};
        return { changed: setView.run([...values, pk, command.reader]).changes > 0 };
      }
      case 'register':
        return { changed: record.addToRegister(command.batch) };
      case 'checkpoint':
        return { changed: record.setCheckpoint(command.checkpoint, command.size) };
      case 'index':
        log.flush();
        return { changed: maintenance.indexer.catchUp(command.pks) };
      case 'ping':
        // Writes pages of the file, so that it fails when the next write would.
        if (failing || performance.now() - probedAt > PROBED_MS) {
          probe.run([failing ? SUSPICIOUS_PAGES : PROBE_PAGES]);
          probedAt = performance.now();
        }
        return { changed: true };
    }
  }

  function commit(commands: readonly Command[]): Outcome[] {
    let committing = false;
    try {
      db.exec('BEGIN IMMEDIATE');
      log.discard();
      const outcomes = commands.map(apply);
      log.flush();
      committing = true;
      db.exec('COMMIT');
      if (outcomes.some(({ changed }) => changed)) failing = false;
      return outcomes;
    } catch (error) {
      failing = true;
      if (db.inTransaction) db.exec('ROLLBACK');
      if (commands.length > 1) return commands.flatMap((command) => commit([command]));
      // A full disk fails before anything reaches the log; after any other failure of COMMIT the outcome is unknown.
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      const failed = error instanceof Error ? `${code || error.name}: ${error.message}` : String(error);
      return [{ failed, nothingWritten: code === 'SQLITE_FULL' || !committing }];
    }
  }
  return commit;
}
