import { type Conversation, FIRST_MEMBERS, type ListedConversation, type Member, type Message } from '../../model.ts';
import { compileLiteral } from '../literal.ts';
import { firstOf } from '../store.ts';
import { type Column, cellsOf, jsonRow, type Row } from './columns.ts';
import { MESSAGE, type MessageRow, toMessage } from './message-row.ts';

/** UTF-16 units, about, of a last message that is read with its conversation: bounds the size of a list. */
const MAX_LAST_MESSAGE = 4000;

type Head = Omit<Conversation, 'members'>;
type HeadRow = Row<Omit<Head, 'lastMessage'>>;
type MemberRow = Row<Member>;

const HEAD_COLUMNS: Readonly<Record<keyof Omit<Head, 'lastMessage'>, Column>> = {
  ...{ id: {}, configId: {}, subject: {}, party: {}, status: {}, labels: { read: 'json(c.labels)' }, assignee: {} },
  ...{ createdAt: {}, lastActivityAt: {}, lastSeq: {}, lastRev: {}, importedRev: {}, counted: {} },
};
const MEMBER_COLUMNS: Readonly<Record<keyof Member, Column>> = {
  ...{ email: {}, role: {}, readSeq: {}, sent: {}, seen: {}, readAt: {}, joinedAt: {}, leftAt: {} },
  ...{ muted: { boolean: true }, pinned: { boolean: true }, archived: { boolean: true } },
};

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
  const head = readHead(row);
  if (last) head.lastMessage = toMessage(head.id, last);
  return head;
}

const readHead = compileLiteral<[HeadRow], Omit<Head, 'lastMessage'> & { lastMessage: Message | undefined }>('row', {
  ...cellsOf(HEAD_COLUMNS),
  lastMessage: 'undefined',
});

const toMember = compileLiteral<[MemberRow], Member>('row', cellsOf(MEMBER_COLUMNS));
