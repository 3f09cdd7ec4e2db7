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
  type Rev,
  type Role,
  type Seq,
  type View,
} from '../model.ts';
import type { RecordStore } from './record-store.ts';
import type { Term } from './tokenizer.ts';
import type { Typing, WakeUp } from './wake-up.ts';
import type { Write } from './write.ts';

export * from './record-store.ts';
export * from './wake-up.ts';
export * from './write.ts';

/**
 * The port every store implements. Its laws, which the conformance suite tests on each adapter:
 *
 * - Reads never see a write that could still be lost, and see it whole or not at all.
 * - A write acknowledged to this process is seen by its next read.
 * - The store enforces no rules of the chat: it writes all it is given, or nothing.
 * - A store that cannot answer throws `StoreUnavailable`; any other error is a fault.
 */
export interface Store extends RecordStore {
  /**
   * The conversation and all its members, or null. With a `reader`, also null unless the reader is a present member:
   * one look-up decides that before members are read, so that a refusal costs the same as a missing conversation.
   */
  conversation(id: ConversationId, reader?: EmailAddress): Promise<Conversation | null>;

  /** Those of the named conversations that the reader is a present member of, in any order, without their members. */
  listed(reader: EmailAddress, ids: readonly ConversationId[]): Promise<ListedConversation[]>;

  /** How many members a conversation has, including those that left; 0 for a missing one. */
  memberCount(id: ConversationId): Promise<number>;

  /** The ids of all conversations after `after`, ascending, at most `limit`; null for the first. */
  conversationIds(after: ConversationId | null, limit: number): Promise<ConversationId[]>;

  /** The messages numbered `from` to `to`, both included, ascending. Numbers outside the log are skipped. */
  messages(id: ConversationId, from: Seq, to: Seq): Promise<Message[]>;

  /**
   * The messages with these client ids that exist, in any order, however old. With a `lastRev`, messages written after
   * it may be missing.
   */
  messagesByClientId(
    id: ConversationId,
    keys: readonly { readonly sender: EmailAddress; readonly clientId: string }[],
    lastRev?: Rev,
  ): Promise<Message[]>;

  /**
   * The messages with a `rev` after `afterRev`, ascending by `rev`, at most `limit`; each once, in its present state.
   * Complete up to the last of them; where they are fewer than `limit`, complete up to the `lastRev` of a state of the
   * conversation that is at least as new as any state read before.
   */
  changes(id: ConversationId, afterRev: Rev, limit: number): Promise<Message[]>;

  /**
   * Number of the first message after the member's `readSeq` that is by another sender and counts as unread; null when
   * there is none, or when the reader is no present member.
   */
  firstUnread(id: ConversationId, reader: EmailAddress): Promise<number | null>;

  /**
   * A page of the conversations the reader is a present member of: pinned first; within pinned and unpinned those with
   * activity after the page's `horizon` last; then `lastActivityAt` descending, then id ascending. The amount read does
   * not depend on the number of members.
   */
  chatList(reader: EmailAddress, filter: ChatListFilter, page: ChatListSlice): Promise<ChatListPage>;

  /**
   * The conversations that the reader left at `since` or later and has not joined again; in any order, at most `limit`.
   */
  leftSince(reader: EmailAddress, since: Instant, limit: number): Promise<ConversationId[]>;

  /** The sum of `unreadOf` the reader over the conversations of `chatList` that are neither muted nor archived. */
  unreadTotal(reader: EmailAddress, filter: ChatListFilter): Promise<number>;

  /**
   * A page of the TEXT messages that hold all terms (see `tokenizer.ts`) in the conversations the reader is a present
   * member of, or in one of them: those with the most matching words first, then by `sentAt` descending, then
   * conversation ascending, then `seq` descending. A message is found from when it is written, by its present text
   * alone.
   *
   * Work is bounded. Of more than 1,000 conversations the most recently active are searched; of more than 1,000
   * matches, or of more than 1,000,000 UTF-16 units of text in them, those in the most recently active conversations
   * are ranked, and of these the newest. Nothing is read of conversations the reader is not in. Finding that frequent
   * words never occur together may take longer: a store may give up with `StoreUnavailable`, and delays no other call
   * meanwhile.
   */
  search(reader: EmailAddress, query: SearchQuery, page: SearchSlice): Promise<SearchPage>;

