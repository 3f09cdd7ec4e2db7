import type { Conversation, EmailAddress, Rev, Seq } from '../../model.ts';
import type { MessageView } from '../message-view.ts';

/** A message that is new to the subscriber, or that changed. */
export interface MessageEvent {
  readonly __typename: 'MessageAdded' | 'MessageChanged';
  readonly rev: Rev;
  readonly message: MessageView;
}

interface ReadMoved {
  readonly __typename: 'ReadMoved';
  readonly member: EmailAddress;
  readonly readSeq: Seq;
}

interface TypingEvent {
  readonly __typename: 'Typing';
  readonly member: EmailAddress;
  readonly typing: boolean;
}

interface CaughtUp {
  readonly __typename: 'CaughtUp';
  readonly rev: Rev;
  readonly seq: Seq;
}

/** An event of a conversation as subscribers get it. */
export type ConversationEvent = MessageEvent | ReadMoved | TypingEvent | CaughtUp;

/** The event of a message for a subscriber that has every change up to `rev`. */
export function messageEvent(message: MessageView, rev: Rev): MessageEvent {
  return { __typename: message.addedRev > rev ? 'MessageAdded' : 'MessageChanged', rev: message.rev, message };
}

/** The read positions that differ from `before`; all of them where that is null. */
export function readsMoved(before: Conversation | null, after: Conversation): ReadMoved[] {
  return [...after.members.values()]
    .filter(({ email, readSeq }) => before?.members.get(email)?.readSeq !== readSeq)
    .map(({ email: member, readSeq }) => ({ __typename: 'ReadMoved', member, readSeq }));
}
