import type Database from 'libsql';
import { LRUCache } from 'lru-cache';
import type { Conversation, ConversationId, EmailAddress, Member, Message } from '../../model.ts';
import type { ChatListFilter, ChatListPage, ChatListPosition, ChatListSlice, Store } from '../store.ts';

/** The reading half of the port, over one connection. Rows cross the native boundary as one JSON text: that is what costs. */
export type Reader = Pick<
  Store,
  'conversation' | 'messages' | 'messagesByClientId' | 'firstUnread' | 'unreadCount' | 'chatList' | 'unreadTotal'
>;

const CONVERSATION = `json_array(c.id, c.config_id, c.subject, c.party, c.status, json(c.labels), c.assignee, c.created_at,
  c.last_activity_at, c.last_seq, c.last_rev,
  (SELECT json_group_array(json_array(email, role, read_seq, joined_at, left_at, muted, pinned, archived))
   FROM (SELECT * FROM members WHERE conversation = c.pk ORDER BY joined_at, email)))`;
type ConversationRow = [
  ...[ConversationId, string, string | null, string | null, Conversation['status'], string[], EmailAddress | null],
  ...[number, number, number, number, MemberRow[]],
];
type MemberRow = [EmailAddress, Member['role'], number, number, number | null, 0 | 1, 0 | 1, 0 | 1];

const MESSAGE = `json_array(m.seq, m.rev, m.kind, m.sender, m.text, m.client_id, m.reply_to_seq, m.sent_at, m.edited_at,
  m.redacted_at, json(m.revisions))`;
type MessageRow = [
  ...[number, number, Message['kind'], EmailAddress, string, string | null, number | null, number],
  ...[number | null, number | null, Message['revisions']],
];

const PK = '(SELECT pk FROM conversations WHERE id = @id)';
const UNREAD = `m.conversation = r.conversation AND m.seq > r.read_seq AND m.sender <> r.email AND m.kind = 'TEXT' AND m.redacted_at IS NULL`;
const COUNT_UNREAD = `(SELECT count(*) FROM messages m INDEXED BY messages_unread WHERE ${UNREAD})`;
const LISTED = `members r JOIN conversations c ON c.pk = r.conversation
  WHERE r.email = @reader AND r.left_at IS NULL AND r.archived = @archived
    AND (@configId IS NULL OR c.config_id = @configId)
    AND (@status IS NULL OR c.status IN (SELECT value FROM json_each(@status)))
    AND (@label IS NULL OR @label IN (SELECT value FROM json_each(c.labels)))
    AND (@unreadOnly = 0 OR EXISTS (SELECT 1 FROM messages m INDEXED BY messages_unread WHERE ${UNREAD}))`;
// Pinned first, newest first, then by id: all ascending, so that one row comparison finds what comes after a position.
const ORDER = '(1 - r.pinned, -c.last_activity_at, c.id)';

/** Every statement the reader runs, for tests that look at their query plans. */
export const SQL = {
  conversation: `SELECT ${CONVERSATION} AS json FROM conversations c WHERE c.id = @id`,
  messages: `SELECT json_group_array(${MESSAGE}) AS json FROM
    (SELECT * FROM messages WHERE conversation = ${PK} AND seq BETWEEN @from AND @to ORDER BY seq) m`,
  messagesByClientId: `SELECT json_group_array(${MESSAGE}) AS json FROM json_each(@keys) k
    CROSS JOIN messages m ON m.conversation = ${PK} AND m.sender = k.value ->> 0 AND m.client_id = k.value ->> 1`,
  firstUnread: `SELECT m.seq FROM members r JOIN messages m INDEXED BY messages_unread ON ${UNREAD}
    WHERE r.conversation = ${PK} AND r.email = @reader ORDER BY m.seq LIMIT 1`,
  unreadCount: `SELECT ${COUNT_UNREAD} AS count FROM members r WHERE r.conversation = ${PK} AND r.email = @reader`,
  unreadTotal: `SELECT coalesce(sum(${COUNT_UNREAD}), 0) AS total FROM ${LISTED} AND r.muted = 0 AND r.archived = 0`,
  chatList: `SELECT json_group_array(json(json)) AS json FROM (SELECT ${CONVERSATION} AS json FROM ${LISTED}
    AND (@id IS NULL OR ${ORDER} > (1 - @pinned, -@lastActivityAt, @id)) ORDER BY 1 - r.pinned, -c.last_activity_at, c.id LIMIT @limit)`,
  chatListHasBefore: `SELECT EXISTS (SELECT 1 FROM ${LISTED} AND ${ORDER} <= (1 - @pinned, -@lastActivityAt, @id)) AS found`,
} as const;

