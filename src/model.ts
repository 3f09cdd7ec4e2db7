import { createHash } from 'node:crypto';

declare const brand: unique symbol;
type Branded<T, Name> = T & { readonly [brand]: Name };

/** An e-mail address in lower case that `parseEmail` accepted. */
export type EmailAddress = Branded<string, 'EmailAddress'>;

/** `c_` and 43 characters of base64url: the hash of the natural key. */
export type ConversationId = Branded<string, 'ConversationId'>;

/**
 * A kind of number: plain numbers may be given for it, numbers of another kind may not. Arithmetic gives plain numbers.
 */
type Kind<Name> = number & { readonly [brand]?: Name };

/** Number of a message in its conversation: 1, 2, 3 … in commit order; 0 is before the first. */
export type Seq = Kind<'Seq'>;

/** Position of a durable change of a conversation: 1, 2, 3 …; 0 is before the first. */
export type Rev = Kind<'Rev'>;

/** Milliseconds since 1970 in UTC. For display; never for order within a conversation. */
export type Instant = number;

/**
 * How far ahead of the clock a time may be, in milliseconds: the clock may have stepped back, and clocks of processes
 * differ.
 */
const MAX_AHEAD_MS = 86_400_000;

/** The horizon: the latest plausible time. A later one comes from a clock that was wrong. */
export function horizonOf(now: Instant): Instant {
  return now + MAX_AHEAD_MS;
}

export type Role = 'CUSTOMER' | 'SELLER' | 'BANK';
export type ConversationStatus = 'OPEN' | 'PENDING' | 'RESOLVED' | 'CLOSED';
type MessageKind = 'TEXT' | 'SYSTEM';

/** The user that a request is made for. */
export interface Viewer {
  readonly email: EmailAddress;
  /** Null if the credential names none. */
  readonly role: Role | null;
}

/** The natural key of a conversation: one configuration and one set of members. */
export interface ConversationKey {
  readonly configId: string;
  /** Without repeats, sorted. */
  readonly members: readonly EmailAddress[];
}

/** A member's own view of a conversation, never shown to others. */
export interface View {
  readonly muted: boolean;
  readonly pinned: boolean;
  readonly archived: boolean;
}

export interface Member extends View {
  readonly email: EmailAddress;
  /** The role last seen in a credential of this member; null while unknown. */
  readonly role: Role | null;
  /** Number of the newest message read; 0 for none. Only moves forward. */
  readonly readSeq: Seq;
  /** Number of the member's own messages that count as unread for the other members. */
  readonly sent: number;
  /** Number of the counted messages of other members up to `readSeq`. */
  readonly seen: number;
  /** When `readSeq` was reached; null when not known. */
  readonly readAt: Instant | null;
  readonly joinedAt: Instant;
  /** Null for present members. */
  readonly leftAt: Instant | null;
}

/** The state that all members share. */
export interface ConversationState {
  readonly status: ConversationStatus;
  /** Without repeats, sorted. */
  readonly labels: readonly string[];
  /** A present member. */
  readonly assignee: EmailAddress | null;
}

/** A conversation without its members. */
interface ConversationHead extends ConversationState {
  readonly id: ConversationId;
  readonly configId: string;
  readonly subject: string | null;
  readonly party: string | null;
  readonly createdAt: Instant;
  readonly lastActivityAt: Instant;
  /** Number of the newest message, at least 1: a conversation without messages does not exist. */
  readonly lastSeq: Seq;
  /** Position of the newest durable change; dense. */
  readonly lastRev: Rev;
  /** The changes up to this `rev` were stored before the record began: what it says of them is what it found. */
  readonly importedRev: Rev;
  /** Number of messages for which `countsAsUnread` holds. */
  readonly counted: number;
  /** The message numbered `lastSeq`, as of this state; undefined if it was not read together with the state. */
  readonly lastMessage?: Message | undefined;
}

export interface Conversation extends ConversationHead {
  /** Present and former members, in the order of `joinedAt`, then address. */
  readonly members: ReadonlyMap<EmailAddress, Member>;
}

/** Maximum length of `ListedConversation.firstMembers`. */
export const FIRST_MEMBERS = 16;

/** A conversation in a list: its size does not depend on the number of its members. */
export interface ListedConversation extends ConversationHead {
  /** The member that the list was read for. */
  readonly reader: Member;
  /** The first `FIRST_MEMBERS` of `Conversation.members`. */
  readonly firstMembers: readonly Member[];
  /** Whether there are others. */
  readonly hasMoreMembers: boolean;
}

/** An earlier text. */
interface Revision {
  readonly text: string;
  /** The member that replaced it, and when. */
  readonly editor: EmailAddress;
  readonly at: Instant;
  /** The `rev` at which it began to stand; 0 where the record does not know it. */
  readonly rev: Rev;
  /** Salt of the text; null where `rev` is 0. */
  readonly salt: string | null;
}

/** A text that a redaction deleted: what the record keeps of it. */
interface ErasedText {
  /** The `rev` at which it began to stand. */
  readonly rev: Rev;
  /** When it began to stand. */
  readonly at: Instant;
  readonly commitment: string;
}

