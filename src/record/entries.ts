import { setImmediate } from 'node:timers/promises';
import type { Conversation, ConversationId, Message, Rev, Seq } from '../model.ts';
import type { Store } from '../store/store.ts';
import { type Entry, entriesOf, unknownEntry } from './entry.ts';

/** Messages read at once: few enough that the event loop is not held up for more than a few milliseconds. */
const PAGE = 100;
/** Characters of texts that a page of changed messages aims at. */
const PAGE_LENGTH = 250_000;
/** Messages in the first page, before their length is known. */
const FIRST_PAGE = 10;

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
  /** The next entries: all up to `end`, and those known without a gap. */
  function upTo(end: Rev): Entry[] {
    const page: Entry[] = [];
    while (rev < lastRev && (rev < end || waiting.has(rev + 1))) {
      const entry = waiting.get(++rev) ?? (rev <= importedRev ? unknownEntry(rev) : null);
      if (!entry) throw new Error(`${id} has no change ${rev}`);
      waiting.delete(rev);
      page.push(entry);
    }
    return page;
  }

  const firstSeq = await firstAddedAfter(store, state, afterRev);
  let seq = firstSeq;
  // Where there are as many messages as changes, none is of an earlier message.
  const pages =
    seq > 1 && lastSeq - seq + 1 < lastRev - afterRev ? changedAfter(store, id, afterRev, firstSeq - 1) : null;
  /** Where the reading of earlier messages and of the added ones has come to. */
  let [changedRev, addedRev] = [pages ? afterRev : Number.POSITIVE_INFINITY, afterRev];
  while (rev < lastRev && (seq <= lastSeq || changedRev < Number.POSITIVE_INFINITY)) {
    // The one that is behind is read on, so that the entries come early.
    if (pages && (changedRev <= addedRev || seq > lastSeq) && changedRev < Number.POSITIVE_INFINITY) {
      const { value } = await pages.next();
      for (const message of value ?? []) add(message);
      changedRev = value?.at(-1)?.rev ?? Number.POSITIVE_INFINITY;
    } else {
      const messages = await store.messages(id, seq, Math.min(seq + PAGE - 1, lastSeq));
      for (const message of messages) add(message);
      addedRev = messages.at(-1)?.addedRev ?? 0;
      seq += PAGE;
    }
    // Every change up to the addition of a message is of that message or an earlier one.
    yield upTo(changedRev === Number.POSITIVE_INFINITY ? addedRev : 0);
  }
  yield upTo(lastRev);
}

/**
 * The messages numbered up to `seq` with a last change after `afterRev`, ascending by `rev`, in pages; the event loop
 * runs between them.
 */
export async function* changedAfter(
  store: Pick<Store, 'changedMessages'>,
  id: ConversationId,
  afterRev: Rev,
  seq: Seq,
): AsyncGenerator<Message[], void> {
  for (let [after, limit] = [afterRev, FIRST_PAGE]; ; await setImmediate()) {
    const page = await store.changedMessages(id, after, seq, limit);
    const last = page.at(-1);
    if (last) yield page;
    if (!last || page.length < limit) return;
    after = last.rev;
    const length = page.reduce(
      (sum, one) => one.revisions.reduce((sum, { text }) => sum + text.length, sum + one.text.length),
      0,
    );
    limit = Math.max(1, Math.min(PAGE, Math.floor((PAGE_LENGTH * page.length) / (length + 1))));
  }
}

/** The SYSTEM messages added after `afterRev`, ascending; read in pages, between which the event loop runs. */
export async function* systemAfter(
  store: Pick<Store, 'systemMessages'>,
  id: ConversationId,
  afterRev: Rev,
): AsyncGenerator<Message, void> {
  for (let after = afterRev; ; await setImmediate()) {
    const page = await store.systemMessages(id, after, PAGE);
    yield* page;
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = last.addedRev;
  }
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
