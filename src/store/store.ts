import {
  type Conversation,
  type ConversationId,
  type ConversationStatus,
  type EmailAddress,
  FIRST_MEMBERS,
  type Instant,
  type ListedConversation,
  type Member,
  type Message,
  type Role,
  type View,
} from '../model.ts';
import type { Term } from './tokenizer.ts';
import type { Typing, WakeUp } from './wake-up.ts';
import type { Write } from './write.ts';

export * from './wake-up.ts';
export * from './write.ts';

/**
 * The port every store implements. Its laws, which the conformance suite tests on each adapter:
 *
 * - Reads never see a write that could still be lost, and see it whole or not at all.
 * - What this process has been told is written is seen by its next read.
 * - The store knows nothing of rules: it writes what it is given, or nothing.
 * - A store that cannot answer throws `StoreUnavailable`; any other error is a fault.
 */
export interface Store {
  /**
   * The conversation and all its members, or null. With a `reader`, null too unless the reader is a present member: one
   * look-up decides that before members are read, so that the answer costs the same as for a missing conversation.
   */
  conversation(id: ConversationId, reader?: EmailAddress): Promise<Conversation | null>;

  /** Those of the named conversations that the reader is a present member of, in any order, without their members. */
  listed(reader: EmailAddress, ids: readonly ConversationId[]): Promise<ListedConversation[]>;

  /** How many members a conversation has, those who left included; 0 for a missing one. */
  memberCount(id: ConversationId): Promise<number>;

  /** The messages numbered `from` to `to`, both included, ascending. Numbers outside the log are passed over. */
  messages(id: ConversationId, from: number, to: number): Promise<Message[]>;

  /**
   * Those of the named messages that exist, in any order, however old; but for what was written after `lastRev`, if that is
   * given, which may be missing.
   */
  messagesByClientId(
    id: ConversationId,
    keys: readonly { readonly sender: EmailAddress; readonly clientId: string }[],
    lastRev?: number,
  ): Promise<Message[]>;

  /**
   * The messages with a `rev` after `afterRev`, ascending by `rev`, at most `limit`; each once, in its present state.
   * Complete up to the last of them, and where they are fewer than `limit`, up to the `lastRev` of a state of the
   * conversation not older than what was read before.
   */
  changes(id: ConversationId, afterRev: number, limit: number): Promise<Message[]>;

  /**
   * Number of the first message after the member's `readSeq` that is by somebody else and counts as unread; null when
   * there is none, or for a stranger.
   */
  firstUnread(id: ConversationId, reader: EmailAddress): Promise<number | null>;

  /**
   * A page of the conversations the reader is a present member of: pinned first; of these and the others those with
   * activity after the page's `horizon` last; then `lastActivityAt` descending, then id ascending. What is read does
   * not depend on the number of their members.
   */
  chatList(reader: EmailAddress, filter: ChatListFilter, page: ChatListSlice): Promise<ChatListPage>;

  /**
   * The conversations that the reader left at `since` or later, and is no member of now; in any order, at most `limit`.
   */
  leftSince(reader: EmailAddress, since: Instant, limit: number): Promise<ConversationId[]>;

  /** The sum of `unreadOf` the reader over the conversations of `chatList` that are neither muted nor archived. */
  unreadTotal(reader: EmailAddress, filter: ChatListFilter): Promise<number>;

  /**
   * A page of the TEXT messages that hold all terms (see `tokenizer.ts`) in the conversations the reader is a present member
   * of, or in one of them: those with the most matching words first, then by `sentAt` descending, then conversation
   * ascending, then `seq` descending. A message is found from when it is written, by its present text alone.
   *
   * What is looked at and ranked is bounded. Of more than 1,000 conversations the most recently active are looked at; of
   * more than 1,000 matches, or of more than 1,000,000 UTF-16 units of text in them, those in the most recently active
   * conversations are ranked, and there the newest. Nothing is read of conversations the reader is not in. Finding that
   * frequent words never meet may take longer than that: a store may give it up with `StoreUnavailable`, and holds up
   * nobody else meanwhile.
   */
  search(reader: EmailAddress, query: SearchQuery, page: SearchSlice): Promise<SearchPage>;

