import type { Db, Document, Filter, ObjectId } from 'mongodb';
import {
  type Conversation,
  type ConversationId,
  countsAsUnread,
  type EmailAddress,
  FIRST_MEMBERS,
  inOrder,
  type ListedConversation,
  type Member,
  type Message,
  messageId,
  type Rev,
  type Role,
  type Seq,
} from '../../model.ts';
import { compileLiteral, expressions } from '../literal.ts';
import { firstOf, type ReadMoved, revAfter, type Write } from '../store.ts';
import { wordsOf } from '../tokenizer.ts';
import { type ConversationRecord, registerCollections } from './register.ts';

/**
 * A conversation: its state, and the newest part of its log. Updating this one document commits a write; the other
 * messages are in `messages`. So a batch is stored atomically, without a transaction.
 */
export interface ConversationDocument
  extends Omit<Conversation, 'id' | 'members' | 'labels' | 'lastMessage' | 'importedRev'> {
  readonly _id: ConversationId;
  readonly labels: string[];
  /** In the order of `joinedAt`, then address. */
  readonly members: Member[];
  /**
   * The newest messages, ascending: includes all that are not in `messages` yet. Those already moved there are dropped
   * by the next write; where they are long, at once.
   */
  readonly tail: MessageDocument[];
  /**
   * Changed messages in their new state, ascending by `rev`. Each is also in `messages`, possibly in its old state;
   * that version is marked as `changing`.
   */
  readonly changed?: MessageDocument[];
  /** The last read position that moved, for the change stream. */
  readonly read?: Omit<ReadMoved, 'kind' | 'conversation'> & { readonly mark: ObjectId };
  /** The member that changed its own view last, for the change stream. */
  readonly view?: { readonly by: EmailAddress; readonly mark: ObjectId };
  /** Absent until the record begins for the conversation. */
  readonly importedRev?: Rev;
  /** Where its record stands; absent where an earlier version wrote last. */
  readonly record?: ConversationRecord;
  /** JSON of `LastWrite`, for the change stream: a string, as only that is always in the change event as a whole. */
  readonly written?: string;
  /** The member that typed last, for the change stream alone. */
  readonly typing?: { readonly by: EmailAddress; readonly on: boolean; readonly mark: ObjectId };
}

/** The last write without its messages, which are the last of `tail` and `changed`. */
export interface LastWrite extends Partial<Pick<Write, 'state' | 'members'>> {
  readonly afterRev: Rev;
  /** The `lastRev` that it left. */
  readonly rev: Rev;
  /** True where the update was a pipeline: newer servers then report the lists by their differences. */
  readonly computed?: true;
  readonly roles?: readonly (readonly [EmailAddress, Role])[];
}

/** Fields that every document has as the message has them. The list is closed: older documents lack a newer field. */
const ALWAYS = ['seq', 'rev', 'kind', 'sender', 'replyToSeq', 'sentAt', 'text', 'editedAt', 'redactedAt'] as const;
type Optional = Exclude<keyof Message, 'conversationId' | 'addedRev' | 'revisions' | (typeof ALWAYS)[number]>;
/** The others: a document leaves them out where they are null, so that the unique index on `clientId` skips it. */
const OPTIONAL: { readonly [Field in Optional]: null extends Message[Field] ? true : never } = {
  clientId: true,
  redactionReason: true,
  firstTextHash: true,
  record: true,
  origin: true,
};
const OPTIONAL_FIELDS = Object.keys(OPTIONAL) as Optional[];

/** One entry of a log. */
export interface MessageDocument
  extends Omit<Message, 'conversationId' | 'addedRev' | 'revisions' | Optional>,
    Readonly<Partial<{ [Field in Optional]: NonNullable<Message[Field]> }>> {
  /** The message's id: unique for each number of a conversation. */
  readonly _id: string;
  readonly conversation: ConversationId;
  /** Absent where it equals `rev`. */
  readonly addedRev?: Rev;
  readonly revisions: Message['revisions'][number][];
  /** The write that added it: a writer without an acknowledgement finds its write by this. */
  readonly append: ObjectId;
  /** The writes that changed it. */
  readonly changes?: ObjectId[];
  /** In `messages` only: a newer version may be in its conversation's document, which must be read too. */
  readonly changing?: true;
  /** In `messages` only: the words of the search index, without repeats; absent where there are none. */
  readonly words?: string[];
  /** True while the message counts as unread for others: a TEXT that is not redacted. */
  readonly counts: boolean;
}