export function createReader(db: Database.Database): Reader {
  const get = <Row>(sql: string): ((params: Record<string, unknown>) => Row | undefined) => {
    const statement = db.prepare(sql);
    return (params) => statement.get(params) as Row | undefined;
  };
  const conversation = get<{ json: string }>(SQL.conversation);
  const messages = get<{ json: string }>(SQL.messages);
  const messagesByClientId = get<{ json: string }>(SQL.messagesByClientId);
  const firstUnread = get<{ seq: number }>(SQL.firstUnread);
  const unreadCount = get<{ count: number }>(SQL.unreadCount);
  const unreadTotal = get<{ total: number }>(SQL.unreadTotal);
  const chatList = get<{ json: string }>(SQL.chatList);
  const chatListHasBefore = get<{ found: 0 | 1 }>(SQL.chatListHasBefore);

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

  /** What was read last: a conversation that has not changed is the same object, and is not parsed again. */
  const states = new LRUCache<ConversationId, { readonly json: string; readonly state: Conversation }>({ max: 1000 });

  return {
    async conversation(id) {
      const json = conversation({ id })?.json;
      if (json === undefined) return null;
      const before = states.get(id);
      if (before?.json === json) return before.state;
      const state = toConversation(JSON.parse(json));
      states.set(id, { json, state });
      return state;
    },
    async messages(id, from, to) {
      return toMessages(id, messages({ id, from, to }));
    },
    async messagesByClientId(id, keys) {
      const pairs = JSON.stringify(keys.map((key) => [key.sender, key.clientId]));
      return toMessages(id, messagesByClientId({ id, keys: pairs }));
    },
    async firstUnread(id, reader) {
      return firstUnread({ id, reader })?.seq ?? null;
    },
    async unreadCount(id, reader) {
      return unreadCount({ id, reader })?.count ?? 0;
    },
    async unreadTotal(reader, filter) {
      return unreadTotal(listing(reader, filter))?.total ?? 0;
    },
    async chatList(
      reader: EmailAddress,
      filter: ChatListFilter,
      { first, after }: ChatListSlice,
    ): Promise<ChatListPage> {
      const params = { ...listing(reader, filter), ...position(after) };
      const rows = (JSON.parse(chatList({ ...params, limit: first + 1 })?.json ?? '[]') as ConversationRow[]).map(
        toConversation,
      );
      return {
        conversations: rows.slice(0, first),
        hasNextPage: rows.length > first,
        hasPreviousPage: after !== null && chatListHasBefore(params)?.found === 1,
      };
    },
  };
}

function toMessages(id: ConversationId, row: { json: string } | undefined): Message[] {
  return (JSON.parse(row?.json ?? '[]') as MessageRow[]).map(
    ([seq, rev, kind, sender, text, clientId, replyToSeq, sentAt, editedAt, redactedAt, revisions]) => ({
      conversationId: id,
      seq,
      rev,
      kind,
      sender,
      text,
      clientId,
      replyToSeq,
      sentAt,
      editedAt,
      redactedAt,
      revisions,
    }),
  );
}

function toConversation(row: ConversationRow): Conversation {
  const [id, configId, subject, party, status, labels, assignee, createdAt, lastActivityAt, lastSeq, lastRev, members] =
    row;
  return {
    id,
    configId,
    subject,
    party,
    members: new Map(members.map((member) => [member[0], toMember(member)])),
    status,
    labels,
    assignee,
    createdAt,
    lastActivityAt,
    lastSeq,
    lastRev,
  };
}

function toMember([email, role, readSeq, joinedAt, leftAt, muted, pinned, archived]: MemberRow): Member {
  return { email, role, readSeq, joinedAt, leftAt, muted: muted === 1, pinned: pinned === 1, archived: archived === 1 };
}
