import type Database from 'libsql';
import { LRUCache } from 'lru-cache';
import type { Conversation, ConversationId, EmailAddress, ListedConversation, Message, Rev, Seq } from '../../model.ts';
import type { ChatListFilter, ChatListPage, ChatListPosition, ChatListSlice, Store } from '../store.ts';
import {
  CONVERSATION,
  type ConversationRow,
  LISTED,
  type ListedRow,
  toConversation,
  toListed,
} from './conversation-row.ts';
import { MESSAGE, type MessageRow, toMessage } from './message-row.ts';
import { SEARCH_SQL } from './search/search.ts';

/**
 * The reading half of the port, over one connection. Rows cross the native boundary, which is the main cost, as one
 * JSON text.
 */
export type Reader = Pick<
  Store,
  | 'conversation'
  | 'listed'
  | 'memberCount'
  | 'conversationIds'
  | 'messages'
  | 'messagesByClientId'
  | 'changes'
  | 'firstUnread'
  | 'chatList'
  | 'leftSince'
  | 'unreadTotal'
>;

const PK = '(SELECT pk FROM conversations WHERE id = @id)';
const UNREAD = `m.conversation = r.conversation AND m.seq > r.read_seq AND m.sender <> r.email
  AND m.kind = 'TEXT' AND m.redacted_at IS NULL`;
// The + keeps SQLite from preparing the statement anew each time, as it does where a parameter is compared with a
// column of a partial index.
const LIST = `members r JOIN conversations c ON c.pk = r.conversation
  WHERE r.email = @reader AND r.left_at IS NULL AND +r.archived = @archived
    AND (@configId IS NULL OR c.config_id = @configId)
    AND (@status IS NULL OR c.status IN (SELECT value FROM json_each(@status)))
    AND (@label IS NULL OR @label IN (SELECT value FROM json_each(c.labels)))
    AND (@unreadOnly = 0 OR c.counted > r.sent + r.seen)`;
// Pinned first, beyond the horizon last, newest first, then by id: all ascending, so that one row comparison selects
// the rows after a position.
const ORDER = '1 - r.pinned, c.last_activity_at > @horizon, -c.last_activity_at, c.id';
const AT = '1 - @pinned, @lastActivityAt > @horizon, -@lastActivityAt, @id';

/** Total length of the JSON of the cached states, in UTF-16 units. */
const KEPT_STATES = 8_000_000;

/** Every statement the reader runs, for tests that look at their query plans. */
export const SQL = {
  conversation: `SELECT ${CONVERSATION} AS json FROM conversations c WHERE c.id = @id AND (@reader IS NULL
    OR EXISTS (SELECT 1 FROM members WHERE conversation = c.pk AND email = @reader AND left_at IS NULL))`,
  listed: `SELECT json_group_array(${LISTED}) AS json FROM json_each(@ids) CROSS JOIN conversations c ON c.id = value
    JOIN members r ON r.conversation = c.pk AND r.email = @reader AND r.left_at IS NULL`,
  memberCount: `SELECT count(*) AS count FROM members WHERE conversation = ${PK}`,
  conversationIds: 'SELECT id FROM conversations WHERE id > @after ORDER BY id LIMIT @limit',
  messages: `SELECT json_group_array(${MESSAGE}) AS json FROM
    (SELECT * FROM messages WHERE conversation = ${PK} AND seq BETWEEN @from AND @to ORDER BY seq) m`,
  messageByClientId: `SELECT ${MESSAGE} AS json FROM messages m
    WHERE m.conversation = ${PK} AND m.sender = @sender AND m.client_id = @clientId`,
  added: `SELECT c.last_seq AS lastSeq, c.last_rev AS lastRev,
    (SELECT coalesce(added_rev, rev) FROM messages WHERE conversation = c.pk AND seq = @seq) AS addedRev
    FROM conversations c WHERE c.id = @id`,
  // Messages that were never changed are in the order of `seq`, so that only changed ones need an index on `rev`.
  changes: `SELECT json_group_array(${MESSAGE}) AS json FROM (
    SELECT * FROM (SELECT * FROM messages
      WHERE conversation = ${PK} AND seq >= @from AND added_rev IS NULL ORDER BY seq LIMIT @limit)
    UNION ALL
    SELECT * FROM (SELECT * FROM messages
      WHERE conversation = ${PK} AND rev > @afterRev AND added_rev IS NOT NULL ORDER BY rev LIMIT @limit)
    ORDER BY rev LIMIT @limit) m`,
  firstUnread: `SELECT m.seq FROM members r JOIN messages m INDEXED BY messages_unread ON ${UNREAD}
    WHERE r.conversation = ${PK} AND r.email = @reader ORDER BY m.seq LIMIT 1`,
  unreadTotal: `SELECT coalesce(sum(c.counted - r.sent - r.seen), 0) AS total
    FROM ${LIST} AND r.muted = 0 AND r.archived = 0`,
  // The rows of the page are selected first, so that only they are converted to JSON.
  chatList: `SELECT json_group_array(${LISTED}) AS json FROM (SELECT c.pk FROM ${LIST}
    AND (@id IS NULL OR (${ORDER}) > (${AT})) ORDER BY ${ORDER} LIMIT @limit) page
    CROSS JOIN conversations c ON c.pk = page.pk CROSS JOIN members r ON r.conversation = c.pk AND r.email = @reader`,
  chatListHasBefore: `SELECT EXISTS (SELECT 1 FROM ${LIST} AND (${ORDER}) <= (${AT})) AS found`,
  leftSince: `SELECT c.id FROM members r JOIN conversations c ON c.pk = r.conversation
    WHERE r.email = @reader AND r.left_at >= @since LIMIT @limit`,
  ...SEARCH_SQL,
} as const;

