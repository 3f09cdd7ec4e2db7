import type { Db, ObjectId } from 'mongodb';
import {
  type Conversation,
  type ConversationId,
  type EmailAddress,
  type Member,
  type Message,
  messageId,
} from '../../model.ts';

/**
 * A conversation: its state, and the end of its log. Writing this one document is what commits an append; everything
 * before the tail is in `messages`. So a batch is stored whole or not at all, without a transaction.
 */
export interface ConversationDocument extends Omit<Conversation, 'id' | 'members' | 'labels'> {
  readonly _id: ConversationId;
  readonly labels: string[];
  /** In the order of `joinedAt`, then address. */
  readonly members: Member[];
  /** The newest messages, ascending; at least the newest batch. They may or may not be in `messages` already. */
  readonly tail: MessageDocument[];
  /** The last read position that moved, for the change stream to name. */
  readonly read?: { readonly by: EmailAddress; readonly seq: number };
}

/** One entry of a log. */
export interface MessageDocument extends Omit<Message, 'conversationId' | 'clientId' | 'revisions'> {
  /** The message's id: one place for each number of a conversation. */
  readonly _id: string;
  readonly conversation: ConversationId;
  /** Absent where there is none, so that the unique index passes it over. */
  readonly clientId?: string;
  readonly revisions: Message['revisions'][number][];
  /** The append that wrote it: how a writer that lost sight of its write knows it again. */
  readonly append: ObjectId;
  /** True while the message counts as unread for others: a TEXT that is not redacted. */
  readonly counts: boolean;
}

export function collections(db: Db) {
  return {
    conversations: db.collection<ConversationDocument>('conversations'),
    messages: db.collection<MessageDocument>('messages'),
    /** One document that `ping` writes. */
    probes: db.collection<{ _id: string; at: Date }>('probes'),
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
  ]);
  await conversations.createIndexes([
    {
      key: { 'members.email': 1, 'members.archived': 1, 'members.pinned': 1, lastActivityAt: -1, _id: 1 },
      name: 'chat_list',
    },
  ]);
}

export function toDocument(
  { conversationId, clientId, revisions, ...message }: Message,
  append: ObjectId,
): MessageDocument {
  return {
    _id: messageId({ conversationId, seq: message.seq }),
    conversation: conversationId,
    ...message,
    ...(clientId !== null && { clientId }),
    revisions: [...revisions],
    append,
    counts: message.kind === 'TEXT' && message.redactedAt === null,
  };
}

export function toMessage({ _id, append, counts, conversation, clientId = '', ...document }: MessageDocument): Message {
  return { ...document, conversationId: conversation, clientId: clientId === '' ? null : clientId };
}

export function toConversation({ _id, tail, read, members, ...document }: ConversationDocument): Conversation {
  return { ...document, id: _id, members: new Map(members.map((member) => [member.email, member])) };
}
