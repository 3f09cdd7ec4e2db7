import type { ConversationId, EmailAddress, Message } from '../../model.ts';

/** A message as one JSON array, of the table named `m`. */
export const MESSAGE = `json_array(m.seq, m.rev, m.kind, m.sender, m.text, m.client_id, m.reply_to_seq, m.sent_at, m.edited_at,
  m.redacted_at, json(m.revisions), coalesce(m.added_rev, m.rev), m.redaction_reason, m.first_text_hash)`;

export type MessageRow = [
  ...[number, number, Message['kind'], EmailAddress, string, string | null, number | null, number],
  ...[number | null, number | null, Message['revisions'], number, string | null, string | null],
];

/** One literal, without rest or spread: they would cost as much as reading the row does. */
export function toMessage(conversationId: ConversationId, row: MessageRow): Message {
  return {
    conversationId,
    seq: row[0],
    rev: row[1],
    addedRev: row[11],
    kind: row[2],
    sender: row[3],
    clientId: row[5],
    replyToSeq: row[6],
    sentAt: row[7],
    text: row[4],
    editedAt: row[8],
    redactedAt: row[9],
    redactionReason: row[12],
    firstTextHash: row[13],
    revisions: row[10],
  };
}
