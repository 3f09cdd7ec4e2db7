import type Database from 'libsql';
import type { EmailAddress, Seq } from '../../../model.ts';
import type { IndexedLeaf, RecordStore, Register } from '../../store.ts';
import { CONVERSATION, type ConversationRow, toConversation } from '../conversation-row.ts';
import { MESSAGE, type MessageRow, toMessage } from '../message-row.ts';

export type RecordReader = Omit<RecordStore, 'addToRegister' | 'setCheckpoint' | 'takeLease' | 'endLease'>;

const UNSEALED = `(SELECT json_group_array(json_array(email, read_seq)) FROM members
      WHERE conversation = c.pk AND unsealed = 1)`;
const PK = '(SELECT pk FROM conversations WHERE id = @id)';

/** Every statement of the reader, for tests that look at their query plans. */
export const RECORD_SQL = {
  unregistered: `SELECT json_array(registered_rev, ${CONVERSATION}, pk) AS json FROM conversations c
    WHERE unregistered = 1 AND pk > @after ORDER BY pk LIMIT @limit`,
  unsealed: `SELECT c.id, ${UNSEALED} AS reads
    FROM (SELECT DISTINCT conversation FROM members WHERE unsealed = 1 LIMIT @limit) u
    JOIN conversations c ON c.pk = u.conversation`,
  marks: `SELECT unregistered, ${UNSEALED} AS reads FROM conversations c WHERE id = @id`,
  register: 'SELECT size, checkpoint, abandoned FROM record',
  leaves: 'SELECT leaf FROM register WHERE idx >= @from AND idx < @to ORDER BY idx',
  ledgerLeaf: `SELECT idx AS "index", leaf FROM register WHERE conversation = ${PK} AND rev >= @rev AND idx < @size
    ORDER BY rev LIMIT 1`,
  newestLedgerLeaf: `SELECT idx AS "index", leaf FROM register WHERE conversation = ${PK} AND rev IS NOT NULL
    AND idx < @size ORDER BY rev DESC LIMIT 1`,
  readLeaves: `SELECT idx AS "index", leaf FROM register WHERE conversation = ${PK} AND rev IS NULL AND idx > @after
    ORDER BY idx LIMIT @limit`,
  tile: `SELECT hashes FROM tiles WHERE log = coalesce(${PK}, 0) AND level = @level AND idx = @index`,
  changedMessages: `SELECT ${MESSAGE} AS json FROM messages m INDEXED BY messages_changed
    WHERE m.conversation = ${PK} AND m.rev > @afterRev AND m.added_rev IS NOT NULL AND m.seq <= @seq
    ORDER BY m.rev LIMIT @limit`,
  systemMessages: `SELECT ${MESSAGE} AS json FROM messages m INDEXED BY messages_system
    WHERE m.conversation = ${PK} AND m.kind = 'SYSTEM' AND coalesce(m.added_rev, m.rev) > @afterRev
    AND m.seq > @afterRev - (SELECT last_rev - last_seq FROM conversations WHERE id = @id)
    ORDER BY m.seq LIMIT @limit`,
} as const;

/** The reads of the record, over one connection. Rows come by `all`: `get` adds a property to them. */
export function createRecordReader(db: Database.Database): RecordReader {
  const unregistered = db.prepare(RECORD_SQL.unregistered).pluck();
  const unsealed = db.prepare(RECORD_SQL.unsealed);
  const marks = db.prepare(RECORD_SQL.marks);
  const register = db.prepare(RECORD_SQL.register);
  const leaves = db.prepare(RECORD_SQL.leaves).pluck();
  const ledgerLeaf = db.prepare(RECORD_SQL.ledgerLeaf);
  const newestLedgerLeaf = db.prepare(RECORD_SQL.newestLedgerLeaf);
  const readLeaves = db.prepare(RECORD_SQL.readLeaves);
  const tile = db.prepare(RECORD_SQL.tile);
  const changedMessages = db.prepare(RECORD_SQL.changedMessages).pluck();
  const systemMessages = db.prepare(RECORD_SQL.systemMessages).pluck();
  /** The marked conversations are given out in turn, so that those which are always marked do not hold up others. */
  let after = 0;
  const messagesOf = (id: Parameters<typeof toMessage>[0], rows: unknown[]) =>
    (rows as string[]).map((json) => toMessage(id, JSON.parse(json) as MessageRow));

  return {
    async unregistered(limit) {
      const read = (limit: number, after: number) =>
        (unregistered.all({ limit, after }) as string[]).map((json): [number, ConversationRow, number] =>
          JSON.parse(json),
        );
      const rows = read(limit, after);
      if (rows.length < limit && after > 0)
        rows.push(...read(limit - rows.length, 0).filter(([, , pk]) => pk <= after));
      after = rows.at(-1)?.[2] ?? 0;
      return rows.map(([registeredRev, row]) => ({ state: toConversation(row), registeredRev }));
    },
    async unsealed(limit) {
      const rows = unsealed.all({ limit }) as { id: Parameters<typeof toMessage>[0]; reads: string }[];
      return rows.map(({ id, reads }) => ({
        conversation: id,
        reads: JSON.parse(reads) as [EmailAddress, Seq][],
      }));
    },
    async marks(id) {
      const row = marks.get({ id }) as { unregistered: number; reads: string } | undefined;
      return { unregistered: row?.unregistered === 1, reads: JSON.parse(row?.reads ?? '[]') };
    },
    async register() {
      const [found] = register.all([]) as [Register];
      return found;
    },
    async leaves(from, to) {
      return leaves.all({ from, to }) as string[];
    },
    async ledgerLeaf(id, rev, size) {
      const [found = null] = ledgerLeaf.all({ id, rev, size }) as IndexedLeaf[];
      return found;
    },
    async newestLedgerLeaf(id, size) {
      const [found = null] = newestLedgerLeaf.all({ id, size }) as IndexedLeaf[];
      return found;
    },
    async readLeaves(id, after, limit) {
      return readLeaves.all({ id, after, limit }) as IndexedLeaf[];
    },
    async tiles(log, keys) {
      return keys.map(({ level, index }) => {
        const row = tile.get({ id: log, level, index }) as { hashes: ArrayBuffer } | undefined;
        return row ? Buffer.from(row.hashes) : null;
      });
    },
    async changedMessages(id, afterRev, seq, limit) {
      return messagesOf(id, changedMessages.all({ id, afterRev, seq, limit }));
    },
    async systemMessages(id, afterRev, limit) {
      return messagesOf(id, systemMessages.all({ id, afterRev, limit }));
    },
  };
}
