import type { KredichatError, KredichatErrorCode } from '../errors.ts';
import type {
  ConversationFieldsFragment as Conversation,
  MessageFieldsFragment as Message,
} from '../generated/operations.ts';
import type { Readable } from '../observable.ts';
import type { MessageOptions, Outgoing } from '../outbox-items.ts';
import type { ConversationActions } from './actions.ts';

/** The state of an open conversation. */
export interface ConversationState {
  /**
   * `loading` until the first answer. `new`: no conversation has this key yet; the first message opens it. `gone`: the
   * viewer is not, or no longer, a member; `conversation` is the last known state, and `messages` is empty.
   */
  readonly phase: 'loading' | 'ready' | 'new' | 'gone';
  /** The conversation without its messages; null before `ready`. */
  readonly conversation: Conversation | null;
  /** Part of the log, ascending by `seq`, without gaps. */
  readonly messages: readonly Message[];
  /** The viewer's unsent messages to this conversation; once stored they move to `messages`. */
  readonly outgoing: readonly Outgoing[];
  /** Whether the log has messages before and after `messages`. */
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
  /** Position of the first message that was unread when the view opened; null for none. */
  readonly firstUnread: number | null;
  /** Why the view ended, or why the last page failed to load. */
  readonly error: KredichatError | null;
}

/** An open conversation: its loaded and live messages in one list, and its actions. */
export interface ConversationView extends Readable<ConversationState>, ConversationActions {
  /** Addresses of the other members that are typing. */
  readonly typists: Readable<readonly string[]>;
  /** Loads the page before or after `messages`, one at a time in each direction. */
  loadOlder(): Promise<void>;
  loadNewer(): Promise<void>;
  /** Moves `messages` to the end of the log. */
  jumpToEnd(): Promise<void>;
  /** Moves `messages` to the part of the log around a message. */
  jumpTo(seq: number): Promise<void>;
  /** Puts a message into the outbox. `subject` and `party` apply if it opens the conversation. */
  send(text: string, options?: MessageOptions): Outgoing;
  /** Marks all messages up to `seq` as read, once there is a connection. A lower position changes nothing. */
  markRead(seq: number): void;
  /** Shows or clears the viewer's typing state. May be called with every key: it is sent every few seconds. */
  typing(typing: boolean): void;
  close(): void;
}

/** Addresses of the members, except the sender, that have read a message. */
export function readersOf({ members }: Conversation, { seq, sender }: Pick<Message, 'seq' | 'sender'>): string[] {
  return members.filter(({ email, readSeq }) => email !== sender && readSeq >= seq).map(({ email }) => email);
}

/** Delivery state of a message of the viewer. */
export type Delivery =
  | { readonly state: 'queued' }
  | { readonly state: 'failed'; readonly code: KredichatErrorCode; readonly retry: boolean }
  | { readonly state: 'sent'; readonly seq: number }
  | { readonly state: 'read'; readonly seq: number; readonly by: readonly string[] };

/** Delivery state of the message with this `clientId`; null if it is neither in the outbox nor loaded. */
export function deliveryOf({ conversation, messages, outgoing }: ConversationState, clientId: string): Delivery | null {
  const item = outgoing.find((one) => one.clientId === clientId);
  if (item?.failure) return { state: 'failed', code: item.failure.code, retry: item.failure.retry };
  if (item) return { state: 'queued' };
  const message = messages.findLast((one) => one.clientId === clientId);
  if (!message || !conversation) return null;
  const by = readersOf(conversation, message);
  return by.length > 0 ? { state: 'read', seq: message.seq, by } : { state: 'sent', seq: message.seq };
}
