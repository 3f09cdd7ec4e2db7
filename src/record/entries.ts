import type { Conversation, Message, Rev, Seq } from '../model.ts';
import type { Store } from '../store/store.ts';
import { type Entry, entriesOf, unknownEntry } from './entry.ts';

/** Messages read at once: few enough that the event loop is not held up for more than a few milliseconds. */
const PAGE = 100;

type Reads = Pick<Store, 'messages' | 'changedMessages'>;

/**
 * The entries of a conversation after `afterRev`, up to the `lastRev` of this state, ascending and without gaps; in
 * pages. Later changes of the log do not alter them.
 * @throws Error when the log has a gap, or a message has no `record`
 */
export async function* entriesAfter(store: Reads, state: Conversation, afterRev: Rev): AsyncGenerator<Entry[]> {
  const { id, lastSeq, lastRev, importedRev } = state;
  let rev = afterRev;
  /** Entries that are not given out yet. */
  const waiting = new Map<Rev, Entry>();
  const add = (message: Message) => {
    for (const entry of entriesOf(message, state)) if (entry.rev > rev) waiting.set(entry.rev, entry);
  };
  function upTo(end: Rev): Entry[] {
    const page: Entry[] = [];
    while (rev < end) {
      const entry = waiting.get(++rev) ?? (rev <= importedRev ? unknownEntry(rev) : null);
      if (!entry) throw new Error(`${id} has no change ${rev}`);
      waiting.delete(rev);
      page.push(entry);
    }
    return page;
  }

  let seq = await firstAddedAfter(store, state, afterRev);
  // Where there are as many messages as changes, none is of an earlier message.
  if (seq > 1 && lastSeq - seq + 1 < lastRev - afterRev)
    for (const message of await store.changedMessages(id, afterRev, seq - 1)) add(message);
  for (; seq <= lastSeq; seq += PAGE) {
    const messages = await store.messages(id, seq, Math.min(seq + PAGE - 1, lastSeq));
    for (const message of messages) add(message);
    // Every change up to the addition of a message is of that message or an earlier one.
    yield upTo(Math.min(messages.at(-1)?.addedRev ?? 0, lastRev));
  }
  yield upTo(lastRev);
}

/** `seq` of the first message added after a `rev`, or one beyond the last. */
export async function firstAddedAfter(
  store: Pick<Store, 'messages'>,
  { id, lastSeq, lastRev }: Pick<Conversation, 'id' | 'lastSeq' | 'lastRev'>,
  afterRev: Rev,
): Promise<Seq> {
  // Each earlier change of a message moves it down by one at most.
  let [from, to] = [Math.max(1, afterRev + 1 - (lastRev - lastSeq)), Math.min(afterRev, lastSeq) + 1];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    const [message] = await store.messages(id, middle, middle);
    if (!message) throw new Error(`${id} has no message ${middle}`);
    if (message.addedRev <= afterRev) from = middle + 1;
    else to = middle;
  }
  return from;
}
