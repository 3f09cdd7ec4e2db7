import {
  type Conversation,
  type ConversationId,
  countsAsUnread,
  type EmailAddress,
  FIRST_MEMBERS,
  inOrder,
  type ListedConversation,
  type Member,
  type Message,
  type View,
} from '../../src/model.ts';
import { revAfter, type SearchPosition, type Write } from '../../src/store/store.ts';

/** A store of plain maps that implements the port in the most obvious way, for comparison with adapters. */
export function createBruteForce() {
  const conversations = new Map<ConversationId, Conversation>();
  const logs = new Map<ConversationId, Message[]>();

  const member = (email: EmailAddress, at: number, readSeq: number, leftAt: number | null): Member => ({
    ...{ email, role: null, readSeq, sent: 0, seen: 0, readAt: null, joinedAt: at, leftAt },
    ...{ muted: false, pinned: false, archived: false },
  });
  const ordered = (members: readonly Member[]) => new Map(inOrder(members).map((one) => [one.email, one]));
  const set = (id: ConversationId, email: EmailAddress, values: Partial<Member>): void => {
    const conversation = conversations.get(id);
    const before = conversation?.members.get(email);
    if (!conversation || !before) return;
    const members = ordered([...conversation.members.values()].map((m) => (m === before ? { ...m, ...values } : m)));
    conversations.set(id, { ...conversation, members });
  };
  const log = (id: ConversationId) => logs.get(id) ?? [];
  const unread = (id: ConversationId, reader: EmailAddress): Message[] => {
    const readSeq = conversations.get(id)?.members.get(reader)?.readSeq ?? Number.POSITIVE_INFINITY;
    return log(id).filter(
      ({ seq, sender, kind, redactedAt }) => seq > readSeq && sender !== reader && kind === 'TEXT' && !redactedAt,
    );
  };

  /** With its counters, counted from the log. */
  const counted = ({ members, ...head }: Conversation): Conversation => {
    const counting = log(head.id).filter(countsAsUnread);
    const withCounts = [...members.values()].map((one) => {
      const others = counting.filter(({ sender }) => sender !== one.email);
      const seen = others.filter(({ seq }) => seq <= one.readSeq).length;
      return { ...one, sent: counting.length - others.length, seen };
    });
    return { ...head, counted: counting.length, members: ordered(withCounts) };
  };
  const find = (id: ConversationId) => {
    const found = conversations.get(id);
    return found ? counted(found) : null;
  };

  return {
    conversation: find,
    messages: log,
    unread,
    write(write: Write): void {
      const { conversation: id, opening, messages, changed, state } = write;
      const at = messages[0]?.sentAt ?? 0;
      const before = conversations.get(id) ?? {
        ...{ id, configId: opening?.configId ?? '', subject: null, party: null, status: 'OPEN' as const, labels: [] },
        ...{ assignee: null, createdAt: at, lastActivityAt: at, lastSeq: 0, lastRev: 0 },
        ...{ importedRev: 0, counted: 0 },
        members: ordered((opening?.members ?? []).map((email) => member(email, at, 0, null))),
      };
      const lastRev = revAfter(write);
      const newest = messages.at(-1);
      const heads = newest ? { lastSeq: newest.seq, lastActivityAt: newest.sentAt, lastRev } : { lastRev };
      conversations.set(id, { ...before, ...heads, ...state });
      logs.set(
        id,
        [...log(id), ...messages].map((message) => changed.find(({ seq }) => seq === message.seq) ?? message),
      );
      if (messages.some(countsAsUnread)) {
        for (const { email, muted } of before.members.values()) if (!muted) set(id, email, { archived: false });
      }
      for (const { email, joined, leftAt } of write.members) {
        const known = conversations.get(id)?.members.get(email);
        if (!joined) set(id, email, { leftAt });
        else if (known) {
          const { role, ...fresh } = member(email, joined.at, joined.readSeq, leftAt);
          set(id, email, fresh);
        } else {
          const conversation = conversations.get(id) ?? before;
          const joining = member(email, joined.at, joined.readSeq, leftAt);
          conversations.set(id, { ...conversation, members: ordered([...conversation.members.values(), joining]) });
        }
      }
      for (const [email, role] of write.roles) set(id, email, { role });
    },
    advanceReadPosition(id: ConversationId, reader: EmailAddress, seq: number): void {
      const member = conversations.get(id)?.members.get(reader);
      if (member?.leftAt === null && seq > member.readSeq) set(id, reader, { readSeq: seq });
    },
    setView(id: ConversationId, reader: EmailAddress, view: Partial<View>): void {
      if (conversations.get(id)?.members.get(reader)?.leftAt === null) set(id, reader, view);
    },
    changes: (id: ConversationId, afterRev: number): Message[] =>
      log(id)
        .filter(({ rev }) => rev > afterRev)
        .sort((a, b) => a.rev - b.rev),
    /** The list of one reader, in its order. */
    chatList: (reader: EmailAddress, archived: boolean): ListedConversation[] => {
      const own = ({ members }: Conversation) => members.get(reader);
      return [...conversations.values()]
        .map(counted)
        .filter((one) => own(one)?.leftAt === null && own(one)?.archived === archived)
        .sort(
          (a, b) =>
            Number(own(b)?.pinned) - Number(own(a)?.pinned) ||
            b.lastActivityAt - a.lastActivityAt ||
            (a.id < b.id ? -1 : 1),
        )
        .map((one) => listedOf(one, reader));
    },
    /** The position of each match, best first; `matches` counts the words of a text that match. */
    search(reader: EmailAddress, matches: (text: string) => number): SearchPosition[] {
      return [...conversations.values()]
        .filter(({ members }) => members.get(reader)?.leftAt === null)
        .flatMap(({ id }) => log(id))
        .filter(({ kind }) => kind === 'TEXT')
        .map(({ text, sentAt, conversationId, seq }) => ({ score: matches(text), sentAt, conversationId, seq }))
        .filter(({ score }) => score > 0)
        .sort(
          (a, b) =>
            b.score - a.score ||
            b.sentAt - a.sentAt ||
            (a.conversationId === b.conversationId ? b.seq - a.seq : a.conversationId < b.conversationId ? -1 : 1),
        );
    },
  };
}

/** A conversation as lists hold it for one of its members. */
export function listedOf({ members, ...head }: Conversation, member: EmailAddress): ListedConversation {
  const reader = members.get(member);
  if (!reader) throw new Error(`${member} is no member`);
  const firstMembers = [...members.values()].slice(0, FIRST_MEMBERS);
  return { ...head, reader, firstMembers, hasMoreMembers: members.size > FIRST_MEMBERS };
}