/** A change that a SYSTEM message tells. Of a list, one for each value added (`from` is null) or removed. */
export interface FieldChange {
  readonly field: 'status' | 'assignee' | 'labels' | 'members';
  readonly from: string | null;
  readonly to: string | null;
}

/** The values that an entry of the record commits to, in the order in which it names them. */
export type ValueName = 'text' | 'opening' | 'reply' | 'client' | 'changes' | 'reason' | 'source';

/** Lower-case hex of 16 random bytes for each value that a message has now; `text` is that of the present text. */
export type Salts = Readonly<Partial<Record<ValueName, string>>>;

/** The part of a message that the record alone needs. */
export interface MessageRecord {
  readonly salts: Salts;
  /** The changes that a SYSTEM message tells; absent where it was stored before the record began. */
  readonly changes?: readonly FieldChange[];
  /** The member that redacted it; absent where not known. */
  readonly redactedBy?: EmailAddress;
  /** The texts that the redaction deleted, oldest first, as far as the record knows them. */
  readonly erased?: readonly ErasedText[];
}

/** Origin of a message that was moved in from another chat. */
interface Origin {
  /** Path of the source message: `DATABASE.COLLECTION/_id/index`. */
  readonly source: string;
  /** The time of the message, as the source spells it. */
  readonly time: string;
  /** SHA-256 of the source document (BSON) as it was read, in lower-case hex. */
  readonly digest: string;
}

/** The values that a sender may give with a text, as they are where the sender gives none. */
export const NO_OPTIONS = { clientId: null as string | null, replyToSeq: null as Seq | null };

export type MessageOptions = Readonly<typeof NO_OPTIONS>;

export interface Message extends MessageOptions {
  readonly conversationId: ConversationId;
  /** 1, 2, 3 … per conversation, in commit order. */
  readonly seq: Seq;
  /** The conversation's `lastRev` when this message last changed. */
  readonly rev: Rev;
  /** The `rev` it was added at: grows with `seq`, and differs from `rev` once the message was changed. */
  readonly addedRev: Rev;
  readonly kind: MessageKind;
  readonly sender: EmailAddress;
  readonly text: string;
  readonly sentAt: Instant;
  readonly editedAt: Instant | null;
  readonly redactedAt: Instant | null;
  /** Null unless redacted. */
  readonly redactionReason: string | null;
  /** Keyed hash of the text it was sent with, to identify a repeat; null unless redacted, or without a key. */
  readonly firstTextHash: string | null;
  /** Null for a message that an earlier version stored, until the record begins for its conversation. */
  readonly record: MessageRecord | null;
  /** Null for messages sent here. */
  readonly origin: Origin | null;
  readonly revisions: readonly Revision[];
}

/** Whether a message counts as unread for members that have not read it: a text that is not redacted. */
export function countsAsUnread({ kind, redactedAt }: Pick<Message, 'kind' | 'redactedAt'>): boolean {
  return kind === 'TEXT' && redactedAt === null;
}

/** Number of messages unread by a member: the counted ones, less its own, less those of others up to `readSeq`. */
export function unreadOf(
  { counted }: Pick<Conversation, 'counted'>,
  { sent, seen }: Pick<Member, 'sent' | 'seen'>,
): number {
  return counted - sent - seen;
}

/** A member that has just joined, with the default view. */
export function newMember(email: EmailAddress, joinedAt: Instant): Member {
  const view = { muted: false, pinned: false, archived: false };
  return { email, role: null, readSeq: 0, sent: 0, seen: 0, readAt: null, joinedAt, leftAt: null, ...view };
}

/** In the order of `Conversation.members`. */
export function inOrder(members: Iterable<Member>): Member[] {
  return [...members].sort((a, b) => a.joinedAt - b.joinedAt || (a.email < b.email ? -1 : 1));
}

// The "valid e-mail address" production of the HTML standard, section "E-mail state (type=email)".
// Without the u flag, i folds ASCII only, so no other letter passes for one.
const EMAIL =
  /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** The address in lower case; null where the text is none (HTML `input type=email`, at most 254 characters). */
export function parseEmail(text: string): EmailAddress | null {
  return text.length <= 254 && EMAIL.test(text) ? (text.toLowerCase() as EmailAddress) : null;
}

/** The id of the conversation with this key. */
export function conversationId(key: ConversationKey): ConversationId {
  const hash = createHash('sha256').update(JSON.stringify([key.configId, ...key.members]));
  return `c_${hash.digest('base64url')}` as ConversationId;
}

/** The id of a message, which is also its cursor: the conversation's id, a colon, the number. */
export function messageId(message: { conversationId: ConversationId; seq: Seq }): string {
  return `${message.conversationId}:${message.seq}`;
}

const ID = /^(c_[A-Za-z0-9_-]{43})(?::([1-9]\d{0,9}))?$/;

/** Reads the id of a conversation (`seq` null) or a message; null where the text is neither. */
export function parseId(text: string): { conversationId: ConversationId; seq: Seq | null } | null {
  const match = ID.exec(text);
  if (!match) return null;
  return { conversationId: match[1] as ConversationId, seq: match[2] === undefined ? null : Number(match[2]) };
}
