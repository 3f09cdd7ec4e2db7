import { type Conversation, countsAsUnread, type EmailAddress } from '../model.ts';
import type { Write } from './store.ts';

/** How many changes of messages the log has had: while it stays, so does which of the messages count as unread. */
export function changesOf({ lastSeq, lastRev }: Pick<Conversation, 'lastSeq' | 'lastRev'>): number {
  return lastRev - lastSeq;
}

/** By how much a write changes how many messages count as unread, in all and of each sender, and which cease to. */
export function countsOf({ messages, changed }: Pick<Write, 'messages' | 'changed'>) {
  const added = messages.filter(countsAsUnread);
  const redacted = changed.filter(({ kind, redactedAt }) => kind === 'TEXT' && redactedAt !== null);
  const sent = new Map<EmailAddress, number>();
  for (const { sender } of added) sent.set(sender, (sent.get(sender) ?? 0) + 1);
  for (const { sender } of redacted) sent.set(sender, (sent.get(sender) ?? 0) - 1);
  return { counted: added.length - redacted.length, sent, redacted };
}
