import type { ConversationId, Message } from '../../model.ts';
import { compileLiteral } from '../literal.ts';
import { type Column, cellsOf, columnOf, jsonRow, type Row } from './columns.ts';

type Stored = Omit<Message, 'conversationId'>;
type Scalar = string | number | null;

interface MessageColumn extends Column {
  /** The value that is written; default: the property's. */
  readonly bind?: (message: Message) => Scalar;
  /** Whether a change of the message may set it. */
  readonly changes?: true;
}

/** Every column of a message but its conversation. What is no scalar says how it is read and written. */
const COLUMNS: {
  readonly [P in keyof Stored]: Stored[P] extends Scalar
    ? MessageColumn
    : MessageColumn & Required<Pick<MessageColumn, 'read' | 'bind'>>;
} = {
  seq: {},
  rev: { changes: true },
  // Null where it is `rev`.
  addedRev: {
    read: 'coalesce(m.added_rev, m.rev)',
    bind: ({ addedRev, rev }) => (addedRev === rev ? null : addedRev),
    changes: true,
  },
  kind: {},
  sender: {},
  clientId: {},
  replyToSeq: {},
  sentAt: {},
  text: { changes: true },
  editedAt: { changes: true },
  redactedAt: { changes: true },
  redactionReason: { changes: true },
  firstTextHash: { changes: true },
  origin: { read: 'json(m.origin)', bind: ({ origin }) => origin && JSON.stringify(origin) },
  record: { read: 'json(m.record)', bind: ({ record }) => record && JSON.stringify(record), changes: true },
  revisions: { read: 'json(m.revisions)', bind: ({ revisions }) => JSON.stringify(revisions), changes: true },
};

/** A message as one JSON array, of the table named `m`. */
export const MESSAGE = jsonRow('m', COLUMNS);

export type MessageRow = Row<Stored>;

export const toMessage = compileLiteral<[ConversationId, MessageRow], Message>('conversationId, row', {
  conversationId: 'conversationId',
  ...cellsOf(COLUMNS),
});

const columns = Object.entries<MessageColumn>(COLUMNS).map(([property, { bind, changes }]) => {
  const value = bind ?? ((message: Message) => message[property as keyof Stored] as Scalar);
  return { name: columnOf(property), value, changes };
});
const changing = columns.filter(({ changes }) => changes);

/** Inserts messages of any conversations: one parameter, the JSON of an array of `insertedRow`. */
export const INSERT_MESSAGES = `INSERT INTO messages (conversation, ${columns.map(({ name }) => name)})
  SELECT value ->> 0, ${columns.map((_, index) => `value ->> ${index + 1}`)} FROM json_each(?)`;

export function insertedRow(pk: number, message: Message): Scalar[] {
  const row: Scalar[] = [pk];
  for (const { value } of columns) row.push(value(message));
  return row;
}

/** Changes one message; its parameters are `changedRow`. */
export const CHANGE_MESSAGE = `UPDATE messages SET ${changing.map(({ name }) => `${name} = ?`)}
  WHERE conversation = ? AND seq = ?`;

export function changedRow(pk: number, message: Message): Scalar[] {
  return [...changing.map(({ value }) => value(message)), pk, message.seq];
}
