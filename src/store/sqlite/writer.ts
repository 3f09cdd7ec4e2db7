import type Database from 'libsql';
import {
  type ConversationId,
  countsAsUnread,
  type EmailAddress,
  type Message,
  type Rev,
  type Role,
  type Seq,
  type View,
} from '../../model.ts';
import { type ReadMoved, revAfter, type Write } from '../store.ts';
import { changesOf, countsOf } from '../unread-counters.ts';
import { CHANGE_MESSAGE, changedRow, INSERT_MESSAGES, insertedRow } from './message-row.ts';
import { createScrubber, type Scrubber } from './scrubber.ts';
import { createIndexer, type Indexer } from './search/indexer.ts';
import { createSearchIndex, type SearchIndex } from './search/search-index.ts';

/** A write the writer understands; JSON, so that it crosses into the writer's thread as one text. */
export type Command =
  | { readonly kind: 'write'; readonly write: Omit<Write, 'roles'>; readonly roles: readonly [EmailAddress, Role][] }
  | {
      readonly kind: 'advanceReadPosition';
      readonly id: ConversationId;
      readonly reader: EmailAddress;
      readonly seq: Seq;
      readonly role: Role | null;
    }
  | {
      readonly kind: 'setView';
      readonly id: ConversationId;
      readonly reader: EmailAddress;
      readonly view: Partial<View>;
    }
  | { readonly kind: 'index'; readonly pks: readonly number[] }
  | { readonly kind: 'ping' };

/**
 * Pages a ping writes: as many as an ordinary send. After a failed write it is more, because what the log took of that
 * write is room for small ones.
 */
const [PROBE_PAGES, SUSPICIOUS_PAGES] = [16, 64];
/** How long the result of a ping also answers later pings, in milliseconds. */
const PROBED_MS = 500;

/** The search index, and the maintenance done behind the writes. */
export interface Chores {
  readonly index: SearchIndex;
  readonly indexer: Indexer;
  readonly scrubber: Scrubber;
}

