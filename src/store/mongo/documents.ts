import type { Db, Document, ObjectId } from 'mongodb';
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
  type Role,
} from '../../model.ts';
import { firstOf, type ReadMoved, revAfter, type Write } from '../store.ts';
import { wordsOf } from '../tokenizer.ts';

/**
 * A conversation: its state, and what is new in its log. Writing this one document is what commits a write; everything
 * else is in `messages`. So a batch is stored whole or not at all, without a transaction.
 */
export interface ConversationDocument extends Omit<Conversation, 'id' | 'members' | 'labels' | 'lastMessage'> {
  readonly _id: ConversationId;
  readonly labels: string[];
  /** In the order of `joinedAt`, then address. */
  readonly members: Member[];
  /**
   * The newest messages, ascending: all that are not in `messages` yet. The others may be there already, and leave with the
   * next write; where they are long, as soon as they are moved.
   */
  readonly tail: MessageDocument[];
  /**
   * Messages that were changed, as they are now, ascending by `rev`. In `messages`, where each of them is, they may still be as
   * they were before; that version is marked as `changing`.
   */
  readonly changed?: MessageDocument[];
  /** The last read position that moved, for the change stream to name. */
  readonly read?: Pick<ReadMoved, 'member' | 'readSeq' | 'seen' | 'changes' | 'role'> & { readonly mark: ObjectId };
  /** Whose own view changed last, for the change stream. */
  readonly view?: { readonly by: EmailAddress; readonly mark: ObjectId };
  /** JSON of `LastWrite`, for the change stream: a text, as only of that a change is always told whole. */
  readonly written?: string;
  /** Who typed last, for the change stream: no reader of the conversation looks at it. */
  readonly typing?: { readonly by: EmailAddress; readonly on: boolean; readonly mark: ObjectId };
}

/** What was written last, but for the messages, which are the last of `tail` and `changed`. */
export interface LastWrite extends Partial<Pick<Write, 'state' | 'members'>> {
  readonly afterRev: number;
  /** The `lastRev` that it left. */
  readonly rev: number;
  /** Whether what it set was computed: newer servers tell of the lists then by what is different in them. */
  readonly computed?: true;
  readonly roles?: readonly (readonly [EmailAddress, Role])[];
}

/**
 * Fields that a document leaves out where they are null: the unique index on `clientId` then skips it. A field added to
 * `Message` later belongs here, as older documents do not have it.
 */
const OPTIONAL = ['clientId', 'redactionReason', 'firstTextHash'] as const;
type Optional = (typeof OPTIONAL)[number];

/** One entry of a log. */
export interface MessageDocument
  extends Omit<Message, 'conversationId' | 'addedRev' | 'revisions' | Optional>,
    Readonly<Partial<{ [Field in Optional]: NonNullable<Message[Field]> }>> {
  /** The message's id: unique for each number of a conversation. */
  readonly _id: string;
  readonly conversation: ConversationId;
  /** Absent where it equals `rev`. */
  readonly addedRev?: number;
  readonly revisions: Message['revisions'][number][];
  /** The write that added it: how a writer that lost sight of its write knows it again. */
  readonly append: ObjectId;
  /** The writes that changed it. */
  readonly changes?: ObjectId[];
  /** In `messages` only: a newer version may be in its conversation's document, which is to be looked at too. */
  readonly changing?: true;
  /** In `messages` only: what a search finds it by, without repeats; absent where nothing. */
  readonly words?: string[];
  /** True while the message counts as unread for others: a TEXT that is not redacted. */
  readonly counts: boolean;
}

export function collections(db: Db) {
  return {
    conversations: db.collection<ConversationDocument>('conversations'),
    messages: db.collection<MessageDocument>('messages'),
    /** One document that `ping` writes, and one for each backfill that says how far it is. */
    probes: db.collection<{ _id: string; at: Date; after?: string; done?: true }>('probes'),
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
  ]);
  await conversations.createIndexes([
    {
      key: { 'members.email': 1, 'members.archived': 1, 'members.pinned': 1, lastActivityAt: -1, _id: 1 },
      name: 'chat_list',
    },
  ]);
}

