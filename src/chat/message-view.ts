import type { Conversation, EmailAddress, ListedConversation, Member, Message, Rev } from '../model.ts';

/** UTF-16 units that a revision counts beside its text. */
const REVISION_OVERHEAD = 100;

/** The source value of a `Conversation` field; a listed one has no members. */
export type ConversationView = Conversation | ListedConversation;

/** The record of a present or former member; a listed conversation holds only that of its reader. */
export function memberOf(conversation: ConversationView, email: EmailAddress): Member | undefined {
  if ('members' in conversation) return conversation.members.get(email);
  return conversation.reader.email === email ? conversation.reader : undefined;
}

/** A message, and the state of its conversation that it was read with. */
export interface MessageView<C extends ConversationView = Conversation> extends Message {
  readonly conversation: C;
  /** Of a message as it stood: after which change, and the message as it is now. */
  readonly asOf?: { readonly rev: Rev; readonly present: Message };
}

/** The source value of a `Message` field. */
export type AnyMessageView = MessageView<ConversationView>;

/** Makes views of messages in place: messages just read from the store have no other owner. */
export function viewIn<C extends ConversationView>(conversation: C): (message: Message) => MessageView<C> {
  return (message) => Object.assign(message, { conversation });
}

/** Approximate UTF-16 units of text that a message holds, revisions included. */
export function textUnits({ text, revisions }: Pick<Message, 'text' | 'revisions'>): number {
  return text.length + revisionsUnits(revisions);
}

/** Approximate UTF-16 units of text that revisions hold. */
export function revisionsUnits(revisions: Message['revisions']): number {
  return revisions.reduce((sum, { text }) => sum + text.length + REVISION_OVERHEAD, 0);
}
