import type {
  ConversationFieldsFragment as Conversation,
  ListedConversationFieldsFragment as ListedConversation,
  MessageFieldsFragment as Message,
} from '../generated/operations.ts';

/** A conversation as an answer gave it, together with what events told since. */
export interface Snapshot {
  readonly conversation: Conversation;
  /** The `lastRev` of the answer: what a SYSTEM message tells of after that is not in it. */
  readonly fetchedRev: number;
}

/** Takes in an answer. It may be older than what events told, which stays; one that is older than the last changes nothing. */
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

/** Takes in a state of a list. It lacks the members, so an answer that is older still counts for them. */
export function applyListed(snapshot: Snapshot, listed: ListedConversation): Snapshot {
  const { members } = snapshot.conversation;
  return { ...applyFetched(snapshot, { ...listed, members }), fetchedRev: snapshot.fetchedRev };
}

/** Takes in a message that was added or changed. */
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

/** Takes in that a member has read up to somewhere. */
export function applyRead(snapshot: Snapshot, email: string, readSeq: number): Snapshot {
  const { members } = snapshot.conversation;
  if (!members.some((member) => member.email === email && member.readSeq < readSeq)) return snapshot;
  const moved = members.map((member) => (member.email === email ? { ...member, readSeq } : member));
  return { ...snapshot, conversation: { ...snapshot.conversation, members: moved } };
}

/** The first of a page's messages that the viewer has not read. */
export function firstUnread({ members }: Conversation, page: readonly Message[], me: string): number | null {
  const readSeq = members.find(({ email }) => email === me)?.readSeq ?? 0;
  return (
    page.find(
      ({ seq, sender, kind, redactedAt }) => seq > readSeq && sender !== me && kind === 'TEXT' && redactedAt === null,
    )?.seq ?? null
  );
}
