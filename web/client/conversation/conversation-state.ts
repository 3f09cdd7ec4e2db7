import type { KredichatError } from '../errors.ts';
import type {
  ConversationFieldsFragment as Conversation,
  MessageFieldsFragment as Message,
} from '../generated/operations.ts';
import type { Readable } from '../observable.ts';
import type { NewMessage, Outgoing } from '../outbox.ts';
import type { ConversationActions } from './actions.ts';

/** What a conversation looks like from here, whole. */
export interface ConversationState {
  /**
   * `loading` until the first answer; `new` when there is none with this key yet, the first message opens it; `gone` when
   * the viewer is not in one with this name, or not any more: then `conversation` is what it was, and the messages are gone.
   */
  readonly phase: 'loading' | 'ready' | 'new' | 'gone';
  /** Everything but its messages; null before `ready`. */
  readonly conversation: Conversation | null;
  /** Part of the log, ascending by `seq`, without a hole. */
  readonly messages: readonly Message[];
  /** The viewer's messages on their way here; when stored they become part of `messages`. */
  readonly outgoing: readonly Outgoing[];
  /** Whether the log goes on before `messages`, and after. */
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
  /** The first message that was unread when it was opened; null when there was none. */
  readonly firstUnread: number | null;
  /** What ended it, or kept the last page from being loaded. */
  readonly error: KredichatError | null;
}

/** One open conversation: its messages, loaded page by page and live, in one list, and what can be done to it. */
export interface ConversationView extends Readable<ConversationState>, ConversationActions {
  /** The other members who are typing now. */
  readonly typists: Readable<readonly string[]>;
  /** Loads the page before `messages`, or after. Resolves when it is there; one at a time. */
  loadOlder(): Promise<void>;
  loadNewer(): Promise<void>;
  /** Shows the end of the log, where `messages` does not reach it. */
  jumpToEnd(): Promise<void>;
  /** Shows what is around a message. */
  jumpTo(seq: number): Promise<void>;
  /** Puts a message into the outbox. `about` is used when it opens the conversation. */
  send(text: string, about?: Pick<NewMessage, 'subject' | 'party'>): Outgoing;
  /** Says that the viewer has read up to here. Sent when there is a connection; going back changes nothing. */
  markRead(seq: number): void;
  /** Tells the others that the viewer types, or no longer does. May be called with every key: it is said every few seconds. */
  typing(typing: boolean): void;
  close(): void;
}
