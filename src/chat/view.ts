import type { Conversation, Message } from '../model.ts';

/** What a revision counts beside its text. */
const REVISION = 100;

/** A message with the state of its conversation it was read with. */
export interface MessageView extends Message {
  readonly conversation: Conversation;
}

/** Messages just read from the store are nobody else's: they are made views where they stand. */
export function viewIn(conversation: Conversation): (message: Message) => MessageView {
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