  /**
   * Writes to one conversation, all or nothing and durable, provided its `lastRev` is still `afterRev`. False, and
   * nothing written, when it is not. Resolves only once the write is durable. There is no other way to change a log.
   *
   * A new message that counts as unread unarchives the conversation for every member that has not muted it.
   */
  write(write: Write): Promise<boolean>;

  /**
   * Moves a member's `readSeq` forward to `seq`, which is at most `lastSeq`, and stores the role if one is given.
   * Durable when it resolves. Moving backward, or a reader that is no present member, changes nothing. True when the
   * position moved or the role changed. `known` is a state that was read before, for stores that would have to read it;
   * `at` is the time of the move, null where not known.
   */
  advanceReadPosition(
    id: ConversationId,
    reader: EmailAddress,
    seq: Seq,
    role: Role | null,
    known?: Conversation,
    at?: Instant | null,
  ): Promise<boolean>;

  /**
   * Changes a present member's own view; fields left out stay. Durable when it resolves. True when something changed.
   */
  setView(id: ConversationId, reader: EmailAddress, view: Partial<View>): Promise<boolean>;

  /** Tells listeners in every process that a member started or stopped typing. A hint, like any wake-up; not stored. */
  tellTyping(typing: Typing): Promise<void>;

  /**
   * Calls the listener after a conversation changed, in this process or another; after a change by this process before
   * the call that made it resolves. It may come late, twice or in another order than the changes; its content applies
   * to the state it starts from. Null says that wake-ups were lost: anything may have changed. Returns a function that
   * removes the listener.
   */
  watch(listener: (wakeUp: WakeUp | null) => void): () => void;

  /**
   * Number of messages written by this process that are not in the search index yet: a search compares their texts.
   * Messages of a failed write may be included for a while.
   */
  searchLag(): number;

  /**
   * Resolves when an append would succeed now, and rejects otherwise. Reads after it see every write acknowledged
   * before it.
   */
  ping(): Promise<void>;

  /** Finishes accepted calls, then releases all resources. Idempotent. */
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

/** Position of a conversation in a reader's chat list. */
export interface ChatListPosition {
  readonly pinned: boolean;
  readonly lastActivityAt: Instant;
  readonly id: ConversationId;
}

export interface ChatListSlice {
  /** 1 to 100. */
  readonly first: number;
  /** Null for the top of the list; no conversation need be at the position. */
  readonly after: ChatListPosition | null;
  /** The latest plausible `lastActivityAt`: a later one comes from a wrong clock. Default: no limit. */
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
  /** The conversation to search; null for all of the reader's. */
  readonly conversation: ConversationId | null;
}

/** Position of a match in the ranking. */
export interface SearchPosition {
  /** Words of the text that match a term. */
  readonly score: number;
  readonly sentAt: Instant;
  readonly conversationId: ConversationId;
  readonly seq: Seq;
}

export interface SearchSlice {
  /** 1 to 100. */
  readonly first: number;
  /** Null for the best; no match need be at the position. */
  readonly after: SearchPosition | null;
}

export interface SearchPage<M = Message> {
  readonly hits: readonly { readonly message: M; readonly position: SearchPosition }[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

/** The members a listed conversation holds; `members` are in their order, and include one more than it holds. */
export function firstOf(members: readonly Member[]): Pick<ListedConversation, 'firstMembers' | 'hasMoreMembers'> {
  return { firstMembers: members.slice(0, FIRST_MEMBERS), hasMoreMembers: members.length > FIRST_MEMBERS };
}

/** The store failed to carry out a call. */
export class StoreUnavailable extends Error {
  /** True when it is certain that nothing was written. */
  readonly nothingWritten: boolean;

  constructor(nothingWritten: boolean, cause: unknown) {
    super(nothingWritten ? 'not stored' : 'outcome unknown', { cause });
    this.nothingWritten = nothingWritten;
  }
}
