import type { ConversationId, ConversationState, EmailAddress, Instant, Message, Role } from '../model.ts';

/**
 * What becomes of a conversation, decided on the state at `afterRev`. `rev` goes on from there: its values are given to
 * the changes in their order, and a message that is changed twice has the last. So the greatest is the new `lastRev`.
 */
export interface Write {
  readonly conversation: ConversationId;
  /** The `lastRev` the decision was made on; 0 when the conversation is to be opened. */
  readonly afterRev: number;
  /** Given exactly when `afterRev` is 0. */
  readonly opening: Opening | null;
  /** New messages; `seq` goes on densely. They, or `changed`, hold at least one. */
  readonly messages: readonly Message[];
  /**
   * Messages of the log as they are from now on, each once: text, revisions and what an edit or a redaction sets. One that
   * is redacted was not so before.
   */
  readonly changed: readonly Message[];
  /** The new state; null where it stays. */
  readonly state: ConversationState | null;
  /** Who joins or leaves, each once. */
  readonly members: readonly MemberChange[];
  /** Roles that became known with this write, of members. */
  readonly roles: ReadonlyMap<EmailAddress, Role>;
}

/** What becomes of somebody's membership. */
export interface MemberChange {
  readonly email: EmailAddress;
  /**
   * Where they join, again perhaps: with everything up to `readSeq` read, `seen` after the write, and no view of their own.
   * Null where they only leave.
   */
  readonly joined: { readonly at: Instant; readonly readSeq: number; readonly seen: number } | null;
  readonly leftAt: Instant | null;
}

export interface Opening {
  readonly configId: string;
  readonly subject: string | null;
  readonly party: string | null;
  readonly members: readonly EmailAddress[];
}

/** The `lastRev` that a write leaves. */
export function revAfter({ messages, changed }: Pick<Write, 'messages' | 'changed'>): number {
  return [...messages, ...changed].reduce((newest, { rev }) => Math.max(newest, rev), 0);
}
