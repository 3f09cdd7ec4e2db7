import { type ConversationId, hashText, type Instant, type Message, type Viewer } from '../../model.ts';
import { revisionsLength } from '../message-view.ts';
import { requireAccess, requireRight } from '../rules/access.ts';
import { badInput, closed, conflict, notFound } from '../rules/errors.ts';
import {
  type ChangeSet,
  type CommandResult,
  messageIn,
  monotonicTime,
  notBefore,
  recordRole,
  replaceIn,
} from './change-set.ts';

/** UTF-16 units of text that all earlier texts of a message hold at most, but for the first: they are stored, and read, with it. */
export const MAX_REVISIONS_TEXT = 20_000;

/** A new text for a message. Its values are checked. */
export interface Edit {
  readonly kind: 'edit';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  readonly seq: number;
  readonly text: string;
  /** The `rev` it was made on; null for whatever it is. */
  readonly expectedRev: number | null;
}

/** A message whose texts are to be gone. */
export interface Redact {
  readonly kind: 'redact';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  readonly seq: number;
  readonly reason: string;
}

/** Decides an edit on top of the plan so far, and adds it to the plan. The same text again changes nothing, whatever `expectedRev` is. */
export function decideEdit(
  changeSet: ChangeSet,
  { viewer, seq, text, expectedRev }: Edit,
  now: Instant,
): CommandResult {
  const head = requireAccess('editMessage', viewer, changeSet.head);
  const message = found(changeSet, seq);
  requireRight('edit', viewer, message);
  if (head.status === 'CLOSED') throw closed();
  if (message.redactedAt !== null) throw conflict('The message was redacted.');
  // Nobody but the sender edits: this was the newest edit, or nothing was to be changed.
  if (text === message.text) return { messages: [message], conversation: head, deduplicated: true };
  if (expectedRev !== null && expectedRev !== message.rev)
    throw conflict(`The message has changed: its rev is ${message.rev}.`);
  const at = Math.max(monotonicTime(head, now), notBefore(message.editedAt ?? 0, now));
  const revisions = [...message.revisions, { text: message.text, editor: viewer.email, at }];
  // Every text can be edited once.
  if (revisions.length > 1 && revisionsLength(revisions) > MAX_REVISIONS_TEXT)
    throw badInput('The message was edited too often: its earlier texts are too long.');
  return replaced(changeSet, viewer, { ...message, text, editedAt: at, revisions });
}

/** Decides a redaction on top of the plan so far, and adds it to the plan. What is gone stays gone: again changes nothing. */
export function decideRedaction(changeSet: ChangeSet, { viewer, seq, reason }: Redact, now: Instant): CommandResult {
  const head = requireAccess('redactMessage', viewer, changeSet.head);
  const message = found(changeSet, seq);
  requireRight('redact', viewer, message);
  if (message.redactedAt !== null) return { messages: [message], conversation: head, deduplicated: true };
  const gone = { text: '', revisions: [], redactedAt: monotonicTime(head, now), redactionReason: reason };
  const firstTextHash = hashText(message, message.revisions[0]?.text ?? message.text);
  return replaced(changeSet, viewer, { ...message, ...gone, firstTextHash });
}

function found(changeSet: ChangeSet, seq: number): Message {
  const message = messageIn(changeSet, seq);
  if (!message) throw notFound();
  return message;
}

function replaced(changeSet: ChangeSet, viewer: Viewer, message: Message): CommandResult {
  if (!changeSet.head) throw notFound();
  const head = recordRole(changeSet, changeSet.head, viewer);
  const changed = { ...message, rev: head.lastRev + 1 };
  return { messages: [changed], conversation: replaceIn(changeSet, head, changed), deduplicated: false };
}