/** The maintenance of the connection that writes. */
export function createMaintenance(db: Database.Database): Chores {
  const index = createSearchIndex(db);
  return { index, indexer: createIndexer(db, index), scrubber: createScrubber(db) };
}

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
  { index, indexer, scrubber }: Chores,
): (commands: readonly Command[]) => Outcome[] {
  const open = db.prepare(`INSERT INTO conversations
    (id, config_id, subject, party, created_at, last_activity_at, last_seq, last_rev, counted)
    VALUES (@id, @configId, @subject, @party, @createdAt, @lastActivityAt, @lastSeq, @lastRev, @counted)
    ON CONFLICT (id) DO NOTHING`);
  const enroll = db.prepare(`INSERT INTO members (conversation, email, joined_at)
    SELECT (SELECT pk FROM conversations WHERE id = ?1), value, ?3 FROM json_each(?2)`);
  const advance = db.prepare(`UPDATE conversations SET last_seq = coalesce(?, last_seq), last_rev = ?,
    last_activity_at = coalesce(?, last_activity_at), counted = counted + ?
    WHERE id = ? AND last_rev = ? RETURNING pk`);
  const headOf = db.prepare(
    'SELECT pk, last_seq AS lastSeq, last_rev AS lastRev, counted FROM conversations WHERE id = ?',
  );
  // All messages of a transaction in one statement: a call for each would cost more than writing it does.
  const insert = db.prepare(INSERT_MESSAGES);
  const textOf = db.prepare('SELECT text FROM messages WHERE conversation = ? AND seq = ?');
  const change = db.prepare(CHANGE_MESSAGE);
  const setState = db.prepare('UPDATE conversations SET status = ?, labels = ?, assignee = ? WHERE pk = ?');
  const join = db.prepare(`INSERT INTO members (conversation, email, joined_at, read_seq, seen, left_at)
    VALUES (@pk, @email, @at, @readSeq, @seen, @leftAt)
    ON CONFLICT (conversation, email) DO UPDATE SET joined_at = excluded.joined_at, left_at = excluded.left_at,
      read_seq = excluded.read_seq, seen = excluded.seen, muted = 0, pinned = 0, archived = 0`);
  const leave = db.prepare('UPDATE members SET left_at = ? WHERE conversation = ? AND email = ?');
  const setRole = db.prepare('UPDATE members SET role = ? WHERE conversation = ? AND email = ?');
  const addSent = db.prepare('UPDATE members SET sent = sent + ? WHERE conversation = ? AND email = ?');
  const unsee = db.prepare(
    'UPDATE members SET seen = seen - 1 WHERE conversation = ? AND read_seq >= ? AND email <> ?',
  );
  const bringBack = db.prepare(`UPDATE members SET archived = 0 WHERE archived = 1 AND muted = 0
    AND conversation IN (SELECT value FROM json_each(?))`);
  const advanceReadPosition = db.prepare(`UPDATE members SET read_seq = ?1, role = coalesce(?2, role),
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

  /** Rows of new messages, inserted before another statement may read them and before the transaction ends. */
  let rows: unknown[][] = [];
  /** `seq` of the first of them, by conversation. */
  let firstOf = new Map<number, number>();
  /** Conversations with a new message that counts as unread. */
  let spokenIn = new Set<number>();

  function flush(): void {
    if (rows.length === 0) return;
    insert.run([JSON.stringify(rows)]);
    if (spokenIn.size > 0) bringBack.run([JSON.stringify([...spokenIn])]);
    discard();
  }

  function discard(): void {
    rows = [];
    firstOf = new Map();
    spokenIn = new Set();
  }

  function write(
    { conversation, afterRev, opening, messages, changed, state, members }: Omit<Write, 'roles'>,
    roles: Iterable<[EmailAddress, Role]>,
  ): boolean {
    const newest = messages.at(-1);
    const lastRev = revAfter({ messages, changed });
    const { counted, sent, redacted } = countsOf({ messages, changed });
    let pk: number;
    if (opening) {
      const { configId, subject, party } = opening;
      const at = messages[0]?.sentAt;
      const position = { lastActivityAt: newest?.sentAt, lastSeq: newest?.seq, lastRev, counted };
      const row = { id: conversation, configId, subject, party, createdAt: at, ...position };
      if (open.run(row).changes === 0) return false;
      enroll.run([conversation, JSON.stringify(opening.members), at]);
      pk = (headOf.get([conversation]) as { pk: number }).pk;
    } else {
      const heads = [newest?.seq ?? null, lastRev, newest?.sentAt ?? null, counted];
      const row = advance.get([...heads, conversation, afterRev]) as { pk: number } | undefined;
      if (!row) return false;
      pk = row.pk;
    }
    for (const message of messages) {
      rows.push(insertedRow(pk, message));
      if (!firstOf.has(pk)) firstOf.set(pk, message.seq);
      if (countsAsUnread(message)) spokenIn.add(pk);
    }
    indexer.note(pk, messages.length);
    if (changed.length > 0) flush();
    for (const message of changed) changeMessage(pk, message);
    if (state) setState.run([state.status, JSON.stringify(state.labels), state.assignee, pk]);
    for (const { seq, sender } of redacted) unsee.run([pk, seq, sender]);
    for (const { email, joined, leftAt } of members) {
      if (joined) join.run({ pk, email, ...joined, leftAt });
      else leave.run([leftAt, pk, email]);
    }
    for (const [email, role] of roles) setRole.run([role, pk, email]);
    for (const [email, more] of sent) addSent.run([more, pk, email]);
    return true;
  }

  function changeMessage(pk: number, message: Message): void {
    const { seq, text, redactedAt } = message;
    const before = textOf.get([pk, seq]) as { text: string } | undefined;
    if (!before) throw new Error(`message ${seq} does not exist and cannot be changed`);
    change.run(changedRow(pk, message));
    if (seq <= indexer.indexedSeq(pk)) {
      index.remove([[pk, seq, before.text]]);
      if (countsAsUnread(message)) index.add([[pk, seq, text]]);
    }
    if (redactedAt !== null) scrubber.begin();
  }

  function apply(command: Command): Done {
    switch (command.kind) {
      case 'write':
        return { changed: write(command.write, command.roles) };
      case 'advanceReadPosition': {
        const { id, reader, seq, role } = command;
        const head = headOf.get([id]) as Head | undefined;
        if (!head) return { changed: false };
        if ((firstOf.get(head.pk) ?? Number.POSITIVE_INFINITY) <= seq) flush();
        const values = [seq, role, head.pk, reader, head.lastSeq, head.counted];
        const moved = advanceReadPosition.get(values) as { seen: number } | undefined;
        return moved ? { changed: true, read: { seen: moved.seen, changes: changesOf(head) } } : { changed: false };
      }
      case 'setView': {
        flush();
        const { muted, pinned, archived } = command.view;
        const values = [muted, pinned, archived].map((value) => (value === undefined ? null : Number(value)));
        const { pk = null } = (headOf.get([command.id]) as Head | undefined) ?? {};
        return { changed: setView.run([...values, pk, command.reader]).changes > 0 };
      }
      case 'index':
        flush();
        return { changed: indexer.catchUp(command.pks) };
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
      discard();
      const outcomes = commands.map(apply);
      flush();
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
