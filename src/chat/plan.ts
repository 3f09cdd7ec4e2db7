import type { Conversation, ConversationId, EmailAddress, Instant, Member, Message, Role, Viewer } from '../model.ts';
import type { Opening } from '../store/store.ts';
import { permit } from './access.ts';
import { badInput, ChatError, notFound } from './errors.ts';

/** Messages of one sender for one conversation, to be stored contiguously, all or none. Their values are checked. */
export interface Send {
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  /** What to open the conversation with where it does not exist; null where it must. */
  readonly opening: Opening | null;
  /** At least one. */
  readonly drafts: readonly Draft[];
}

export interface Draft {
  readonly text: string;
  readonly clientId: string | null;
  readonly replyToSeq: number | null;
}

/** What came of a send, once it is durable. */
export interface Sent {
  readonly messages: readonly Message[];
  /** The conversation after the write. */
  readonly conversation: Conversation;
  /** True when all of it had been stored before. */
  readonly deduplicated: boolean;
}

/** The decided part of a batch: what the log is going to be. */
export interface Plan {
  head: Conversation | null;
  opening: Opening | null;
  readonly messages: Message[];
  readonly roles: Map<EmailAddress, Role>;
  readonly byClientId: Map<string, Message>;
}

/** Decides one send on top of the plan so far, and adds it to the plan. */
export function decide(plan: Plan, { viewer, opening, drafts, conversation: id }: Send, now: Instant): Sent {
  if (plan.head) permit('sendMessage', viewer, plan.head);
  else if (!opening) throw notFound();

  const repeated = repeats(plan, viewer.email, drafts);
  if (repeated && plan.head) return { messages: repeated, conversation: plan.head, deduplicated: true };

  if (plan.head?.status === 'CLOSED') throw new ChatError('CONVERSATION_CLOSED', 'The conversation is closed.');
  const { lastSeq, lastRev, lastActivityAt } = plan.head ?? { lastSeq: 0, lastRev: 0, lastActivityAt: 0 };
  for (const { replyToSeq } of drafts) {
    if (replyToSeq !== null && (replyToSeq < 1 || replyToSeq > lastSeq))
      throw badInput('replyToSeq names no message of this conversation.');
  }

  // The clock may step back; what people read as the order of events must not.
  const sentAt = Math.max(now, lastActivityAt);
  const messages = drafts.map(
    ({ text, clientId, replyToSeq }, index): Message => ({
      conversationId: id,
      seq: lastSeq + 1 + index,
      rev: lastRev + 1 + index,
      addedRev: lastRev + 1 + index,
      kind: 'TEXT',
      sender: viewer.email,
      text,
      clientId,
      replyToSeq,
      sentAt,
      editedAt: null,
      redactedAt: null,
      redactionReason: null,
      firstTextHash: null,
      revisions: [],
    }),
  );
  const head = plan.head ?? (opening && open(id, opening, sentAt));
  if (!head) throw notFound();
  if (!plan.head) plan.opening = opening;
  let { members } = head;
  const member = members.get(viewer.email);
  if (member && viewer.role && member.role !== viewer.role) {
    plan.roles.set(viewer.email, viewer.role);
    members = new Map(members).set(viewer.email, { ...member, role: viewer.role });
  }
  plan.head = {
    ...head,
    members,
    lastSeq: lastSeq + messages.length,
    lastRev: lastRev + messages.length,
    lastActivityAt: sentAt,
  };
  plan.messages.push(...messages);
  for (const message of messages) {
    if (message.clientId !== null) plan.byClientId.set(clientKey(viewer.email, message.clientId), message);
  }
  return { messages, conversation: plan.head, deduplicated: false };
}

/** The stored messages where all of the drafts are a repeat; null where none is. @throws ChatError CONFLICT in between */
function repeats(plan: Plan, sender: EmailAddress, drafts: readonly Draft[]): Message[] | null {
  const stored = drafts.map(({ clientId }) =>
    clientId === null ? undefined : plan.byClientId.get(clientKey(sender, clientId)),
  );
  if (stored.every((message) => message === undefined)) return null;
  return stored.map((message, index) => {
    if (!message) throw new ChatError('CONFLICT', 'A part of this batch was stored before.');
    if (firstText(message) !== drafts[index]?.text)
      throw new ChatError('CONFLICT', 'The clientId was used before, with another text.');
    if (message.seq !== (stored[0]?.seq ?? 0) + index)
      throw new ChatError('CONFLICT', 'The messages of this batch were stored apart.');
    return message;
  });
}

function firstText(message: Message): string {
  return message.revisions[0]?.text ?? message.text;
}

/** What a message is known by to its sender, within a conversation. */
export function clientKey(sender: EmailAddress, clientId: string): string {
  return `${sender}\n${clientId}`;
}

function open(id: ConversationId, opening: Opening, at: Instant): Conversation {
  const { configId, subject, party, members } = opening;
  const member = (email: EmailAddress): Member => ({
    email,
    role: null,
    readSeq: 0,
    joinedAt: at,
    leftAt: null,
    muted: false,
    pinned: false,
    archived: false,
  });
  return {
    id,
    configId,
    subject,
    party,
    members: new Map(members.map((email) => [email, member(email)])),
    status: 'OPEN',
    labels: [],
    assignee: null,
    createdAt: at,
    lastActivityAt: at,
    lastSeq: 0,
    lastRev: 0,
  };
}