export function collections(db: Db) {
  return {
    conversations: db.collection<ConversationDocument>('conversations'),
    messages: db.collection<MessageDocument>('messages'),
    /** One document that `ping` writes, and one with the progress of each backfill. */
    probes: db.collection<{ _id: string; at: Date; after?: string; done?: true }>('probes'),
    ...registerCollections(db),
  };
}

export type Collections = ReturnType<typeof collections>;

/** Every index, created at start. Each begins with the conversation, or with the member for the chat list. */
export async function createIndexes({ conversations, messages }: Collections): Promise<void> {
  await messages.createIndexes([
    { key: { conversation: 1, seq: 1 }, unique: true },
    { key: { conversation: 1, rev: 1 }, unique: true },
    {
      key: { conversation: 1, sender: 1, clientId: 1 },
      unique: true,
      partialFilterExpression: { clientId: { $exists: true } },
    },
    { key: { conversation: 1, counts: 1, seq: 1, sender: 1 } },
    { key: { conversation: 1, words: 1 } },
    {
      ...{ key: { conversation: 1, rev: 1, seq: 1 }, name: 'changed' },
      partialFilterExpression: { addedRev: { $exists: true } },
    },
    { key: { conversation: 1, kind: 1, rev: 1 }, name: 'system', partialFilterExpression: { kind: 'SYSTEM' } },
  ]);
  await conversations.createIndexes([
    {
      key: { 'members.email': 1, 'members.archived': 1, 'members.pinned': 1, lastActivityAt: -1, _id: 1 },
      name: 'chat_list',
    },
    ...(['unregistered', 'unsealed', 'unbegun'] as const).map((name) => ({
      ...{ key: { [`record.${name}`]: 1 } as const, name },
      partialFilterExpression: { [`record.${name}`]: { $exists: true } },
    })),
  ]);
}

/** The document of a message that a write adds; with the document `before`, of one that it changes. */
export function toDocument(message: Message, write: ObjectId, before?: MessageDocument): MessageDocument {
  const { conversationId, addedRev, revisions, ...rest } = message;
  const fields: Record<Optional, unknown> = rest;
  // The driver does not write what is undefined.
  for (const field of OPTIONAL_FIELDS) fields[field] ??= undefined;
  return {
    _id: messageId(message),
    conversation: conversationId,
    ...(rest as Omit<typeof rest, Optional> & Pick<MessageDocument, Optional>),
    ...(addedRev !== message.rev && { addedRev }),
    revisions: [...revisions],
    append: before?.append ?? write,
    ...(before && { changes: [...(before.changes ?? []), write] }),
    counts: countsAsUnread(message),
  };
}

export const toMessage = compileLiteral<[MessageDocument], Message>('document', {
  conversationId: 'document.conversation',
  addedRev: 'document.addedRev ?? document.rev',
  // Those of an earlier version have neither `rev` nor salt.
  revisions: 'document.record ? document.revisions : document.revisions.map((one) => ({ rev: 0, salt: null, ...one }))',
  ...expressions(ALWAYS, (field) => `document.${field}`),
  ...expressions(OPTIONAL_FIELDS, (field) => `document.${field} ?? null`),
});

/** The part of a write that the change stream reports; fields that stay as they were are left out. */
export function toWritten(write: Write, computed: boolean): string {
  const { afterRev, state, members, roles } = write;
  const last: LastWrite = {
    ...{ afterRev, rev: revAfter(write) },
    ...(computed && { computed }),
    ...(state && { state }),
    ...(members.length > 0 && { members }),
    ...(roles.size > 0 && { roles: [...roles] }),
  };
  return JSON.stringify(last);
}

/** The last write to a conversation, from its document; null where the document does not hold it. */
export function lastWriteOf({ lastRev, written }: Partial<ConversationDocument>): LastWrite | null {
  const last: LastWrite | null = written === undefined ? null : JSON.parse(written);
  return last?.rev === lastRev ? last : null;
}

