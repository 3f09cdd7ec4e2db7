import type { Conversation, Message } from '../model.ts';

/** A message with the state of its conversation it was read with. */
export interface MessageView extends Message {
  readonly conversation: Conversation;
}

/** Messages just read from the store are nobody else's: they are made views where they stand. */
export function viewIn(conversation: Conversation): (message: Message) => MessageView {
  return (message) => Object.assign(message, { conversation });
}
