import { codePoints } from '../../chat/rules/text-length.ts';
import { checkKey, checkOpening } from '../../chat/rules/validation.ts';
import { type ConversationId, type ConversationKey, conversationId, type EmailAddress } from '../../model.ts';
import type { Opening, Store } from '../../store/store.ts';
import { attempt, type Entry, entriesOf } from './merge.ts';
import { createReadPositions } from './read-positions.ts';
import { addressOf, configIdOf, documentIdOf, partyOf, type Reading, subjectOf } from './shapes.ts';
import type { Head, Source } from './source.ts';
import { createStoredMessages } from './stored-messages.ts';
import { clientIdOf, writeBatch } from './write-batch.ts';

/** Most messages in one write, and most code points of text, but for a single longer one. */
const [BATCH_MESSAGES, BATCH_TEXT] = [200, 200_000];
/** Conversations written at once: their writes share commits. */
const AT_ONCE = 4;
/** Senders left out of `members` that are tried for an earlier import: all their sets, two to the power of them. */
const MOST_LEFT_OUT = 5;
/** The first messages of a document, by which an earlier import of it is known. */
const FIRST_MESSAGES = 20;

/** Result of an import. Every document and every message of the source is counted once. */
export interface Imported {
  readonly documents: {
    /** Counted by the source when the import began. */
    readonly source: number;
    /** The first of its conversation. */
    readonly imported: number;
    /** Another one of the same configuration and members. */
    readonly merged: number;
    readonly refused: number;
  };
  readonly messages: {
    /** The lengths of the documents' lists. */
    readonly source: number;
    readonly imported: number;
    /** Imported by an earlier run. */
    readonly present: number;
    readonly refused: number;
  };
  /** Whether both sums add up. They do not when the source changed meanwhile: import again. */
  readonly complete: boolean;
}

/** Part of the source that is left out. */
interface Refusal {
  /** `_id` of the document. */
  readonly document: string;
  /** Index of the message; absent where the whole document, or the field that `reason` names, is left out. */
  readonly index?: number;
  readonly reason: string;
}

export interface ImportOptions extends Reading {
  /** Called for each part of the source that is left out. */
  readonly refused: (refusal: Refusal) => void;
  /** Called with the number of messages done since the last call. */
  readonly progress: (messages: number) => void;
}

/** The documents of one conversation, in the order of `_id`. */
interface Group {
  readonly opening: { -readonly [Field in keyof Opening]: Opening[Field] };
  readonly documents: unknown[];
}

/**
 * Moves an older chat in. Documents with the same configuration and people become one conversation; their messages are
 * ordered by time, but those of one document stay in its order. A message is known again by its `clientId`,
 * `import:{_id}:{index}`: an import that was interrupted, or that finds a larger source, may be run again.
 * @param store null for a trial run, which takes the store for empty
 * @throws Error when the source or the store cannot be reached, or the source holds no document
 */
