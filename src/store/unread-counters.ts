import { type Conversation, countsAsUnread, type EmailAddress } from '../model.ts';
import type { Write } from './store.ts';

/** Number of changes to existing messages. While it stays the same, the same messages count as unread. */
export function changesOf({ lastSeq, lastRev }: Pick<Conversation, 'lastSeq' | 'lastRev'>): number {
  return lastRev - lastSeq;
}

/** How a write changes the number of messages that count as unread, in all and per sender, and which cease to count. */
export function countsOf({ messages, changed }: Pick<Write, 'messages' | 'changed'>) {
  const added = messages.filter(countsAsUnread);
  const redacted = changed.filter(({ kind, redactedAt }) => kind === 'TEXT' && redactedAt !== null);
  const sent = new Map<EmailAddress, number>();
  for (const { sender } of added) sent.set(sender, (sent.get(sender) ?? 0) + 1);
  for (const { sender } of redacted) sent.set(sender, (sent.get(sender) ?? 0) - 1);
  return { counted: added.length - redacted.length, sent, redacted };
}
