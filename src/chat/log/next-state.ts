import {
  type Conversation,
  type ConversationId,
  countsAsUnread,
  type EmailAddress,
  type Instant,
  inOrder,
  type Member,
  newMember,
} from '../../model.ts';
import { type Opening, type ReadMoved, revAfter, type Write } from '../../store/store.ts';
import { changesOf, countsOf } from '../../store/unread-counters.ts';

/** The state after a write on `before`, which is null where the write opens the conversation. */
export function afterWrite(before: Conversation | null, write: Write): Conversation {
  const { conversation, opening, messages, changed, state } = write;
  const head = before ?? (opening && opened(conversation, opening, messages[0]?.sentAt ?? 0));
  if (!head) throw new Error('there is no conversation to write to');
  const newest = messages.at(-1);
  return {
    ...head,
    ...state,
    ...(newest && { lastSeq: newest.seq, lastActivityAt: newest.sentAt }),
    lastRev: revAfter(write),
    counted: head.counted + countsOf(write).counted,
    lastMessage: newest ?? changed.find(({ seq }) => seq === head.lastSeq) ?? head.lastMessage,
    members: membersAfter(head.members, write),
  };
}

/** The state after a read position moved; null where it does not follow from `before`, and must be read. */
export function afterRead(
  before: Conversation,
  { member, readSeq, readAt, seen, changes, role }: ReadMoved,
): Conversation | null {
  const known = before.members.get(member);
  if (!known || changes !== changesOf(before) || readSeq > before.lastSeq) return null;
  if (readSeq < known.readSeq) return before;
  const at = readSeq > known.readSeq ? readAt : known.readAt;
  const moved = { ...known, readSeq, readAt: at, seen, role: role ?? known.role };
  return { ...before, members: new Map(before.members).set(member, moved) };
}

/** A conversation before its first message. */
export function opened(id: ConversationId, opening: Opening, at: Instant): Conversation {
  const { configId, subject, party, members, importedRev = 0 } = opening;
  return {
    ...{ id, configId, subject, party, status: 'OPEN', labels: [], assignee: null, createdAt: at, lastActivityAt: at },
    ...{
      lastSeq: 0,
      lastRev: 0,
      importedRev,
      counted: 0,
      members: new Map(members.map((email) => [email, newMember(email, at)])),
    },
  };
}

function membersAfter(before: Conversation['members'], write: Write): Conversation['members'] {
  const { sent, redacted } = countsOf(write);
  const after = new Map(before);
  const set = (email: EmailAddress, values: (member: Member) => Partial<Member>) => {
    const member = after.get(email);
    if (member) after.set(email, { ...member, ...values(member) });
  };
  if (write.messages.some(countsAsUnread)) {
    for (const { email, archived, muted } of before.values())
      if (archived && !muted) set(email, () => ({ archived: false }));
  }
  for (const { seq, sender } of redacted) {
    for (const { email, readSeq } of before.values())
      if (readSeq >= seq && email !== sender) set(email, ({ seen }) => ({ seen: seen - 1 }));
  }
  let joins = false;
  for (const { email, joined, leftAt } of write.members) {
    if (joined) {
      const { role = null, sent = 0 } = after.get(email) ?? {};
      const { at, readSeq, seen } = joined;
      after.set(email, { ...newMember(email, at), role, sent, readSeq, seen, leftAt });
      joins = true;
    } else set(email, () => ({ leftAt }));
  }
  for (const [email, role] of write.roles) set(email, () => ({ role }));
  for (const [email, more] of sent) set(email, ({ sent }) => ({ sent: sent + more }));
  return joins ? new Map(inOrder(after.values()).map((member) => [member.email, member])) : after;
}
