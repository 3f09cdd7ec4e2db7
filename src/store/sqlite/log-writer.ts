import type Database from 'libsql';
import { countsAsUnread, type EmailAddress, type Message, type Role, type Seq } from '../../model.ts';
import { revAfter, type Write } from '../store.ts';
import { countsOf } from '../unread-counters.ts';
import type { Maintenance } from './maintenance.ts';
import { CHANGE_MESSAGE, changedRow, INSERT_MESSAGES, insertedRow } from './message-row.ts';

/** Writes to the logs of conversations, in the transaction under way; new messages are inserted together at its end. */
export function createLogWriter(db: Database.Database, { index, indexer, scrubber }: Maintenance) {
  const open = db.prepare(`INSERT INTO conversations
    (id, config_id, subject, party, created_at, last_activity_at, last_seq, last_rev, counted, imported_rev,
      unregistered)
    VALUES (@id, @configId, @subject, @party, @createdAt, @lastActivityAt, @lastSeq, @lastRev, @counted, @importedRev,
      @unregistered)
    ON CONFLICT (id) DO NOTHING`);
  const enroll = db.prepare(`INSERT INTO members (conversation, email, joined_at)
    SELECT (SELECT pk FROM conversations WHERE id = ?1), value, ?3 FROM json_each(?2)`);
  const advance = db.prepare(`UPDATE conversations SET last_seq = coalesce(?, last_seq), last_rev = ?,
    last_activity_at = coalesce(?, last_activity_at), counted = counted + ?, unregistered = ?
    WHERE id = ? AND last_rev = ? RETURNING pk`);
  const pkOf = db.prepare('SELECT pk FROM conversations WHERE id = ?');
  // All messages of a transaction in one statement: a call for each would cost more than writing it does.
  const insert = db.prepare(INSERT_MESSAGES);
  const textOf = db.prepare('SELECT text FROM messages WHERE conversation = ? AND seq = ?');
  const change = db.prepare(CHANGE_MESSAGE);
  const setState = db.prepare('UPDATE conversations SET status = ?, labels = ?, assignee = ? WHERE pk = ?');
  const join = db.prepare(`INSERT INTO members (conversation, email, joined_at, read_seq, seen, left_at, unsealed)
    VALUES (@pk, @email, @at, @readSeq, @seen, @leftAt, @readSeq > 0)
    ON CONFLICT (conversation, email) DO UPDATE SET joined_at = excluded.joined_at, left_at = excluded.left_at,
      read_seq = excluded.read_seq, seen = excluded.seen, read_at = NULL, unsealed = excluded.unsealed,
      muted = 0, pinned = 0, archived = 0`);
  const leave = db.prepare('UPDATE members SET left_at = ? WHERE conversation = ? AND email = ?');
  const setRole = db.prepare('UPDATE members SET role = ? WHERE conversation = ? AND email = ?');
  const addSent = db.prepare('UPDATE members SET sent = sent + ? WHERE conversation = ? AND email = ?');
  const decrementSeen = db.prepare(
    'UPDATE members SET seen = seen - 1 WHERE conversation = ? AND read_seq >= ? AND email <> ?',
  );
  const unarchive = db.prepare(`UPDATE members SET archived = 0 WHERE archived = 1 AND muted = 0
    AND conversation IN (SELECT value FROM json_each(?))`);

  /** Rows of new messages, inserted before another statement may read them and before the transaction ends. */
  let rows: unknown[][] = [];
  /** `seq` of the first of them, by conversation. */
  let firstOf = new Map<number, number>();
  /** Conversations with a new message that counts as unread. */
  let withUnread = new Set<number>();

  /** Inserts the new messages. */
  function flush(): void {
    if (rows.length === 0) return;
    insert.run([JSON.stringify(rows)]);
    if (withUnread.size > 0) unarchive.run([JSON.stringify([...withUnread])]);
    discard();
  }

  /** Inserts the new messages if one of this conversation up to `seq` is among them. */
  function flushUpTo(pk: number, seq: Seq): void {
    if ((firstOf.get(pk) ?? Number.POSITIVE_INFINITY) <= seq) flush();
  }

  /** Forgets new messages of an earlier transaction that failed. */
  function discard(): void {
    rows = [];
    firstOf = new Map();
    withUnread = new Set();
  }

  function write(
    { conversation, afterRev, opening, messages, changed, state, members, isPartial }: Omit<Write, 'roles'>,
    roles: Iterable<[EmailAddress, Role]>,
  ): boolean {
    const newest = messages.at(-1);
    const lastRev = revAfter({ messages, changed });
    const { counted, sent, redacted } = countsOf({ messages, changed });
    const unregistered = isPartial ? 0 : 1;
    let pk: number;
    if (opening) {
      const { configId, subject, party, importedRev = 0 } = opening;
      const at = messages[0]?.sentAt;
      const position = { lastActivityAt: newest?.sentAt, lastSeq: newest?.seq, lastRev, counted };
      const row = { id: conversation, configId, subject, party, createdAt: at, importedRev, unregistered, ...position };
      if (open.run(row).changes === 0) return false;
      enroll.run([conversation, JSON.stringify(opening.members), at]);
      pk = (pkOf.get([conversation]) as { pk: number }).pk;
    } else {
      const heads = [newest?.seq ?? null, lastRev, newest?.sentAt ?? null, counted, unregistered];
      const row = advance.get([...heads, conversation, afterRev]) as { pk: number } | undefined;
      if (!row) return false;
      pk = row.pk;
    }
    for (const message of messages) {
      rows.push(insertedRow(pk, message));
      if (!firstOf.has(pk)) firstOf.set(pk, message.seq);
      if (countsAsUnread(message)) withUnread.add(pk);
    }
    indexer.note(pk, messages.length);
    if (changed.length > 0) flush();
    for (const message of changed) changeMessage(pk, message);
    if (state) setState.run([state.status, JSON.stringify(state.labels), state.assignee, pk]);
    for (const { seq, sender } of redacted) decrementSeen.run([pk, seq, sender]);
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

  return { write, flush, flushUpTo, discard };
}