/** The whole write; null where the change event does not hold its messages as a whole. */
export function toWrite(
  conversation: ConversationId,
  { afterRev, state = null, members = [], roles = [] }: LastWrite,
  { tail, changed = [] }: Partial<ConversationDocument>,
): Write | null {
  if (!Array.isArray(tail) || !Array.isArray(changed)) return null;
  const newest = (documents: readonly MessageDocument[]) =>
    documents.filter((document) => document.rev > afterRev).map(toMessage);
  return {
    ...{ conversation, afterRev, opening: null, state, members, roles: new Map(roles) },
    ...{ messages: newest(tail), changed: newest(changed) },
  };
}

/** The document as stored in `messages`. */
export function searchable(document: MessageDocument): MessageDocument {
  const words = document.counts ? wordsOf(document.text) : [];
  return words.length > 0 ? { ...document, words } : document;
}

/** Whether this write is what added or changed the message. */
export function isBy({ append, changes = [] }: Pick<MessageDocument, 'append' | 'changes'>, write: ObjectId): boolean {
  return [append, ...changes].some((mark) => mark.equals(write));
}

export function toConversation(document: ConversationDocument): Conversation {
  const { _id, tail, changed, read, view, written, typing, record, members, importedRev = 0, ...rest } = document;
  const { lastSeq } = rest;
  const byEmail = new Map(toMembers(members).map((member) => [member.email, member]));
  return { ...rest, id: _id, importedRev, lastMessage: lastOf(tail, lastSeq), members: byEmail };
}

/** In order: members that joined at the same instant by different writes may be stored in another one. */
function toMembers(members: readonly Member[]): Member[] {
  return inOrder(members.map(toMember));
}

/** An earlier version stored none of the newer fields. */
function toMember(member: Member): Member {
  return 'readAt' in member ? member : { ...(member as Member), readAt: null };
}

/** The last message, if it is in the tail: a message leaves the tail before it is changed. */
function lastOf(tail: readonly MessageDocument[], lastSeq: Seq): Message | undefined {
  const last = tail.at(-1);
  return last?.seq === lastSeq ? toMessage(last) : undefined;
}

/** A condition on conversations: that the reader is a present member. */
export function present(reader: EmailAddress): Filter<ConversationDocument> {
  return { members: { $elemMatch: { email: reader, leftAt: null } } };
}

/** A conversation's document as `listedFor` projects it. */
export interface ListedDocument
  extends Omit<ListedConversation, 'id' | 'reader' | 'firstMembers' | 'hasMoreMembers' | 'lastMessage' | 'importedRev'>,
    Pick<ConversationDocument, '_id' | 'members' | 'tail' | 'importedRev'> {
  readonly own: readonly Member[];
}

/**
 * Projection of a conversation's document for lists: of its members only the first ones and the reader are sent.
 */
export function listedFor(reader: EmailAddress): Document {
  return {
    ...{ configId: 1, subject: 1, party: 1, status: 1, labels: 1, assignee: 1 },
    ...{ createdAt: 1, lastActivityAt: 1, lastSeq: 1, lastRev: 1, counted: 1, importedRev: 1 },
    tail: { $slice: ['$tail', -1] },
    own: ownOf(reader),
    members: { $slice: ['$members', FIRST_MEMBERS + 1] },
  };
}

export function toListed({ _id, own, members, tail, importedRev = 0, ...rest }: ListedDocument): ListedConversation[] {
  const head = { ...rest, id: _id, importedRev, lastMessage: lastOf(tail, rest.lastSeq) };
  return own.map((reader) => ({ ...head, reader: toMember(reader), ...firstOf(toMembers(members)) }));
}

/** A conversation's document as `countedFor` projects it. */
export interface CountedDocument extends Pick<ConversationDocument, 'lastSeq' | 'lastRev' | 'counted'> {
  readonly own: readonly Member[];
  readonly tail: readonly Counted[];
  readonly changed?: readonly Counted[];
}
type Counted = Pick<MessageDocument, 'seq' | 'sender' | 'counts'>;

/** Projection of a conversation's document for counting: the reader, and pending messages without their texts. */
export function countedFor(reader: EmailAddress): Document {
  const counted = { seq: 1, sender: 1, counts: 1 };
  return { lastSeq: 1, lastRev: 1, counted: 1, tail: counted, changed: counted, own: ownOf(reader) };
}

/** An expression for a list of the one member. An address may begin with a dollar sign, hence the literal. */
export function ownOf(reader: EmailAddress): Document {
  return { $filter: { input: '$members', cond: { $eq: ['$$this.email', { $literal: reader }] } } };
}
