import type {
  ConversationFieldsFragment as Conversation,
  ListedConversationFieldsFragment as ListedConversation,
  MessageFieldsFragment as Message,
} from '../generated/operations.ts';

/** A conversation as an answer gave it, together with what events told since. */
export interface Facts {
  readonly conversation: Conversation;
  /** The `lastRev` of the answer: what a SYSTEM message tells of after that is not in it. */
  readonly answeredAt: number;
}

/** Takes in an answer. It may be older than what events told, which stays; one that is older than the last changes nothing. */
export function withAnswer(facts: Facts | null, answer: Conversation): Facts {
  if (!facts) return { conversation: answer, answeredAt: answer.lastRev };
  if (answer.lastRev < facts.answeredAt) return facts;
  const { members, lastMessage, lastRev } = facts.conversation;
  const known = new Map(members.map(({ email, readSeq }) => [email, readSeq]));
  const conversation = {
    ...answer,
    members: answer.members.map((member) => ({
      ...member,
      readSeq: Math.max(member.readSeq, known.get(member.email) ?? 0),
    })),
  };
  const told = { conversation, answeredAt: answer.lastRev };
  const newer = lastRev > answer.lastRev && lastMessage ? withMessage(told, lastMessage) : told;
  return { ...newer, conversation: { ...newer.conversation, lastRev: Math.max(lastRev, answer.lastRev) } };
}

/** Takes in a state of a list. It lacks the members, so an answer that is older still counts for them. */
export function withListed(facts: Facts, listed: ListedConversation): Facts {
  const { members } = facts.conversation;
  return { ...withAnswer(facts, { ...listed, members }), answeredAt: facts.answeredAt };
}

/** Takes in a message that was added or changed. */
export function withMessage(facts: Facts, message: Message): Facts {
  const { lastMessage, lastSeq, lastRev } = facts.conversation;
  const newest = message.seq > lastSeq || (message.seq === lastSeq && message.rev > (lastMessage?.rev ?? 0));
  return {
    ...facts,
    conversation: {
      ...facts.conversation,
      lastRev: Math.max(lastRev, message.rev),
      lastSeq: Math.max(lastSeq, message.seq),
      ...(newest && { lastMessage: message, lastActivityAt: message.sentAt }),
    },
  };
}

/** Takes in that a member has read up to somewhere. */
export function withRead(facts: Facts, email: string, readSeq: number): Facts {
  const { members } = facts.conversation;
  if (!members.some((member) => member.email === email && member.readSeq < readSeq)) return facts;
  const moved = members.map((member) => (member.email === email ? { ...member, readSeq } : member));
  return { ...facts, conversation: { ...facts.conversation, members: moved } };
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