export async function importChat(source: Source, store: Store | null, options: ImportOptions): Promise<Imported> {
  const { refused, progress } = options;
  const documents = { source: await source.count(), imported: 0, merged: 0, refused: 0 };
  if (documents.source === 0) throw new Error(`${source.name} holds no document: is the name right?`);
  const messages = { source: 0, imported: 0, present: 0, refused: 0 };

  const groups = new Map<ConversationId, Group>();
  for await (const head of source.heads()) {
    try {
      await group(groups, head, options);
    } catch (error) {
      documents.refused++;
      messages.source += head.count ?? 0;
      messages.refused += head.count ?? 0;
      refused({ document: documentIdOf(head._id), reason: (error as Error).message });
    }
  }

  async function move(id: ConversationId, { opening, documents: ids }: Group): Promise<void> {
    const lists = await Promise.all(ids.map((one) => source.messages(one)));
    const present = lists.filter((list) => list !== null).length;
    documents.imported += Math.min(present, 1);
    documents.merged += Math.max(present - 1, 0);
    messages.source += lists.reduce((sum, list) => sum + (list?.count ?? 0), 0);
    let known = (await store?.conversation(id)) ?? null;
    const stored = createStoredMessages(store, id);
    const positions = createReadPositions(opening.members);
    let batch: Entry[] = [];

    async function write(): Promise<void> {
      const done = batch.length;
      const outcome = await writeBatch(store, source.name, id, opening, known, stored, batch, refuse);
      known = outcome.conversation;
      messages.imported += outcome.imported;
      messages.present += outcome.present;
      for (const { entry, seqs } of outcome.stored) positions.add(seqs, entry.message.sender, entry.message.readers);
      batch = [];
      progress(done);
    }
    function refuse({ document, index }: Pick<Entry, 'document' | 'index'>, error: Error): void {
      messages.refused++;
      refused({ document, index, reason: error.message });
    }

    let text = 0;
    for (const entry of entriesOf(ids, lists, options, refuse)) {
      const length = entry.message.texts.reduce((sum, one) => sum + codePoints(one), 0);
      if (batch.length === BATCH_MESSAGES || (batch.length > 0 && text + length > BATCH_TEXT)) {
        await write();
        text = 0;
      }
      batch.push(entry);
      text += length;
    }
    if (batch.length > 0) await write();
    for (const [member, seq] of positions.all()) {
      const state = known?.members.get(member);
      if (state && !state.leftAt && seq > state.readSeq) await store?.advanceReadPosition(id, member, seq, null);
    }
  }

  const waiting = groups.entries();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const [id, one] of waiting) await move(id, one);
    }),
  );
  const complete =
    documents.source === documents.imported + documents.merged + documents.refused &&
    messages.source === messages.imported + messages.present + messages.refused;
  return { documents, messages, complete };

  /** Adds a document to its group. */
  async function group(all: Map<ConversationId, Group>, head: Head, reading: Reading): Promise<void> {
    if (!Array.isArray(head.members)) throw new Error('`members` must be a list');
    if (head.count === null) throw new Error('`message` must be a list');
    if (head.count === 0) throw new Error('there is no message');
    const members = head.members.map((value) => addressOf(value, 'members', reading));
    // A message with an impossible sender is refused later, and makes no member.
    const senders = head.senders.flatMap((value) => attempt(() => addressOf(value, 'sender', reading)) ?? []);
    const full = checkKey(configIdOf(head.config_id), [...members, ...senders]);
    const leftOut = senders.filter((sender) => !members.includes(sender));
    const key = (store && (await earlierKey(store, full, leftOut, head, senders))) ?? full;
    const id = conversationId(key);
    const known = all.get(id) ?? { opening: { ...key, subject: null, party: null }, documents: [] };
    checkOpening(known.opening);
    all.set(id, known);
    known.documents.push(head._id);
    const omit = (error: Error) => refused({ document: documentIdOf(head._id), reason: `left out: ${error.message}` });
    for (const [name, read] of [['subject', subjectOf] as const, ['party', partyOf] as const]) {
      const value = attempt(() => read(head[name]), omit);
      known.opening[name] ??= value;
      if (value !== null && value !== known.opening[name])
        omit(new Error(`\`${name}\` is ${JSON.stringify(value)}, and another in an earlier document of ${id}`));
    }
  }
}

/**
 * The key of the conversation that an earlier import put a document into, when one of the senders that are left out of
 * `members` had not written yet: such a sender changes the people of a document, and so the key. Null for none.
 */
async function earlierKey(
  store: Store,
  full: ConversationKey,
  leftOut: readonly EmailAddress[],
  { _id, count }: Head,
  senders: readonly EmailAddress[],
): Promise<ConversationKey | null> {
  const tried = leftOut.slice(0, MOST_LEFT_OUT);
  const clientIds = Array.from({ length: Math.min(count ?? 0, FIRST_MESSAGES) }, (_, index) =>
    clientIdOf(documentIdOf(_id), index),
  );
  const keys = senders.flatMap((sender) => clientIds.map((clientId) => ({ sender, clientId })));
  for (let subset = 1; subset < 2 ** tried.length; subset++) {
    const without = tried.filter((_, bit) => (subset >> bit) & 1);
    const key = { ...full, members: full.members.filter((email) => !without.includes(email)) };
    const found = (await store.memberCount(conversationId(key))) > 0;
    const messages = found ? await store.messagesByClientId(conversationId(key), keys) : [];
    if (messages.some(({ origin }) => origin)) return key;
  }
  return null;
}