export function createReader(db: Database.Database): Reader {
  const get = <Row>(sql: string): ((params: Record<string, unknown>) => Row | undefined) => {
    const statement = db.prepare(sql);
    return (params) => statement.get(params) as Row | undefined;
  };
  const conversation = get<{ json: string }>(SQL.conversation);
  const listed = get<{ json: string }>(SQL.listed);
  const memberCount = get<{ count: number }>(SQL.memberCount);
  const messages = get<{ json: string }>(SQL.messages);
  const messageByClientId = get<{ json: string }>(SQL.messageByClientId);
  const added = get<{ lastSeq: Seq; lastRev: Rev; addedRev: Rev | null }>(SQL.added);
  const changes = get<{ json: string }>(SQL.changes);
  const firstUnread = get<{ seq: Seq }>(SQL.firstUnread);
  const unreadTotal = get<{ total: number }>(SQL.unreadTotal);
  const chatList = get<{ json: string }>(SQL.chatList);
  const chatListHasBefore = get<{ found: 0 | 1 }>(SQL.chatListHasBefore);

  const conversationIds = db.prepare(SQL.conversationIds).pluck();
  const leftSince = db.prepare(SQL.leftSince).pluck();

  const listing = (reader: EmailAddress, filter: ChatListFilter) => ({
    reader,
    configId: filter.configId,
    status: filter.status && JSON.stringify(filter.status),
    label: filter.label,
    unreadOnly: Number(filter.unreadOnly),
    archived: Number(filter.archived),
  });
  const position = (at: ChatListPosition | null) => ({
    pinned: Number(at?.pinned ?? false),
    lastActivityAt: at?.lastActivityAt ?? 0,
    id: at?.id ?? null,
  });

  /** `seq` of the first message added after `afterRev`. Each earlier change moves it down by one at most. */
  function firstAddedAfter(id: ConversationId, afterRev: Rev): number {
    const { lastSeq = 0, lastRev = 0 } = added({ id, seq: 0 }) ?? {};
    let [from, to] = [Math.max(1, afterRev + 1 - (lastRev - lastSeq)), Math.min(afterRev, lastSeq) + 1];
    while (from < to) {
      const middle = Math.floor((from + to) / 2);
      if ((added({ id, seq: middle })?.addedRev ?? Number.POSITIVE_INFINITY) <= afterRev) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** The states read last: an unchanged conversation is the same object, and is not parsed again. */
  const states = new LRUCache<ConversationId, { readonly json: string; readonly state: Conversation }>({
    max: 1000,
    maxSize: KEPT_STATES,
    sizeCalculation: ({ json }) => json.length,
  });

  return {
    async conversation(id, reader) {
      const json = conversation({ id, reader: reader ?? null })?.json;
      if (json === undefined) return null;
      const before = states.get(id);
      if (before?.json === json) return before.state;
      const state = toConversation(JSON.parse(json) as ConversationRow);
      states.set(id, { json, state });
      return state;
    },
    async listed(reader, ids) {
      return toListedAll(listed({ reader, ids: JSON.stringify(ids) }));
    },
    async memberCount(id) {
      return memberCount({ id })?.count ?? 0;
    },
    async conversationIds(after, limit) {
      return conversationIds.all({ after: after ?? '', limit }) as ConversationId[];
    },
    async messages(id, from, to) {
      return toMessages(id, messages({ id, from, to }));
    },
    async messagesByClientId(id, keys) {
      const rows = keys.flatMap(({ sender, clientId }) => messageByClientId({ id, sender, clientId }) ?? []);
      return rows.map(({ json }) => toMessage(id, JSON.parse(json)));
    },
    async changes(id, afterRev, limit) {
      const from = firstAddedAfter(id, afterRev);
      return toMessages(id, changes({ id, from, afterRev, limit }));
    },
    async firstUnread(id, reader) {
      return firstUnread({ id, reader })?.seq ?? null;
    },
    async leftSince(reader, since, limit) {
      return leftSince.all({ reader, since, limit }) as ConversationId[];
    },
    async unreadTotal(reader, filter) {
      return unreadTotal(listing(reader, filter))?.total ?? 0;
    },
    async chatList(
      reader: EmailAddress,
      filter: ChatListFilter,
      { first, after, horizon = Number.MAX_SAFE_INTEGER }: ChatListSlice,
    ): Promise<ChatListPage> {
      const params = { ...listing(reader, filter), ...position(after), horizon };
      const rows = toListedAll(chatList({ ...params, limit: first + 1 }));
      return {
        conversations: rows.slice(0, first),
        hasNextPage: rows.length > first,
        hasPreviousPage: after !== null && chatListHasBefore(params)?.found === 1,
      };
    },
  };
}

function toMessages(id: ConversationId, row: { json: string } | undefined): Message[] {
  return (JSON.parse(row?.json ?? '[]') as MessageRow[]).map((message) => toMessage(id, message));
}

function toListedAll(row: { json: string } | undefined): ListedConversation[] {
  return (JSON.parse(row?.json ?? '[]') as ListedRow[]).map(toListed);
}
