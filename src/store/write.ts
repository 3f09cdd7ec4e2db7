import type { ConversationId, ConversationState, EmailAddress, Instant, Message, Rev, Role, Seq } from '../model.ts';

/**
 * A change of one conversation, decided on the state at `afterRev`. The changes are numbered on from there in their
 * order, and a message that is changed twice has the last `rev`. So the greatest `rev` is the new `lastRev`.
 */
export interface Write {
  readonly conversation: ConversationId;
  /** The `lastRev` the decision was made on; 0 when the write opens the conversation. */
  readonly afterRev: Rev;
  /** Given exactly when `afterRev` is 0. */
  readonly opening: Opening | null;
  /** New messages, `seq` without gaps. There is at least one in `messages` or `changed`. */
  readonly messages: readonly Message[];
  /**
   * Messages of the log in their new state, each once: text, revisions and the fields an edit or a redaction sets. A
   * message redacted here was not redacted before.
   */
  readonly changed: readonly Message[];
  /** The new state; null where it stays. */
  readonly state: ConversationState | null;
  /** Members that join or leave, each once. */
  readonly members: readonly MemberChange[];
  /** True while more writes follow of a conversation that is moved in: it is not registered yet. Default: false. */
  readonly isPartial?: boolean;
  /** Roles that became known with this write, of members. */
  readonly roles: ReadonlyMap<EmailAddress, Role>;
}

/** A change of one membership. */
export interface MemberChange {
  readonly email: EmailAddress;
  /**
   * Set when the member joins, for the first time or again: everything up to `readSeq` is read, `seen` is the value
   * after the write, and the view is the default. Null when the member only leaves.
   */
  readonly joined: { readonly at: Instant; readonly readSeq: Seq; readonly seen: number } | null;
  readonly leftAt: Instant | null;
}

export interface Opening {
  readonly configId: string;
  readonly subject: string | null;
  readonly party: string | null;
  readonly members: readonly EmailAddress[];
  /** `Conversation.importedRev`; default: 0. Given where a whole conversation is moved in. */
  readonly importedRev?: Rev;
}

/** The `lastRev` that a write leaves. */
export function revAfter({ messages, changed }: Pick<Write, 'messages' | 'changed'>): number {
  return [...messages, ...changed].reduce((newest, { rev }) => Math.max(newest, rev), 0);
}
