import {
  type Conversation,
  type ConversationId,
  type ConversationStatus,
  type EmailAddress,
  type FieldChange,
  type Instant,
  inOrder,
  type Member,
  newMember,
  type Viewer,
} from '../../model.ts';
import { requireAccess, requireRight } from '../rules/access.ts';
import { badInput, closed } from '../rules/errors.ts';
import { escapeInvisible, MAX_MEMBERS } from '../rules/validation.ts';
import { append, type ChangeSet, type CommandResult, monotonicTime, newMessage, recordRole } from './change-set.ts';

const MAX_LABELS = 20;
/** Present and former members: all of them are stored with the conversation. */
const MAX_MEMBERS_EVER = 4096;
/** Members or labels that a system message names; further ones are counted. */
const MAX_NAMED = 20;

/** A change of a conversation for all members. Its values are checked. */
export interface Update {
  readonly kind: 'update';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  /** Null for no change. */
  readonly status: ConversationStatus | null;
  /** Undefined for no change, null for no assignee. */
  readonly assignee: EmailAddress | null | undefined;
  readonly addLabels: readonly string[];
  readonly removeLabels: readonly string[];
  readonly addMembers: readonly EmailAddress[];
  readonly removeMembers: readonly EmailAddress[];
}

/** Decides an update on top of the change set, and adds it with one system message. */
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
  if (labels.length > MAX_LABELS)
    throw badInput(`A conversation has at most ${MAX_LABELS} labels; this makes ${labels.length}.`);
  const members = membersAfter(before, joining, leaving, monotonicTime(before, now));
  const assignee = assigneeAfter(before, members, update.assignee);

  const texts = [
    status !== before.status && `status: ${before.status} → ${status}`,
    assignee !== before.assignee && `assignee: ${before.assignee ?? 'nobody'} → ${assignee ?? 'nobody'}`,
    describeChange('labels', quoted(without(labels, before.labels)), quoted(without(before.labels, labels))),
    describeChange('members', joining, leaving),
  ].filter((text) => text !== false);
  if (texts.length === 0) return { messages: [], conversation: before, deduplicated: true };
  const labelsChanged = JSON.stringify(labels) !== JSON.stringify(before.labels);
  const stateChanged = status !== before.status || labelsChanged || assignee !== before.assignee;
  const onlyLeaves =
    joining.length === 0 && status === before.status && !labelsChanged && update.assignee === undefined;
  // Members may leave a closed conversation.
  if (before.status === 'CLOSED' && !reopens && !onlyLeaves) throw closed();

  for (const email of [...joining, ...leaving]) {
    const { joinedAt = 0, readSeq = 0, leftAt = null } = members.get(email) ?? {};
    const { joined = null } = changeSet.members.get(email) ?? {};
    changeSet.members.set(email, { email, joined: leftAt === null ? { at: joinedAt, readSeq } : joined, leftAt });
  }
  const state = { status, labels, assignee };
  if (stateChanged) changeSet.state = state;
  return addSystemMessage(
    changeSet,
    recordRole(changeSet, { ...before, ...state, members }, viewer),
    viewer,
    texts.join('; '),
    [
      ...valueChange('status', before.status, status),
      ...valueChange('assignee', before.assignee, assignee),
      ...listChanges('labels', without(labels, before.labels), without(before.labels, labels)),
      ...listChanges('members', joining, leaving),
    ],
    now,
  );
}

/** Sets the status, adds the system message about it, and returns the conversation after both. */
export function setStatus(
  changeSet: ChangeSet,
  head: Conversation,
  viewer: Viewer,
  status: ConversationStatus,
  now: Instant,
): Conversation {
  changeSet.state = { status, labels: head.labels, assignee: head.assignee };
  const text = `status: ${head.status} → ${status}`;
  const changes = [{ field: 'status', from: head.status, to: status }] as const;
  return addSystemMessage(changeSet, { ...head, status }, viewer, text, changes, now).conversation;
}

function addSystemMessage(
  changeSet: ChangeSet,
  head: Conversation,
  viewer: Viewer,
  text: string,
  changes: readonly FieldChange[],
  now: Instant,
): CommandResult {
  const sentAt = monotonicTime(head, now);
  const message = newMessage(head, 0, { kind: 'SYSTEM', sender: viewer.email, text, sentAt }, changes);
  return { messages: [message], conversation: append(changeSet, head, [message]), deduplicated: false };
}

/** The change of a field with one value, if there is one. */
function valueChange(field: FieldChange['field'], from: string | null, to: string | null): FieldChange[] {
  return from === to ? [] : [{ field, from, to }];
}

function listChanges(field: FieldChange['field'], added: readonly string[], removed: readonly string[]): FieldChange[] {
  return [...added.map((to) => ({ field, from: null, to })), ...removed.map((from) => ({ field, from, to: null }))];
}

function isPresent(member: Member | undefined): boolean {
  return member?.leftAt === null;
}

/** A new member has read everything, the system message included; a returning one keeps its place in the order. */
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
    // Only members named in the key have `joinedAt` equal to `createdAt`.
    const joinsAt = joinedAt ?? (at === createdAt ? at + 1 : at);
    after.set(email, { ...newMember(email, joinsAt), role, readSeq: lastSeq + 1 });
  }
  for (const email of leaving) {
    const member = after.get(email);
    if (member) after.set(email, { ...member, leftAt: at });
  }
  if (after.size > MAX_MEMBERS_EVER || [...after.values()].filter(isPresent).length > MAX_MEMBERS)
    throw badInput(`A conversation has at most ${MAX_MEMBERS} members, and ${MAX_MEMBERS_EVER} with former ones.`);
  return new Map(inOrder(after.values()).map((member) => [member.email, member]));
}

/** A member that leaves is no longer the assignee. */
function assigneeAfter(
  before: Conversation,
  members: ReadonlyMap<EmailAddress, Member>,
  wanted: EmailAddress | null | undefined,
): EmailAddress | null {
  if (wanted === undefined) return before.assignee && isPresent(members.get(before.assignee)) ? before.assignee : null;
  if (wanted !== null && !isPresent(members.get(wanted)))
    throw badInput('`assignee` must be a present member of the conversation.');
  return wanted;
}

function without(all: readonly string[], others: readonly string[]): string[] {
  const left = new Set(others);
  return all.filter((one) => !left.has(one));
}

/** The blocks of Unicode for scripts that are written from right to left (Unicode Standard Annex 9, table 4). */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Labels may hold any text: quoted, it can neither pass for the server's words nor change their direction. */
function quoted(labels: readonly string[]): string[] {
  return labels.map((label) => {
    const text = escapeInvisible(JSON.stringify(label));
    return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
  });
}

/** The part of a system message about additions and removals; false for none. */
function describeChange(name: string, added: readonly string[], removed: readonly string[]): string | false {
  const all = [...added.map((one) => `+${one}`), ...removed.map((one) => `−${one}`)];
  if (all.length === 0) return false;
  const more = all.length > MAX_NAMED ? `, and ${all.length - MAX_NAMED} more` : '';
  return `${name}: ${all.slice(0, MAX_NAMED).join(', ')}${more}`;
}