  /**
   * Writes to one conversation, all or nothing and durable, provided its `lastRev` is still `afterRev`. False, and nothing
   * written, when it is not. Resolves only once the write is durable. There is no other way to change a log.
   *
   * With a new message that counts as unread the conversation is archived no more for those who have not muted it.
   */
  write(write: Write): Promise<boolean>;

  /**
   * Moves a member's `readSeq` forward to `seq`, which is at most `lastSeq`, and remembers the role if one is given.
   * Durable when it resolves. Moving backward, or who is no present member, changes nothing. True when the position moved, or the role
   * was another one. `known` is a state that was read before, for stores that would have to read it.
   */
  advanceReadPosition(
    id: ConversationId,
    reader: EmailAddress,
    seq: number,
    role: Role | null,
    known?: Conversation,
  ): Promise<boolean>;

  /** Changes a present member's own view; what is left out stays. Durable when it resolves. True when something changed. */
  setView(id: ConversationId, reader: EmailAddress, view: Partial<View>): Promise<boolean>;

  /** Tells listeners in every process that a member types, or no longer does. A hint like a wake-up, and kept no longer. */
  tellTyping(typing: Typing): Promise<void>;

  /**
   * Calls the listener after a conversation changed, in this process or another; after a change by this process before
   * the call that made it resolves. It may come late, twice or in another order than the changes: what it says holds
   * for who knows the state it goes on from. Null says that wake-ups were lost: anything may have changed. Returns a
   * function that ends it.
   */
  watch(listener: (wakeUp: WakeUp | null) => void): () => void;

  /**
   * Messages that are not in the search index yet, of those that this process writes: a search compares their texts.
   * Those of a write that failed may count for a while.
   */
  searchLag(): number;

  /** Resolves when an append would succeed now, and rejects otherwise. What anybody was told before is written is seen by reads after it. */
  ping(): Promise<void>;

  /** Finishes what was accepted, then lets go of everything. Idempotent. */
  close(): Promise<void>;
}

/** Null does not narrow; `archived` is always one or the other. */
export interface ChatListFilter {
  readonly configId: string | null;
  readonly status: readonly ConversationStatus[] | null;
  readonly label: string | null;
  readonly unreadOnly: boolean;
  readonly archived: boolean;
}

/** Where a conversation stands in a reader's chat list. */
export interface ChatListPosition {
  readonly pinned: boolean;
  readonly lastActivityAt: Instant;
  readonly id: ConversationId;
}

export interface ChatListSlice {
  /** 1 to 100. */
  readonly first: number;
  /** Null for the top of the list; the position need not be taken. */
  readonly after: ChatListPosition | null;
  /** What is later was given by a clock that was wrong. Default: no moment is. */
  readonly horizon?: Instant;
}

export interface ChatListPage {
  readonly conversations: readonly ListedConversation[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

export interface SearchQuery {
  /** At least one. */
  readonly terms: readonly Term[];
  /** Where to look; null for everywhere. */
  readonly conversation: ConversationId | null;
}

/** Where a match stands among the others. */
export interface SearchPosition {
  /** Words of the text that match a term. */
  readonly score: number;
  readonly sentAt: Instant;
  readonly conversationId: ConversationId;
  readonly seq: number;
}

export interface SearchSlice {
  /** 1 to 100. */
  readonly first: number;
  /** Null for the best; the position need not be taken. */
  readonly after: SearchPosition | null;
}

export interface SearchPage<M = Message> {
  readonly hits: readonly { readonly message: M; readonly position: SearchPosition }[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

/** What a listed conversation holds of its members, given in their order and at least one more than it holds. */
export function firstOf(members: readonly Member[]): Pick<ListedConversation, 'firstMembers' | 'hasMoreMembers'> {
  return { firstMembers: members.slice(0, FIRST_MEMBERS), hasMoreMembers: members.length > FIRST_MEMBERS };
}

/** The store did not do what it was asked. */
export class StoreUnavailable extends Error {
  /** True when it is certain that nothing was written. */
  readonly nothingWritten: boolean;

  constructor(nothingWritten: boolean, cause: unknown) {
    super(nothingWritten ? 'not stored' : 'outcome unknown', { cause });
    this.nothingWritten = nothingWritten;
  }
}
