import { type Conversation, countsAsUnread, type Message } from '../../src/model.ts';

/** The counters of a conversation, and those that its log gives; they are equal unless a counter is wrong. */
export function recount({ counted, members }: Conversation, log: readonly Message[]) {
  const counting = log.filter(countsAsUnread);
  const byLog = [...members.values()].map(({ email, readSeq }) => {
    const own = counting.filter(({ sender }) => sender === email);
    const seen = counting.filter(({ sender, seq }) => sender !== email && seq <= readSeq);
    return { email, sent: own.length, seen: seen.length };
  });
  const stored = [...members.values()].map(({ email, sent, seen }) => ({ email, sent, seen }));
  return { stored: { counted, members: stored }, byLog: { counted: counting.length, members: byLog } };
}
