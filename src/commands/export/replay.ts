import { isDeepStrictEqual } from 'node:util';
import type { Conversation, Member, Message, Rev } from '../../model.ts';
import type { MemberChange, Store, Write } from '../../store/store.ts';
import { type ExportedConversation, exported as lineOf } from './files.ts';

/** Most changes in one write, and most UTF-16 units of text, but for a single longer message. */
const [BATCH_CHANGES, BATCH_TEXT] = [500, 200_000];

/** Result of `replay`. */
export interface Replayed {
  readonly imported: number;
  /** Messages that were stored before. */
  readonly present: number;
  /** Whether the conversation is now as it was exported. */
  readonly equal: boolean;
}

/**
 * Writes a conversation with its counters by the writes that a server would make, in the order of `rev`; the steps that
 * a message took between its first text and its last one are left out. What an interrupted run has written is compared,
 * not written again. `log` holds the messages by `seq`; `progress` is called with the number of messages done since.
 *
 * The writes: the first one has all members, so that each message is counted for its sender. The next one says when
 * the later members joined. The last one has the last change alone, with the state of the conversation, and the leaving
 * of members: read positions and views of those that left must be set before.
 * @throws Error when the store holds another conversation of this id, or another process writes to it
 */
export async function replay(
  store: Store,
  exported: ExportedConversation,
  log: Iterable<Message> | AsyncIterable<Message>,
  progress: (messages: number) => void,
): Promise<Replayed> {
  const { id, lastRev, lastSeq, createdAt } = exported;
  const other = () => new Error(`the store holds another conversation ${id}`);
  const before = (await store.conversation(id))?.lastRev ?? 0;
  if (before > lastRev) throw other();
  let present = 0;

  /** Compares the messages of a batch with those that are stored. */
  async function compare({ added }: Batch): Promise<void> {
    const [first, last] = [added.at(0), added.at(-1)];
    if (!first || !last) return;
    const expected = added.map((message) => asOf(before, message));
    if (!isDeepStrictEqual(await store.messages(id, first.seq, last.seq), expected)) throw other();
    present += added.length;
  }

  async function write({ added, changed, rev }: Batch): Promise<void> {
    const known = await store.conversation(id);
    const isLast = rev === lastRev;
    const first = added[0]?.seq;
    if (first !== undefined && first !== (known?.lastSeq ?? 0) + 1) throw other();
    const { configId, subject, party, importedRev, status, labels, assignee, members } = exported;
    const write: Write = {
      ...{ conversation: id, afterRev: known?.lastRev ?? 0, isPartial: !isLast },
      opening: known ? null : { configId, subject, party, importedRev, members: members.map(({ email }) => email) },
      messages: added.map((message) => asOf(rev, message)),
      changed: changed.filter(({ addedRev }) => addedRev <= (known?.lastRev ?? 0)),
      state: known && isLast ? { status, labels, assignee } : null,
      members: known ? members.flatMap((member) => changeOf(member, known, isLast)) : [],
      roles: new Map(
        members.flatMap(({ email, role }) => (role && role !== known?.members.get(email)?.role ? [[email, role]] : [])),
      ),
    };
    if (known && isLast) await setOwn(members.filter(({ leftAt }) => leftAt !== null));
    if (!(await store.write(write))) throw new Error(`${id} is written to by another process`);
  }

  /** Sets read positions and views. */
  async function setOwn(members: readonly Member[]): Promise<void> {
    for (const { email, readSeq, readAt, muted, pinned, archived } of members) {
      if (readSeq > 0) await store.advanceReadPosition(id, email, readSeq, null, undefined, readAt);
      if (muted || pinned || archived) await store.setView(id, email, { muted, pinned, archived });
    }
  }

  // A member that came and went joins in a write between the first and the last one.
  const cameAndWent = exported.members.some(({ joinedAt, leftAt }) => leftAt !== null && joinedAt !== createdAt);
  for await (const batch of batches(log, lastRev, [cameAndWent ? 1 : 0, before, lastRev - 1])) {
    await (batch.rev <= before ? compare(batch) : write(batch));
    progress(batch.added.length);
  }
  await setOwn(exported.members.filter(({ leftAt }) => leftAt === null));
  const after = await store.conversation(id);
  const equal = after !== null && isDeepStrictEqual(JSON.parse(JSON.stringify(lineOf(after))), exported);
  return { imported: lastSeq - present, present, equal };
}

/** Changes of a log in the order of `rev`. */
interface Batch {
  readonly added: readonly Message[];
  /** In their last state. */
  readonly changed: readonly Message[];
  /** The last `rev`. */
  readonly rev: Rev;
}

/** Cuts a log into batches, also after each of the `ends`. */
async function* batches(
  log: Iterable<Message> | AsyncIterable<Message>,
  lastRev: Rev,
  ends: readonly Rev[],
): AsyncGenerator<Batch> {
  let batch = { added: [] as Message[], changed: [] as Message[], rev: 0 };
  let text = 0;
  for await (const { rev, message } of changesOf(log, lastRev)) {
    const more = message.revisions.reduce((sum, revision) => sum + revision.text.length, message.text.length);
    const full = batch.added.length + batch.changed.length === BATCH_CHANGES || text + more > BATCH_TEXT;
    if (batch.rev > 0 && (full || ends.some((end) => batch.rev <= end && rev > end))) {
      yield batch;
      batch = { added: [], changed: [], rev: 0 };
      text = 0;
    }
    batch[rev === message.addedRev ? 'added' : 'changed'].push(message);
    batch.rev = rev;
    text += more;
  }
  yield batch;
}

/** The additions and last changes of messages in the order of `rev`, from messages in the order of `seq`. */
async function* changesOf(log: Iterable<Message> | AsyncIterable<Message>, lastRev: Rev) {
  const later = new Map<Rev, Message>();
  let rev = 1;
  function* upTo(end: Rev) {
    for (; rev <= end; rev++) {
      const message = later.get(rev);
      if (message) yield { rev, message };
      later.delete(rev);
    }
  }
  for await (const message of log) {
    yield* upTo(message.addedRev - 1);
    if (message.rev > message.addedRev) later.set(message.rev, message);
    yield { rev: message.addedRev, message };
  }
  yield* upTo(lastRev);
}

/** A message as it was at a `rev`: as it is, or as it was added. A redacted text is gone, so it was empty. */
function asOf(rev: Rev, message: Message): Message {
  if (message.rev <= rev) return message;
  const { addedRev, revisions, text } = message;
  const unchanged = { editedAt: null, redactedAt: null, redactionReason: null, firstTextHash: null, revisions: [] };
  return { ...message, rev: addedRev, text: revisions[0]?.text ?? text, ...unchanged };
}

/** The joining and leaving of a member, as far as the store does not have it and this write may tell it. */
function changeOf({ email, joinedAt, readSeq, seen, leftAt }: Member, known: Conversation, isLast: boolean) {
  const left = isLast ? leftAt : null;
  const joins = known.members.get(email)?.joinedAt !== joinedAt;
  const read = isLast ? { readSeq, seen } : { readSeq: 0, seen: 0 };
  const change: MemberChange = { email, joined: joins ? { at: joinedAt, ...read } : null, leftAt: left };
  return joins || left !== null ? [change] : [];
}
