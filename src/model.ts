import { createHash } from 'node:crypto';

declare const brand: unique symbol;
type Branded<T, Name> = T & { readonly [brand]: Name };

/** An e-mail address in lower case that `parseEmail` accepted. */
export type EmailAddress = Branded<string, 'EmailAddress'>;

/** `c_` and 43 characters of base64url: the hash of the natural key. */
export type ConversationId = Branded<string, 'ConversationId'>;

/** Milliseconds since 1970 in UTC. For people to read; never for order within a conversation. */
export type Instant = number;

/**
 * How far ahead of the clock a moment may be, in milliseconds: the clock may have stepped back, and clocks of processes
 * differ.
 */
const MAX_AHEAD_MS = 86_400_000;

/** The latest moment that can be true now: one that is later was given by a clock that was wrong. */
export function horizonOf(now: Instant): Instant {
  return now + MAX_AHEAD_MS;
}

export type Role = 'CUSTOMER' | 'SELLER' | 'BANK';
export type ConversationStatus = 'OPEN' | 'PENDING' | 'RESOLVED' | 'CLOSED';
type MessageKind = 'TEXT' | 'SYSTEM';

/** Who a request is made for. */
export interface Viewer {
  readonly email: EmailAddress;
  /** Null where the credential names none. */
  readonly role: Role | null;
}

/** One configuration and one set of members: what makes a conversation the same conversation. */
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
  readonly readSeq: number;
  /** How many of the messages that count as unread are the member's own; for the other members they count. */
  readonly sent: number;
  /** How many of the others are numbered up to `readSeq`. */
  readonly seen: number;
  readonly joinedAt: Instant;
  /** Null for present members. */
  readonly leftAt: Instant | null;
}

/** Where a conversation stands, for everybody. */
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
  readonly lastSeq: number;
  /** Position of the newest durable change; dense. */
  readonly lastRev: number;
  /** How many messages count as unread for those who have not read them: see `countsAsUnread`. */
  readonly counted: number;
  /** The message numbered `lastSeq`, as it is in this state; undefined where it was not read together with the state. */
  readonly lastMessage?: Message | undefined;
}

export interface Conversation extends ConversationHead {
  /** Those who left included; in the order of `joinedAt`, then address. */
  readonly members: ReadonlyMap<EmailAddress, Member>;
}

/** Length of `ListedConversation.firstMembers`, at most. */
export const FIRST_MEMBERS = 16;

/** A conversation as lists hold it: of a size that does not depend on the number of its members. */
export interface ListedConversation extends ConversationHead {
  /** The member the list was read for. */
  readonly reader: Member;
  /** The first `FIRST_MEMBERS` of `Conversation.members`. */
  readonly firstMembers: readonly Member[];
  /** Whether there are others. */
  readonly hasMoreMembers: boolean;
}

interface Revision {
  readonly text: string;
  readonly editor: EmailAddress;
  readonly at: Instant;
}

export interface Message {
  readonly conversationId: ConversationId;
  /** 1, 2, 3 … per conversation, in commit order. */
  readonly seq: number;
  /** The conversation's `lastRev` when this message last changed. */
  readonly rev: number;
  /** The `rev` it was added at: grows with `seq`, and differs from `rev` once the message was changed. */
  readonly addedRev: number;
  readonly kind: MessageKind;
  readonly sender: EmailAddress;
  readonly text: string;
  readonly clientId: string | null;
  readonly replyToSeq: number | null;
  readonly sentAt: Instant;
  readonly editedAt: Instant | null;
  readonly redactedAt: Instant | null;
  /** Why the text was taken away; null for a message that has its text. */
  readonly redactionReason: string | null;
  /** `hashText` of the text it was sent with, kept when that is gone; null for a message that has its text. */
  readonly firstTextHash: string | null;
  readonly revisions: readonly Revision[];
}

/** Whether a message counts as unread: a text that is still there. */
export function countsAsUnread({ kind, redactedAt }: Pick<Message, 'kind' | 'redactedAt'>): boolean {
  return kind === 'TEXT' && redactedAt === null;
}

/** How many messages a member has not read: those that count, less their own, less those of others up to `readSeq`. */
export function unreadOf(
  { counted }: Pick<Conversation, 'counted'>,
  { sent, seen }: Pick<Member, 'sent' | 'seen'>,
): number {
  return counted - sent - seen;
}

/** A member of whom nothing is known but that they joined. */
export function newMember(email: EmailAddress, joinedAt: Instant): Member {
  const view = { muted: false, pinned: false, archived: false };
  return { email, role: null, readSeq: 0, sent: 0, seen: 0, joinedAt, leftAt: null, ...view };
}

/** In the order of `Conversation.members`. */
export function inOrder(members: Iterable<Member>): Member[] {
  return [...members].sort((a, b) => a.joinedAt - b.joinedAt || (a.email < b.email ? -1 : 1));
}

// The "valid e-mail address" production of the HTML standard, section "E-mail state (type=email)".
// Without the u flag, i folds ASCII only, so no other letter passes for one.
const EMAIL =
  /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** The address in lower case, or null where the text is none (HTML `input type=email`, at most 254 characters). */
export function parseEmail(text: string): EmailAddress | null {
  return text.length <= 254 && EMAIL.test(text) ? (text.toLowerCase() as EmailAddress) : null;
}

/** The id of the conversation with this key: whoever knows the key knows the id. */
export function conversationId(key: ConversationKey): ConversationId {
  const hash = createHash('sha256').update(JSON.stringify([key.configId, ...key.members]));
  return `c_${hash.digest('base64url')}` as ConversationId;
}

/** The id of a message, which is also its cursor: the conversation's id, a colon, the number. */
export function messageId(message: { conversationId: ConversationId; seq: number }): string {
  return `${message.conversationId}:${message.seq}`;
}

/** What is kept of the first text of a message that is taken away: enough to know a repeat, and bound to the one message. */
export function hashText(message: { conversationId: ConversationId; seq: number }, text: string): string {
  return createHash('sha256')
    .update(`${messageId(message)}\n${text}`)
    .digest('base64url');
}

const ID = /^(c_[A-Za-z0-9_-]{43})(?::([1-9]\d{0,9}))?$/;

/** Reads the id of a conversation (`seq` null) or a message; null where the text is neither. */
export function parseId(text: string): { conversationId: ConversationId; seq: number | null } | null {
  const match = ID.exec(text);
  if (!match) return null;
  return { conversationId: match[1] as ConversationId, seq: match[2] === undefined ? null : Number(match[2]) };
}
