import {
  type Conversation,
  type ConversationId,
  FIRST_MEMBERS,
  type ListedConversation,
  type Member,
} from '../../model.ts';
import { firstOf } from '../store.ts';
import { type Column, indexesOf, jsonRow, type Row } from './columns.ts';
import { MESSAGE, type MessageRow, toMessage } from './message-row.ts';

/** UTF-16 units, about, of a last message that is read with its conversation: bounds the size of a list. */
const MAX_LAST_MESSAGE = 4000;

type Head = Omit<Conversation, 'members'>;
type HeadRow = Row<Omit<Head, 'lastMessage'>>;
type MemberRow = Row<Member>;

const HEAD_COLUMNS: Readonly<Record<keyof HeadRow, Column>> = {
  ...{ id: {}, configId: {}, subject: {}, party: {}, status: {}, labels: { read: 'json(c.labels)' }, assignee: {} },
  ...{ createdAt: {}, lastActivityAt: {}, lastSeq: {}, lastRev: {}, counted: {} },
};
const MEMBER_COLUMNS: Readonly<Record<keyof MemberRow, Column>> = {
  ...{ email: {}, role: {}, readSeq: {}, sent: {}, seen: {}, joinedAt: {}, leftAt: {} },
  ...{ muted: {}, pinned: {}, archived: {} },
};
const HEAD = indexesOf(HEAD_COLUMNS);
const MEMBER = indexesOf(MEMBER_COLUMNS);

const head = jsonRow('c', HEAD_COLUMNS);
const lastMessage = `(SELECT ${MESSAGE} FROM messages m WHERE m.conversation = c.pk AND m.seq = c.last_seq
  AND length(m.text) + length(m.revisions) <= ${MAX_LAST_MESSAGE})`;
const members = (rows: string) =>
  `(SELECT json_group_array(${jsonRow('m', MEMBER_COLUMNS)}) FROM (SELECT * FROM ${rows}) m)`;

/** A conversation of the rows `c`. Sorting all members takes less time than looking each of them up by an index. */
export const CONVERSATION = `json_array(${head}, ${lastMessage},
  ${members('members NOT INDEXED WHERE conversation = c.pk ORDER BY joined_at, email')})`;
export type ConversationRow = readonly [HeadRow, MessageRow | null, MemberRow[]];

/** A listed conversation of the rows `c` and, of its reader, `r`; with one member more than it is to hold. */
export const LISTED = `json_array(${head}, ${lastMessage}, ${jsonRow('r', MEMBER_COLUMNS)},
  ${members(`members WHERE conversation = c.pk ORDER BY joined_at, email LIMIT ${FIRST_MEMBERS + 1}`)})`;
export type ListedRow = readonly [HeadRow, MessageRow | null, MemberRow, MemberRow[]];

export function toConversation([head, last, members]: ConversationRow): Conversation {
  return { ...toHead(head, last), members: new Map(members.map(toMember).map((member) => [member.email, member])) };
}

export function toListed([head, last, reader, members]: ListedRow): ListedConversation {
  return { ...toHead(head, last), reader: toMember(reader), ...firstOf(members.map(toMember)) };
}

function toHead(row: HeadRow, last: MessageRow | null): Head {
  const head: HeadRow & Pick<Head, 'lastMessage'> = {
    id: row[HEAD.id],
    configId: row[HEAD.configId],
    subject: row[HEAD.subject],
    party: row[HEAD.party],
    status: row[HEAD.status],
    labels: row[HEAD.labels],
    assignee: row[HEAD.assignee],
    createdAt: row[HEAD.createdAt],
    lastActivityAt: row[HEAD.lastActivityAt],
    lastSeq: row[HEAD.lastSeq],
    lastRev: row[HEAD.lastRev],
    counted: row[HEAD.counted],
    lastMessage: last ? toMessage(row[HEAD.id] as unknown as ConversationId, last) : undefined,
  };
  return head as unknown as Head;
}

function toMember(row: MemberRow): Member {
  const member: MemberRow = {
    email: row[MEMBER.email],
    role: row[MEMBER.role],
    readSeq: row[MEMBER.readSeq],
    sent: row[MEMBER.sent],
    seen: row[MEMBER.seen],
    joinedAt: row[MEMBER.joinedAt],
    leftAt: row[MEMBER.leftAt],
    muted: toBoolean(row[MEMBER.muted]),
    pinned: toBoolean(row[MEMBER.pinned]),
    archived: toBoolean(row[MEMBER.archived]),
  };
  return member as unknown as Member;
}

/** SQLite has no booleans, but 0 and 1. */
function toBoolean<C>(cell: C): C {
  return (Number(cell) === 1) as C;
}
