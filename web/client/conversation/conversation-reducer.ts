import type {
  ConversationFieldsFragment as Conversation,
  ListedConversationFieldsFragment as ListedConversation,
  MessageFieldsFragment as Message,
} from '../generated/operations.ts';

/** A conversation as fetched, updated by later events. */
export interface Snapshot {
  readonly conversation: Conversation;
  /** The fetched `lastRev`: changes of status, labels or members after it are missing. */
  readonly fetchedRev: number;
}

/** Applies a fetched state. Later events stay applied, and a state older than the last fetched one is ignored. */
export function applyFetched(snapshot: Snapshot | null, fetched: Conversation): Snapshot {
  if (!snapshot) return { conversation: fetched, fetchedRev: fetched.lastRev };
  if (fetched.lastRev < snapshot.fetchedRev) return snapshot;
  const { members, lastMessage, lastRev } = snapshot.conversation;
  const readPositions = new Map(members.map(({ email, readSeq }) => [email, readSeq]));
  const conversation = {
    ...fetched,
    members: fetched.members.map((member) => ({
      ...member,
      readSeq: Math.max(member.readSeq, readPositions.get(member.email) ?? 0),
    })),
  };
  const base = { conversation, fetchedRev: fetched.lastRev };
  const newer = lastRev > fetched.lastRev && lastMessage ? applyMessage(base, lastMessage) : base;
  return { ...newer, conversation: { ...newer.conversation, lastRev: Math.max(lastRev, fetched.lastRev) } };
}

/** Applies a listed state. It lacks the members, so a fetched state that is older still counts for them. */
export function applyListed(snapshot: Snapshot, listed: ListedConversation): Snapshot {
  const { members } = snapshot.conversation;
  return { ...applyFetched(snapshot, { ...listed, members }), fetchedRev: snapshot.fetchedRev };
}

/** Applies an added or changed message. */
export function applyMessage(snapshot: Snapshot, message: Message): Snapshot {
  const { lastMessage, lastSeq, lastRev } = snapshot.conversation;
  const isNewest = message.seq > lastSeq || (message.seq === lastSeq && message.rev > (lastMessage?.rev ?? 0));
  return {
    ...snapshot,
    conversation: {
      ...snapshot.conversation,
      lastRev: Math.max(lastRev, message.rev),
      lastSeq: Math.max(lastSeq, message.seq),
      ...(isNewest && { lastMessage: message, lastActivityAt: message.sentAt }),
    },
  };
}

/** Applies a member's read position. */
export function applyRead(snapshot: Snapshot, email: string, readSeq: number): Snapshot {
  const { members } = snapshot.conversation;
  if (!members.some((member) => member.email === email && member.readSeq < readSeq)) return snapshot;
  const moved = members.map((member) => (member.email === email ? { ...member, readSeq } : member));
  return { ...snapshot, conversation: { ...snapshot.conversation, members: moved } };
}

/** Position of the first unread message in a page; null for none. */
export function firstUnread({ members }: Conversation, page: readonly Message[], me: string): number | null {
  const readSeq = members.find(({ email }) => email === me)?.readSeq ?? 0;
  return (
    page.find(
      ({ seq, sender, kind, redactedAt }) => seq > readSeq && sender !== me && kind === 'TEXT' && redactedAt === null,
    )?.seq ?? null
  );
}
