import type { Conversation, EmailAddress, ListedConversation, Member, Message } from '../model.ts';

/** What a revision counts beside its text. */
const REVISION = 100;

/** A conversation as a field of the schema holds it: what a list gave is without its members. */
export type ConversationView = Conversation | ListedConversation;

/** The record of one member, present or not; of a listed conversation only its reader's is known. */
export function memberOf(conversation: ConversationView, email: EmailAddress): Member | undefined {
  if ('members' in conversation) return conversation.members.get(email);
  return conversation.reader.email === email ? conversation.reader : undefined;
}

/** A message with the state of its conversation it was read with. */
export interface MessageView<C extends ConversationView = Conversation> extends Message {
  readonly conversation: C;
}

/** A message of whatever conversation a field of the schema holds. */
export type AnyMessageView = MessageView<ConversationView>;

/** Messages just read from the store are nobody else's: they are made views where they stand. */
export function viewIn<C extends ConversationView>(conversation: C): (message: Message) => MessageView<C> {
  return (message) => Object.assign(message, { conversation });
}

/** UTF-16 units that a message holds, about: its text, and those it had. */
export function textLength({ text, revisions }: Pick<Message, 'text' | 'revisions'>): number {
  return text.length + revisionsLength(revisions);
}

/** UTF-16 units that earlier texts hold, about. */
export function revisionsLength(revisions: Message['revisions']): number {
  return revisions.reduce((sum, { text }) => sum + text.length + REVISION, 0);
}
