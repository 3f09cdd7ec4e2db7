import {
  type Conversation,
  type ConversationId,
  type ConversationState,
  countsAsUnread,
  type EmailAddress,
  type FieldChange,
  horizonOf,
  type Instant,
  type Message,
  NO_OPTIONS,
  type Role,
  type Seq,
  type Viewer,
} from '../../model.ts';
import { newSalts } from '../../record/entry.ts';
import type { MemberChange, Opening, Write } from '../../store/store.ts';
import { countsOf } from '../../store/unread-counters.ts';

/** A member that joins or leaves; `seen` is counted when the change set is complete. */
interface Change extends Omit<MemberChange, 'joined'> {
  readonly joined: Pick<NonNullable<MemberChange['joined']>, 'at' | 'readSeq'> | null;
}

/** The changes decided so far in a batch, and the conversation after them. */
export interface ChangeSet {
  /**
   * The conversation after the decided changes, as far as decisions depend on it: views and counters are as before, see
   * `afterWrite`. Null while there is none.
   */
  head: Conversation | null;
  opening: Opening | null;
  readonly messages: Message[];
  /** Changed messages of the log, by `seq`. */
  readonly changed: Map<number, Message>;
  state: ConversationState | null;
  readonly members: Map<EmailAddress, Change>;
  readonly roles: Map<EmailAddress, Role>;
  /** The stored messages that the batch refers to: by `clientKey`, and by `seq`. */
  readonly byClientId: Map<string, Message>;
  readonly bySeq: ReadonlyMap<number, Message>;
  readonly firstTexts: FirstTexts;
}

/** Keyed hashes of the first texts of redacted messages: they identify a repeat, and say nothing without the key. */
export interface FirstTexts {
  /** Null without a key. */
  hashFirstText(id: string, text: string): string | null;
  isFirstText(hash: string, id: string, text: string): boolean;
}

/** The result of a durable command. */
export interface CommandResult {
  /** The messages of the command, as of `conversation`. */
  readonly messages: readonly Message[];
  /** The conversation after the write. */
  readonly conversation: Conversation;
  /** True if the command changed nothing, as a repeat. */
  readonly deduplicated: boolean;
}

export function startChangeSet(
  head: Conversation | null,
  byClientId: Map<string, Message>,
  bySeq: ReadonlyMap<number, Message>,
  firstTexts: FirstTexts,
): ChangeSet {
  const empty = { opening: null, messages: [], changed: new Map(), state: null, members: new Map(), roles: new Map() };
  return { head, ...empty, byClientId, bySeq, firstTexts };
}

/** The write for a change set started on `before`; null where it changes nothing. */
export function writeOf(changeSet: ChangeSet, conversation: ConversationId, before: Conversation | null): Write | null {
  const { opening, messages, state, members, roles } = changeSet;
  const changed = [...changeSet.changed.values()];
  if (messages.length === 0 && changed.length === 0) return null;
  const { counted, sent } = countsOf({ messages, changed });
  /** The counted messages of others, less those after `readSeq`. */
  const seenBy = (email: EmailAddress, readSeq: Seq) => {
    const own = (before?.members.get(email)?.sent ?? 0) + (sent.get(email) ?? 0);
    const later = messages.filter((one) => one.seq > readSeq && one.sender !== email && countsAsUnread(one));
    return (before?.counted ?? 0) + counted - own - later.length;
  };
  return {
    ...{ conversation, afterRev: before?.lastRev ?? 0, opening, messages, changed, state, roles },
    members: [...members.values()].map(({ email, joined, leftAt }) => ({
      ...{ email, leftAt },
      joined: joined && { ...joined, seen: seenBy(email, joined.readSeq) },
    })),
  };
}

/** A message of the log after the decided changes; undefined for none. */
export function messageIn({ messages, changed, bySeq }: ChangeSet, seq: Seq): Message | undefined {
  return messages[seq - (messages[0]?.seq ?? Number.POSITIVE_INFINITY)] ?? changed.get(seq) ?? bySeq.get(seq);
}

/** Replaces a message, stored or added by the change set, and returns the conversation after it. */
export function replaceIn(changeSet: ChangeSet, head: Conversation, message: Message): Conversation {
  const index = message.seq - (changeSet.messages[0]?.seq ?? Number.POSITIVE_INFINITY);
  if (index >= 0) changeSet.messages[index] = message;
  else changeSet.changed.set(message.seq, message);
  if (message.clientId !== null) changeSet.byClientId.set(clientKey(message.sender, message.clientId), message);
  changeSet.head = { ...head, lastRev: message.rev };
  return changeSet.head;
}

/** Adds new messages, and returns the conversation after them. */
export function append(changeSet: ChangeSet, head: Conversation, messages: readonly Message[]): Conversation {
  const newest = messages.at(-1);
  if (!newest) return head;
  changeSet.messages.push(...messages);
  for (const message of messages) {
    if (message.clientId !== null) changeSet.byClientId.set(clientKey(message.sender, message.clientId), message);
  }
  const { seq: lastSeq, rev: lastRev, sentAt: lastActivityAt } = newest;
  changeSet.head = { ...head, lastSeq, lastRev, lastActivityAt };
  return changeSet.head;
}

/** Records the role that the viewer's credential names. */
export function recordRole(changeSet: ChangeSet, head: Conversation, { email, role }: Viewer): Conversation {
  const member = head.members.get(email);
  if (!member || !role || member.role === role) return head;
  changeSet.roles.set(email, role);
  changeSet.head = { ...head, members: new Map(head.members).set(email, { ...member, role }) };
  return changeSet.head;
}

/** The time of a change decided now. The clock may step back; times within a log must not. */
export function monotonicTime(head: Conversation, now: Instant): Instant {
  return notBefore(head.lastActivityAt, now);
}

/** Now, but not before an earlier event, unless the time of that is past the horizon. */
export function notBefore(earlier: Instant, now: Instant): Instant {
  return earlier > horizonOf(now) ? now : Math.max(now, earlier);
}

/** A new message of the conversation, which tells of `changes`; `ahead` others go before it. */
export function newMessage(
  { id, lastSeq, lastRev }: Pick<Conversation, 'id' | 'lastSeq' | 'lastRev'>,
  ahead: number,
  values: Pick<Message, 'kind' | 'sender' | 'text' | 'sentAt'> & Partial<Omit<Message, 'record'>>,
  changes?: readonly FieldChange[],
): Message {
  const rev = lastRev + 1 + ahead;
  const message = {
    conversationId: id,
    seq: lastSeq + 1 + ahead,
    rev,
    addedRev: rev,
    ...NO_OPTIONS,
    editedAt: null,
    redactedAt: null,
    redactionReason: null,
    firstTextHash: null,
    origin: null,
    revisions: [],
    ...values,
  };
  return { ...message, record: { salts: newSalts(message, changes), ...(changes && { changes }) } };
}

/** Key of a client id within a conversation. */
export function clientKey(sender: EmailAddress, clientId: string): string {
  return `${sender}\n${clientId}`;
}
