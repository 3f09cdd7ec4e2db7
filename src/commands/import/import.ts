import { codePoints } from '../../chat/rules/text-length.ts';
import { checkKey, checkOpening } from '../../chat/rules/validation.ts';
import { type Conversation, type ConversationId, conversationId, type EmailAddress } from '../../model.ts';
import type { Opening, Store } from '../../store/store.ts';
import { attempt, type Entry, entriesOf } from './merge.ts';
import { createReadPositions } from './read-positions.ts';
import { addressOf, configIdOf, documentIdOf, partyOf, type Reading, subjectOf } from './shapes.ts';
import type { Head, Source } from './source.ts';
import { writeBatch } from './write-batch.ts';

/** Most messages in one write, and most code points of text, but for a single longer one. */
const [BATCH_MESSAGES, BATCH_TEXT] = [200, 200_000];
/** Conversations written at once: their writes share commits. */
const AT_ONCE = 4;
/** Senders left out of `members` that are tried for an earlier import: all their sets, two to the power of them. */
const MOST_LEFT_OUT = 5;

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
  /** Members that are only known as senders. */
  readonly leftOut: Set<EmailAddress>;
}

/**
 * Moves an older chat in. Documents with the same configuration and people become one conversation; their messages are
 * ordered by time, but those of one document stay in its order. A message is known again by its `clientId`,
 * `import:{_id}:{index}`: an import that was interrupted, or that finds a larger source, may be run again.
 * @param store null for a trial run, which takes the store for empty
 * @throws Error when the source or the store cannot be reached
 */
export async function importChat(source: Source, store: Store | null, options: ImportOptions): Promise<Imported> {
  const { refused, progress } = options;
  const documents = { source: await source.count(), imported: 0, merged: 0, refused: 0 };
  const messages = { source: 0, imported: 0, present: 0, refused: 0 };

  const groups = new Map<ConversationId, Group>();
  for await (const head of source.heads()) {
    try {
      group(groups, head, options);
    } catch (error) {
      documents.refused++;
      messages.source += head.count ?? 0;
      messages.refused += head.count ?? 0;
      refused({ document: documentIdOf(head._id), reason: (error as Error).message });
    }
  }

  async function move(key: ConversationId, group: Group): Promise<void> {
    const { opening, documents: ids } = group;
    const lists = await Promise.all(ids.map((one) => source.messages(one)));
    documents.imported++;
    documents.merged += ids.length - 1;
    messages.source += lists.reduce((sum, list) => sum + (list?.count ?? 0), 0);
    let known = (await store?.conversation(key)) ?? (store && (await earlierImport(store, group)));
    const id = known?.id ?? key;
    /** Whether messages of the source may be stored already. */
    let again = known !== null;
    const positions = createReadPositions(opening.members);
    let batch: Entry[] = [];

    async function write(): Promise<void> {
      const done = batch.length;
      const outcome = await writeBatch(store, source.name, id, opening, known, again, batch, refuse);
      ({ conversation: known, again } = outcome);
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
      const stored = known?.members.get(member);
      if (stored && !stored.leftAt && seq > stored.readSeq) await store?.advanceReadPosition(id, member, seq, null);
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
  function group(all: Map<ConversationId, Group>, head: Head, reading: Reading): void {
    if (!Array.isArray(head.members)) throw new Error('`members` must be a list');
    if (head.count === null) throw new Error('`message` must be a list');
    if (head.count === 0) throw new Error('there is no message');
    const members = head.members.map((value) => addressOf(value, 'members', reading));
    // A message with an impossible sender is refused later, and makes no member.
    const senders = head.senders.flatMap((value) => attempt(() => addressOf(value, 'sender', reading)) ?? []);
    const key = checkKey(configIdOf(head.config_id), [...members, ...senders]);
    const id = conversationId(key);
    const known = all.get(id) ?? { opening: { ...key, subject: null, party: null }, documents: [], leftOut: new Set() };
    checkOpening(known.opening);
    all.set(id, known);
    known.documents.push(head._id);
    for (const sender of senders) if (!members.includes(sender)) known.leftOut.add(sender);
    const leftOut = (error: Error) =>
      refused({ document: documentIdOf(head._id), reason: `left out: ${error.message}` });
    known.opening.subject ??= attempt(() => subjectOf(head.subject), leftOut);
    known.opening.party ??= attempt(() => partyOf(head.party), leftOut);
  }
}

/**
 * The conversation that an earlier import put these documents into, when one of the senders that are left out of
 * `members` had not written yet: such a sender changes the people of a document, and so the key. Null for none.
 */
async function earlierImport(store: Store, { opening, documents, leftOut }: Group): Promise<Conversation | null> {
  const senders = [...leftOut].slice(0, MOST_LEFT_OUT);
  for (let subset = 1; subset < 2 ** senders.length; subset++) {
    const without = senders.filter((_, bit) => (subset >> bit) & 1);
    const members = opening.members.filter((email) => !without.includes(email));
    const found = await store.conversation(conversationId({ ...opening, members }));
    const first = found ? await store.messages(found.id, 1, 100) : [];
    if (first.some(({ clientId }) => documents.some((one) => clientId?.startsWith(`import:${documentIdOf(one)}:`))))
      return found;
  }
  return null;
}
