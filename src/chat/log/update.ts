import {
  type Conversation,
  type ConversationId,
  type ConversationStatus,
  type EmailAddress,
  type Instant,
  inOrder,
  type Member,
  newMember,
  type Viewer,
} from '../../model.ts';
import { requireAccess, requireRight } from '../rules/access.ts';
import { badInput, closed } from '../rules/errors.ts';
import { escapeInvisible } from '../rules/validation.ts';
import { append, type ChangeSet, type CommandResult, monotonicTime, newMessage, recordRole } from './change-set.ts';

const MAX_LABELS = 20;
/** Members at one time. */
const MAX_MEMBERS = 1024;
/** Everybody who was ever a member: all of them are kept with the conversation. */
const MAX_EVER = 4096;
/** Names that a message lists of those who come and go, and of labels; the others are counted. */
const MAX_NAMED = 20;

/** A change of a conversation for everybody. Its values are checked. */
export interface Update {
  readonly kind: 'update';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  /** Null where it stays. */
  readonly status: ConversationStatus | null;
  /** Undefined where it stays, null for nobody. */
  readonly assignee: EmailAddress | null | undefined;
  readonly addLabels: readonly string[];
  readonly removeLabels: readonly string[];
  readonly addMembers: readonly EmailAddress[];
  readonly removeMembers: readonly EmailAddress[];
}

/** Decides an update on top of the plan so far, and adds it, with the one message that tells of it, to the plan. */
export function decideUpdate(changeSet: ChangeSet, update: Update, now: Instant): CommandResult {
  const { viewer } = update;
  const before = requireAccess('updateConversation', viewer, changeSet.head);
  const status = update.status ?? before.status;
  const reopens = before.status === 'CLOSED' && status !== 'CLOSED';
  if (status !== before.status && (status === 'CLOSED' || reopens)) requireRight('close', viewer, before);
  const leaving = update.removeMembers.filter((email) => isPresent(before.members.get(email)));
  for (const email of leaving) requireRight('remove', viewer, email);
  const joining = update.addMembers.filter((email) => !isPresent(before.members.get(email)));
  const labels = [...new Set([...without(before.labels, update.removeLabels), ...update.addLabels])].sort();
  if (labels.length > MAX_LABELS) throw badInput(`A conversation has at most ${MAX_LABELS} labels.`);
  const members = membersAfter(before, joining, leaving, monotonicTime(before, now));
  const assignee = assigneeAfter(before, members, update.assignee);

  const told = [
    status !== before.status && `status: ${before.status} → ${status}`,
    assignee !== before.assignee && `assignee: ${before.assignee ?? 'nobody'} → ${assignee ?? 'nobody'}`,
    listed('labels', quoted(without(labels, before.labels)), quoted(without(before.labels, labels))),
    listed('members', joining, leaving),
  ].filter((text) => text !== false);
  if (told.length === 0) return { messages: [], conversation: before, deduplicated: true };
  const relabelled = JSON.stringify(labels) !== JSON.stringify(before.labels);
  const restated = status !== before.status || relabelled || assignee !== before.assignee;
  const onlyLeaves = joining.length === 0 && status === before.status && !relabelled && update.assignee === undefined;
  // Nobody has to stay in one that is closed.
  if (before.status === 'CLOSED' && !reopens && !onlyLeaves) throw closed();

  for (const email of [...joining, ...leaving]) {
    const { joinedAt = 0, readSeq = 0, leftAt = null } = members.get(email) ?? {};
    const { joined = null } = changeSet.members.get(email) ?? {};
    changeSet.members.set(email, { email, joined: leftAt === null ? { at: joinedAt, readSeq } : joined, leftAt });
  }
  const state = { status, labels, assignee };
  if (restated) changeSet.state = state;
  return say(changeSet, recordRole(changeSet, { ...before, ...state, members }, viewer), viewer, told.join('; '), now);
}

/** Sets the status with the message that tells of it, and gives the conversation after both. */
export function setStatus(
  changeSet: ChangeSet,
  head: Conversation,
  viewer: Viewer,
  status: ConversationStatus,
  now: Instant,
): Conversation {
  changeSet.state = { status, labels: head.labels, assignee: head.assignee };
  return say(changeSet, { ...head, status }, viewer, `status: ${head.status} → ${status}`, now).conversation;
}

function say(changeSet: ChangeSet, head: Conversation, viewer: Viewer, text: string, now: Instant): CommandResult {
  const message = newMessage(head, 0, { kind: 'SYSTEM', sender: viewer.email, text, sentAt: monotonicTime(head, now) });
  return { messages: [message], conversation: append(changeSet, head, [message]), deduplicated: false };
}

function isPresent(member: Member | undefined): boolean {
  return member?.leftAt === null;
}

/** Who comes has read everything, the message that tells of it included, and keeps the place of an earlier stay. */
function membersAfter(
  { members, createdAt, lastSeq }: Conversation,
  joining: readonly EmailAddress[],
  leaving: readonly EmailAddress[],
  at: Instant,
): ReadonlyMap<EmailAddress, Member> {
  if (joining.length === 0 && leaving.length === 0) return members;
  const after = new Map(members);
  for (const email of joining) {
    const { role = null, joinedAt } = members.get(email) ?? {};
    // Those who came later are told by that from those who are named in the key.
    const place = joinedAt ?? (at === createdAt ? at + 1 : at);
    after.set(email, { ...newMember(email, place), role, readSeq: lastSeq + 1 });
  }
  for (const email of leaving) {
    const member = after.get(email);
    if (member) after.set(email, { ...member, leftAt: at });
  }
  if (after.size > MAX_EVER || [...after.values()].filter(isPresent).length > MAX_MEMBERS)
    throw badInput(`A conversation has at most ${MAX_MEMBERS} members.`);
  return new Map(inOrder(after.values()).map((member) => [member.email, member]));
}

/** Whoever leaves has no next step any more. */
function assigneeAfter(
  before: Conversation,
  members: ReadonlyMap<EmailAddress, Member>,
  wanted: EmailAddress | null | undefined,
): EmailAddress | null {
  if (wanted === undefined) return before.assignee && isPresent(members.get(before.assignee)) ? before.assignee : null;
  if (wanted !== null && !isPresent(members.get(wanted))) throw badInput('assignee is no member of this conversation.');
  return wanted;
}

function without(all: readonly string[], others: readonly string[]): string[] {
  const left = new Set(others);
  return all.filter((one) => !left.has(one));
}

/** The blocks of Unicode for scripts that are written from right to left (Unicode Standard Annex 9, table 4). */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Labels hold any text: quoted, none of it can pass for what the server says, or change the direction of that. */
function quoted(labels: readonly string[]): string[] {
  return labels.map((label) => {
    const text = escapeInvisible(JSON.stringify(label));
    return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
  });
}

function listed(name: string, added: readonly string[], removed: readonly string[]): string | false {
  const all = [...added.map((one) => `+${one}`), ...removed.map((one) => `−${one}`)];
  if (all.length === 0) return false;
  const more = all.length > MAX_NAMED ? `, and ${all.length - MAX_NAMED} more` : '';
  return `${name}: ${all.slice(0, MAX_NAMED).join(', ')}${more}`;
}