/** The document of a message that a write adds, or, with the document it was, changes. */
export function toDocument(message: Message, write: ObjectId, before?: MessageDocument): MessageDocument {
  const { conversationId, addedRev, revisions, ...rest } = message;
  const fields: Record<Optional, unknown> = rest;
  // The driver does not write what is undefined.
  for (const field of OPTIONAL) fields[field] ??= undefined;
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

/** One literal: reading and converting a page by rest and spread takes four times as long. */
export function toMessage(document: MessageDocument): Message {
  return {
    conversationId: document.conversation,
    seq: document.seq,
    rev: document.rev,
    addedRev: document.addedRev ?? document.rev,
    kind: document.kind,
    sender: document.sender,
    clientId: document.clientId ?? null,
    replyToSeq: document.replyToSeq,
    sentAt: document.sentAt,
    text: document.text,
    editedAt: document.editedAt,
    redactedAt: document.redactedAt,
    redactionReason: document.redactionReason ?? null,
    firstTextHash: document.firstTextHash ?? null,
    revisions: document.revisions,
  };
}

/** What the change stream is to tell of a write; what it leaves as it was is left out. */
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

/** The last write to a conversation, by what its document holds; null where that does not say. */
export function lastWriteOf({ lastRev, written }: Partial<ConversationDocument>): LastWrite | null {
  const last: LastWrite | null = written === undefined ? null : JSON.parse(written);
  return last?.rev === lastRev ? last : null;
}

/** The whole of it; null where the messages are not told of whole. */
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

/** The document as it is kept in `messages`. */
export function searchable(document: MessageDocument): MessageDocument {
  const words = document.counts ? wordsOf(document.text) : [];
  return words.length > 0 ? { ...document, words } : document;
}

/** Whether this write is what added or changed the message. */
export function isBy({ append, changes = [] }: Pick<MessageDocument, 'append' | 'changes'>, write: ObjectId): boolean {
  return [append, ...changes].some((mark) => mark.equals(write));
}

export function toConversation(document: ConversationDocument): Conversation {
  const { _id, tail, changed, read, view, written, typing, members, ...rest } = document;
  const { lastSeq } = rest;
  // Members who joined at the same instant by different writes may be stored in another order.
  const byEmail = new Map(inOrder(members).map((member) => [member.email, member]));
  return { ...rest, id: _id, lastMessage: lastOf(tail, lastSeq), members: byEmail };
}

/** The last message, if it is in the tail: from there it goes before it is changed. */
function lastOf(tail: readonly MessageDocument[], lastSeq: number): Message | undefined {
  const last = tail.at(-1);
  return last?.seq === lastSeq ? toMessage(last) : undefined;
}

/** A conversation's document as `listedFor` projects it. */
export interface ListedDocument
  extends Omit<ListedConversation, 'id' | 'reader' | 'firstMembers' | 'hasMoreMembers' | 'lastMessage'>,
    Pick<ConversationDocument, '_id' | 'members' | 'tail'> {
  readonly own: readonly Member[];
}

/**
 * Of a conversation's document, what a list holds: its members stay on the server, but for the first and the reader.
 */
export function listedFor(reader: EmailAddress): Document {
  return {
    ...{ configId: 1, subject: 1, party: 1, status: 1, labels: 1, assignee: 1 },
    ...{ createdAt: 1, lastActivityAt: 1, lastSeq: 1, lastRev: 1, counted: 1, tail: { $slice: ['$tail', -1] } },
    own: ownOf(reader),
    members: { $slice: ['$members', FIRST_MEMBERS + 1] },
  };
}

export function toListed({ _id, own, members, tail, ...rest }: ListedDocument): ListedConversation[] {
  const lastMessage = lastOf(tail, rest.lastSeq);
  return own.map((reader) => ({ ...rest, id: _id, lastMessage, reader, ...firstOf(inOrder(members)) }));
}

/** A conversation's document as `countedFor` projects it. */
export interface CountedDocument extends Pick<ConversationDocument, 'lastSeq' | 'lastRev' | 'counted'> {
  readonly own: readonly Member[];
  readonly tail: readonly Counted[];
  readonly changed?: readonly Counted[];
}
type Counted = Pick<MessageDocument, 'seq' | 'sender' | 'counts'>;

/** Of a conversation's document, what is counted by: the reader, and of pending messages no texts. */
export function countedFor(reader: EmailAddress): Document {
  const counted = { seq: 1, sender: 1, counts: 1 };
  return { lastSeq: 1, lastRev: 1, counted: 1, tail: counted, changed: counted, own: ownOf(reader) };
}

/** An expression for a list of the one member. An address may begin with a dollar sign, hence the literal. */
export function ownOf(reader: EmailAddress): Document {
  return { $filter: { input: '$members', cond: { $eq: ['$$this.email', { $literal: reader }] } } };
}
