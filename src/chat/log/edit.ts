import {
  type ConversationId,
  type Instant,
  type Message,
  type MessageRecord,
  messageId,
  type Rev,
  type Seq,
  type Viewer,
} from '../../model.ts';
import { commitment, newSalt } from '../../record/commitment.ts';
import { revisionsUnits } from '../message-view.ts';
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

/** UTF-16 units that the revisions of a message hold at most, but for the first: they are stored and read with it. */
export const MAX_REVISIONS_TEXT = 20_000;

/** A new text of a message. Its values are checked. */
export interface Edit {
  readonly kind: 'edit';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  readonly seq: Seq;
  readonly text: string;
  /** The `rev` that the message must have; null for any. */
  readonly expectedRev: Rev | null;
}

/** The erasure of a message's texts. Its values are checked. */
export interface Redact {
  readonly kind: 'redact';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  readonly seq: Seq;
  readonly reason: string;
}

/** Decides an edit on top of the change set, and adds it. The same text again changes nothing, at any `expectedRev`. */
export function decideEdit(
  changeSet: ChangeSet,
  { viewer, seq, text, expectedRev }: Edit,
  now: Instant,
): CommandResult {
  const head = requireAccess('editMessage', viewer, changeSet.head);
  const message = requireMessage(changeSet, seq);
  requireRight('edit', viewer, message);
  if (head.status === 'CLOSED') throw closed();
  if (message.redactedAt !== null) throw conflict('A redacted message cannot be edited.');
  // Only the sender edits, so this repeats the newest edit.
  if (text === message.text) return { messages: [message], conversation: head, deduplicated: true };
  if (expectedRev !== null && expectedRev !== message.rev)
    throw conflict(`\`expectedRev\` must be ${message.rev}, the present \`rev\` of the message; got ${expectedRev}.`);
  const at = Math.max(monotonicTime(head, now), notBefore(message.editedAt ?? 0, now));
  const { record, revisions: earlier } = message;
  const { text: salt = null } = record?.salts ?? {};
  const replaced = { text: message.text, editor: viewer.email, at, rev: salt === null ? 0 : message.rev, salt };
  const revisions = [...earlier, replaced];
  // A text of any length may be edited once.
  if (revisions.length > 1 && revisionsUnits(revisions) > MAX_REVISIONS_TEXT)
    throw badInput(`The earlier texts of a message may hold at most ${MAX_REVISIONS_TEXT} UTF-16 units in all.`);
  const salted = record && { ...record, salts: { ...record.salts, text: newSalt() } };
  return replace(changeSet, viewer, { ...message, text, editedAt: at, revisions, record: salted });
}

/** Decides a redaction on top of the change set, and adds it. A redacted message stays as it is. */
export function decideRedaction(changeSet: ChangeSet, { viewer, seq, reason }: Redact, now: Instant): CommandResult {
  const head = requireAccess('redactMessage', viewer, changeSet.head);
  const message = requireMessage(changeSet, seq);
  requireRight('redact', viewer, message);
  if (message.redactedAt !== null) return { messages: [message], conversation: head, deduplicated: true };
  const gone = { text: '', revisions: [], redactedAt: monotonicTime(head, now), redactionReason: reason };
  const firstText = message.revisions[0]?.text ?? message.text;
  const firstTextHash = changeSet.firstTexts.hashFirstText(messageId(message), firstText);
  const record = message.record && redactedRecord(message, message.record, viewer);
  return replace(changeSet, viewer, { ...message, ...gone, firstTextHash, record });
}

/** The record of a message once redacted: of its texts it keeps the commitments alone. */
function redactedRecord(message: Message, record: MessageRecord, { email: redactedBy }: Viewer): MessageRecord {
  const { text, revisions, rev, sentAt } = message;
  const { text: salt = null, ...others } = record.salts;
  const texts = [...revisions, { text, rev, salt, at: 0 }];
  const erased = texts.flatMap(({ text, rev, salt }, index) => {
    const at = texts[index - 1]?.at ?? sentAt;
    return salt === null ? [] : [{ rev, at, commitment: commitment(Buffer.from(salt, 'hex'), text) }];
  });
  return { ...record, salts: { ...others, reason: newSalt() }, redactedBy, erased };
}

function requireMessage(changeSet: ChangeSet, seq: Seq): Message {
  const message = messageIn(changeSet, seq);
  if (!message) throw notFound();
  return message;
}

function replace(changeSet: ChangeSet, viewer: Viewer, message: Message): CommandResult {
  if (!changeSet.head) throw notFound();
  const head = recordRole(changeSet, changeSet.head, viewer);
  const changed = { ...message, rev: head.lastRev + 1 };
  return { messages: [changed], conversation: replaceIn(changeSet, head, changed), deduplicated: false };
}
