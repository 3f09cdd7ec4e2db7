import type { Conversation, EmailAddress } from '../../model.ts';
import type { MessageView } from '../message-view.ts';

/** A message, new to whoever gets it or changed. */
export interface MessageEvent {
  readonly __typename: 'MessageAdded' | 'MessageChanged';
  readonly rev: number;
  readonly message: MessageView;
}

interface ReadMoved {
  readonly __typename: 'ReadMoved';
  readonly member: EmailAddress;
  readonly readSeq: number;
}

interface TypingEvent {
  readonly __typename: 'Typing';
  readonly member: EmailAddress;
  readonly typing: boolean;
}

interface CaughtUp {
  readonly __typename: 'CaughtUp';
  readonly rev: number;
  readonly seq: number;
}

/** Something that happened in a conversation, as those who follow it are told. */
export type ConversationEvent = MessageEvent | ReadMoved | TypingEvent | CaughtUp;

/** What a message is to somebody who has everything up to `rev`. */
export function messageEvent(message: MessageView, rev: number): MessageEvent {
  return { __typename: message.addedRev > rev ? 'MessageAdded' : 'MessageChanged', rev: message.rev, message };
}

/** The read positions that are others than before; all of them where there is nothing before. */
export function readsMoved(before: Conversation | null, after: Conversation): ReadMoved[] {
  return [...after.members.values()]
    .filter(({ email, readSeq }) => before?.members.get(email)?.readSeq !== readSeq)
    .map(({ email: member, readSeq }) => ({ __typename: 'ReadMoved', member, readSeq }));
}
