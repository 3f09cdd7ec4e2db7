import { isDeepStrictEqual } from 'node:util';
import { type Conversation, type ConversationId, countsAsUnread, type EmailAddress } from '../model.ts';
import { StoreUnavailable } from './store.ts';
import { allConversations, MAX_READS, pagesOf, type WholeStore } from './walk.ts';

/** Result of `checkLogs`. */
export interface Checked {
  readonly conversations: number;
  readonly messages: number;
  /** One line each: the conversation, and the law that it breaks. */
  readonly faults: readonly string[];
}

/**
 * Checks the laws of the log in every conversation. `progress` is called with the number of messages done since.
 * @throws Error when a conversation with faults changes during each of `MAX_READS` reads
 */
export async function checkLogs(store: WholeStore, progress: (messages: number) => void): Promise<Checked> {
  const faults: string[] = [];
  let [conversations, messages] = [0, 0];
  for await (const id of allConversations(store)) {
    conversations++;
    const found = await checkLog(store, id);
    messages += found.lastSeq;
    progress(found.lastSeq);
    faults.push(...found.faults.map((fault) => `${id}: ${fault}`));
  }
  return { conversations, messages, faults };
}

async function checkLog(store: WholeStore, id: ConversationId) {
  for (let attempt = 1; attempt <= MAX_READS; attempt++) {
    const state = await store.conversation(id);
    if (!state) return { lastSeq: 0, faults: ['the conversation cannot be read'] };
    const faults = await faultsOf(store, state);
    const { lastSeq } = state;
    // A change during the walk looks like a fault.
    if (faults.length === 0 || isDeepStrictEqual(await store.conversation(id), state)) return { lastSeq, faults };
  }
  throw new Error(`${id} changed during each of ${MAX_READS} reads`);
}

async function faultsOf(store: WholeStore, state: Conversation): Promise<string[]> {
  const { id, lastSeq, lastRev, members } = state;
  const faults = new Set<string>();
  const revs = new Set<number>();
  const sent = new Map<EmailAddress, number>();
  const seen = new Map<EmailAddress, number>();
  const readers = new Map<number, EmailAddress[]>();
  for (const { email, readSeq } of members.values()) readers.set(readSeq, [...(readers.get(readSeq) ?? []), email]);
  let [seq, rev, counted, newest, found] = [0, 0, 0, 0, 0];
  try {
    if ((await store.messages(id, lastSeq + 1, lastSeq + 1)).length > 0) faults.add('a message is beyond the last one');
    for await (const page of pagesOf(store, state)) {
      for (const message of page) {
        if (message.seq !== ++seq) faults.add('the numbers of the messages have a hole');
        seq = message.seq;
        if (message.addedRev <= rev || message.addedRev > message.rev)
          faults.add('the messages were not added in the order of their numbers');
        rev = message.addedRev;
        found++;
        revs.add(message.rev);
        newest = Math.max(newest, message.rev);
        if (countsAsUnread(message)) {
          counted++;
          sent.set(message.sender, (sent.get(message.sender) ?? 0) + 1);
        }
        for (const email of readers.get(seq) ?? []) seen.set(email, counted - (sent.get(email) ?? 0));
      }
    }
  } catch (error) {
    if (error instanceof StoreUnavailable) throw error;
    return [(error as Error).message];
  }
  if (seq !== lastSeq) faults.add('the numbers of the messages have a hole');
  if (revs.size !== found || newest !== lastRev) faults.add('two messages have one position, or none has the last one');
  if (counted !== state.counted) faults.add('the counter of messages that count as unread is wrong');
  for (const member of members.values()) {
    if (member.readSeq > lastSeq) faults.add('a member has read beyond the last message');
    else if (member.sent !== (sent.get(member.email) ?? 0) || member.seen !== (seen.get(member.email) ?? 0))
      faults.add('the counters of a member are wrong');
  }
  return [...faults];
}
