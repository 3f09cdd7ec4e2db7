import type {
  Conversation,
  ConversationId,
  ConversationStatus,
  EmailAddress,
  Instant,
  Message,
  Role,
} from '../model.ts';

/**
 * The port every store implements. Its laws, which the conformance suite tests on each adapter:
 *
 * - Reads never see a write that could still be lost, and see it whole or not at all.
 * - What this process has been told is written is seen by its next read.
 * - The store knows nothing of rules: it writes what it is given, or nothing.
 * - A store that cannot answer throws `StoreUnavailable`; any other error is a fault.
 */
export interface Store {
  /** The conversation and all its members, or null. */
  conversation(id: ConversationId): Promise<Conversation | null>;

  /** The messages numbered `from` to `to`, both included, ascending. Numbers outside the log are passed over. */
  messages(id: ConversationId, from: number, to: number): Promise<Message[]>;

  /** Those of the named messages that exist, in any order, however old. */
  messagesByClientId(
    id: ConversationId,
    keys: readonly { readonly sender: EmailAddress; readonly clientId: string }[],
  ): Promise<Message[]>;

  /** Number of the first message that counts as unread for this member (see `unreadCount`); null when there is none. */
  firstUnread(id: ConversationId, reader: EmailAddress): Promise<number | null>;

  /** How many TEXT messages after the member's `readSeq` are by somebody else and not redacted; 0 for a stranger. */
  unreadCount(id: ConversationId, reader: EmailAddress): Promise<number>;

  /** A page of the conversations the reader is a present member of: pinned first, then `lastActivityAt` descending, then id ascending. */
  chatList(reader: EmailAddress, filter: ChatListFilter, page: ChatListSlice): Promise<ChatListPage>;

  /** The sum of `unreadCount` over the conversations of `chatList` that are neither muted nor archived. */
  unreadTotal(reader: EmailAddress, filter: ChatListFilter): Promise<number>;

  /**
   * Appends messages to one conversation in one atomic, durable write, provided its `lastRev` is still `afterRev`.
   * False, and nothing written, when it is not. Resolves only once the write is durable.
   */
  append(append: Append): Promise<boolean>;

  /**
   * Moves a member's `readSeq` forward to `seq`, and remembers the role if one is given. Durable when it resolves.
   * Moving backward, or a stranger, changes nothing. True when the position moved.
   */
  moveRead(id: ConversationId, reader: EmailAddress, seq: number, role: Role | null): Promise<boolean>;

  /**
   * Calls the listener after a conversation changed, in this process or another. A hint: it may come late, twice or
   * not at all, and carries no truth. Null says that hints were lost: anything may have changed. Returns a function
   * that ends it.
   */
  watch(listener: (wakeUp: WakeUp | null) => void): () => void;

  /** Resolves when an append would succeed now, and rejects otherwise. What anybody was told before is written is seen by reads after it. */
  ping(): Promise<void>;

  /** Finishes what was accepted, then lets go of everything. Idempotent. */
  close(): Promise<void>;
}

/** "Look again": the log of `conversation` grew, or, with `reader`, only that member's `readSeq` moved. */
export interface WakeUp {
  readonly conversation: ConversationId;
  readonly reader?: EmailAddress;
}

/** What to append, decided on the state at `afterRev`. */
export interface Append {
  readonly conversation: ConversationId;
  /** The `lastRev` the decision was made on; 0 when the conversation is to be opened. */
  readonly afterRev: number;
  /** Given exactly when `afterRev` is 0. */
  readonly opening: Opening | null;
  /** At least one; `seq` and `rev` go on densely from the state at `afterRev`. */
  readonly messages: readonly Message[];
  /** Roles that became known with these messages, of present members. */
  readonly roles: ReadonlyMap<EmailAddress, Role>;
}

export interface Opening {
  readonly configId: string;
  readonly subject: string | null;
  readonly party: string | null;
  readonly members: readonly EmailAddress[];
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
}

export interface ChatListPage {
  readonly conversations: readonly Conversation[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
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
