import type { Conversation, Message } from '../../model.ts';
import { entriesOf, entryText } from '../../record/entry.ts';
import { leafHash } from '../../record/merkle.ts';
import { conversationStart, escaped, transcriptRow, transcriptStart } from './transcript-html.ts';

export { CONVERSATION_END, TRANSCRIPT_END } from './transcript-html.ts';

const timeOf = (at: number) => new Date(at).toISOString();

/** The beginning of a transcript of an export. */
export function transcriptHead(program: string, checkpoint: string | null): string {
  const start = transcriptStart([
    'Times are in UTC. The hash is the beginning of the leaf hash of the newest entry of the message: see FORMAT.md. ' +
      `Written by Kredichat ${program}.`,
  ]);
  return `${start}<pre>${escaped(checkpoint === null ? 'Not signed.' : `Checkpoint:\n${checkpoint}`)}</pre>\n`;
}

/** The beginning of a conversation in a transcript. */
export function conversationHead({ id, configId, subject, members }: Conversation): string {
  const named = [...members.values()].map(({ email, leftAt }) => ({ email, hasLeft: leftAt !== null }));
  return conversationStart({ id, configId, subject, members: named });
}

/** The row of a message, with its earlier texts. */
export function messageRow(message: Message, conversation: Conversation): string {
  const { seq, sentAt, sender, text, revisions, editedAt, redactedAt, redactionReason, record } = message;
  const newest = entriesOf(message, conversation).at(-1);
  return transcriptRow({
    ...{ seq, sender, text, sentAt: timeOf(sentAt), editedAt: editedAt === null ? null : timeOf(editedAt) },
    revisions: revisions.map(({ text, at }) => ({ text, at: timeOf(at) })),
    redaction:
      redactedAt === null
        ? null
        : { at: timeOf(redactedAt), by: record?.redactedBy ?? 'unknown', reason: redactionReason ?? '' },
    hash: newest ? leafHash(entryText(conversation, newest)).toString('hex') : null,
  });
}
