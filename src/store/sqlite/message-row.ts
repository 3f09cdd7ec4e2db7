import type { ConversationId, EmailAddress, Message } from '../../model.ts';

/** A message as one JSON array, of the table named `m`. */
export const MESSAGE = `json_array(m.seq, m.rev, m.kind, m.sender, m.text, m.client_id, m.reply_to_seq, m.sent_at, m.edited_at,
  m.redacted_at, json(m.revisions), coalesce(m.added_rev, m.rev), m.redaction_reason, m.first_text_hash)`;

export type MessageRow = [
  ...[number, number, Message['kind'], EmailAddress, string, string | null, number | null, number],
  ...[number | null, number | null, Message['revisions'], number, string | null, string | null],
];

export function toMessage(conversationId: ConversationId, row: MessageRow): Message {
  const [seq, rev, kind, sender, text, clientId, replyToSeq, sentAt, editedAt, redactedAt, revisions, ...rest] = row;
  const [addedRev, redactionReason, firstTextHash] = rest;
  const envelope = { conversationId, seq, rev, addedRev, kind, sender, clientId, replyToSeq, sentAt };
  return { ...envelope, text, editedAt, redactedAt, redactionReason, firstTextHash, revisions };
}
