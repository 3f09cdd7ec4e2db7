import { clientKey, newMessage } from '../../chat/log/change-set.ts';
import { afterWrite, opened } from '../../chat/log/next-state.ts';
import { checkKey, checkOpening, codePoints } from '../../chat/rules/validation.ts';
import {
  type Conversation,
  type ConversationId,
  conversationId,
  type Instant,
  type Message,
  type Seq,
} from '../../model.ts';
import type { Opening, Store } from '../../store/store.ts';
import { createReadPositions } from './read-positions.ts';
import {
  addressOf,
  configIdOf,
  messageOf,
  partyOf,
  type Reading,
  type SourceMessage,
  subjectOf,
  timeOf,
} from './shapes.ts';
import type { Head, Messages, Source } from './source.ts';

/** Most messages in one write, and most code points of text, but for a single longer one. */
const [BATCH_MESSAGES, BATCH_TEXT] = [200, 200_000];
/** Conversations written at once: their writes share commits. */
const AT_ONCE = 4;

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
export interface Refusal {
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

/** A message of the source on its way. */
interface Entry {
  readonly document: string;
  readonly index: number;
  readonly at: Instant;
  readonly digest: string;
  readonly message: SourceMessage;
}

/**
 * Moves an older chat in. Documents with the same configuration and people become one conversation; their messages are
 * ordered by time, but those of one document stay in its order. A message is known again by its `clientId`,
 * `import:{_id}:{index}`: an import that was interrupted, or whose source has grown, may be run again.
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
      refused({ document: String(head._id), reason: (error as Error).message });
    }
  }

  async function move(id: ConversationId, { opening, documents: ids }: Group): Promise<void> {
    const lists = await Promise.all(ids.map((one) => source.messages(one)));
    documents.imported++;
    documents.merged += ids.length - 1;
    messages.source += lists.reduce((sum, list) => sum + (list?.count ?? 0), 0);
    let known = (await store?.conversation(id)) ?? null;
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
    const known = all.get(id) ?? { opening: { ...key, subject: null, party: null }, documents: [] };
    checkOpening(known.opening);
    all.set(id, known);
    known.documents.push(head._id);
    const leftOut = (error: Error) => refused({ document: String(head._id), reason: `left out: ${error.message}` });
    known.opening.subject ??= attempt(() => subjectOf(head.subject), leftOut);
    known.opening.party ??= attempt(() => partyOf(head.party), leftOut);
  }
}

interface Outcome {
  /** The state after the write. */
  readonly conversation: Conversation | null;
  /** Whether messages that come later may be stored already. */
  readonly again: boolean;
  readonly imported: number;
  readonly present: number;
  /** The numbers of the messages that are in the store now. */
  readonly stored: readonly { readonly entry: Entry; readonly seqs: readonly Seq[] }[];
}

/** Writes the entries that are not stored yet, all or none, on the newest state. */
async function writeBatch(
  store: Store | null,
  source: string,
  id: ConversationId,
  opening: Opening,
  known: Conversation | null,
  mayBeStored: boolean,
  batch: readonly Entry[],
  refuse: (entry: Entry, error: Error) => void,
): Promise<Outcome> {
  const keysOf = ({ document, index, message: { sender, texts } }: Entry) =>
    texts.map((_, part) => ({ sender, clientId: `import:${document}:${index}${part === 0 ? '' : `:${part}`}` }));
  let [conversation, again] = [known, mayBeStored];
  for (;;) {
    const found = again ? ((await store?.messagesByClientId(id, batch.flatMap(keysOf))) ?? []) : [];
    const seqs = new Map(found.map(({ sender, clientId, seq }) => [clientKey(sender, clientId ?? ''), seq]));
    const head = conversation ?? opened(id, opening, batch[0]?.at ?? 0);
    let sentAt = head.lastActivityAt;
    const messages: Message[] = [];
    const refused: [Entry, Error][] = [];
    const stored: { entry: Entry; seqs: Seq[] }[] = [];
    let present = 0;
    for (const entry of batch) {
      const keys = keysOf(entry);
      const own = keys.map(({ sender, clientId }) => seqs.get(clientKey(sender, clientId)));
      if (own[0] !== undefined) {
        present++;
        stored.push({ entry, seqs: own.filter((seq) => seq !== undefined) });
        continue;
      }
      const { sender, texts, time } = entry.message;
      if (head.members.get(sender)?.leftAt !== null) {
        refused.push([entry, new Error('the sender is no member of the conversation any more')]);
        continue;
      }
      if (head.status === 'CLOSED') {
        refused.push([entry, new Error('the conversation is closed')]);
        continue;
      }
      sentAt = Math.max(sentAt, entry.at);
      const origin = { source: `${source}/${entry.document}/${entry.index}`, time, digest: entry.digest };
      const added = texts.map((text, part) =>
        newMessage(head, messages.length + part, {
          ...{ kind: 'TEXT', sender, text, sentAt, clientId: keys[part]?.clientId ?? null, origin },
        }),
      );
      messages.push(...added);
      stored.push({ entry, seqs: added.map(({ seq }) => seq) });
    }
    const write = {
      ...{ conversation: id, afterRev: head.lastRev, opening: conversation ? null : opening, messages },
      ...{ changed: [], state: null, members: [], roles: new Map() },
    };
    if (messages.length > 0) {
      if (store && !(await store.write(write))) {
        // Another process wrote to the conversation: decide again on its new state.
        conversation = await store.conversation(id);
        again = true;
        continue;
      }
      conversation = afterWrite(conversation, write);
    }
    for (const one of refused) refuse(...one);
    return { conversation, again, imported: stored.length - present, present, stored };
  }
}

/** The result of a function, or null where it throws. */
function attempt<T>(get: () => T, failed: (error: Error) => void = () => {}): T | null {
  try {
    return get();
  } catch (error) {
    failed(error as Error);
    return null;
  }
}

/**
 * The messages of documents by time, then document, then index. A message that its document dates before the one above
 * it takes the time of that one, so that each document keeps its order.
 */
function* entriesOf(
  ids: readonly unknown[],
  lists: readonly (Messages | null)[],
  reading: Reading,
  refuse: (entry: Pick<Entry, 'document' | 'index'>, error: Error) => void,
): Generator<Entry> {
  const rows = lists.map((list, position) => entriesOfOne(String(ids[position]), list, reading, refuse));
  const heads = rows.map((row) => row.next().value as Entry | undefined);
  for (;;) {
    let first = -1;
    for (const [position, head] of heads.entries())
      if (head && (first < 0 || head.at < (heads[first]?.at ?? 0))) first = position;
    const next = heads[first];
    if (!next) return;
    yield next;
    heads[first] = rows[first]?.next().value as Entry | undefined;
  }
}

function* entriesOfOne(
  document: string,
  list: Messages | null,
  reading: Reading,
  refuse: (entry: Pick<Entry, 'document' | 'index'>, error: Error) => void,
): Generator<Entry> {
  let newest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < (list?.count ?? 0); index++) {
    const fields = list?.at(index) ?? {};
    const entry = attempt(
      () => ({ at: timeOf(fields.time, reading).at, message: messageOf(fields, reading) }),
      (error) => refuse({ document, index }, error),
    );
    if (!entry) continue;
    newest = Math.max(newest, entry.at);
    yield { document, index, digest: list?.digest ?? '', message: entry.message, at: newest };
  }
}
