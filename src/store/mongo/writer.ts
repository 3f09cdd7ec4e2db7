import { setImmediate, setTimeout } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { type AnyBulkWriteOperation, type ClientSession, MongoBulkWriteError, MongoError, ObjectId } from 'mongodb';
import type { ConversationId } from '../../model.ts';
import type { Append } from '../store.ts';
import { type Collections, type ConversationDocument, type MessageDocument, toDocument } from './documents.ts';
import type { createReader } from './reader.ts';

/** How long an append goes on finding out what became of it, in milliseconds. */
const APPEND_MS = 8000;
/** Between two attempts. */
const RETRY_MS = 100;
/** Commands under way at once: more do not gain anything, as what waits goes into the next one together. */
const MAX_COMMANDS = 2;
/** Appends that one command takes at most. */
const MAX_GROUP = 500;
/** Messages that are moved with one command, but for those of one conversation, which go together. */
const MAX_MOVED = 500;
/** UTF-16 units of text, and messages, that a tail may carry beside a batch; a document holds 16 MiB at most. */
const MAX_CARRIED = { text: 1_000_000, messages: 1000 } as const;

const DUPLICATE_KEY = 11_000;

/** Runs a write in a session of its own, so that later reads see it. */
export type Write = <T>(work: (session: ClientSession) => Promise<T>) => Promise<T>;

/** What this process knows of a log it wrote to. */
interface Log {
  /** The newest message this process wrote. */
  rev: number;
  /** The tail as it was written then, without what was moved since. */
  tail: readonly MessageDocument[];
  /** A majority has all messages up to this number in `messages`. */
  movedSeq: number;
}

interface Waiting {
  readonly append: Append;
  readonly documents: readonly MessageDocument[];
  /** Identifies the append in the log. */
  readonly mark: ObjectId;
  /** What the tail holds before these messages. */
  carried: readonly MessageDocument[];
  readonly deadline: number;
  readonly resolve: (appended: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Appends, with one command for however many conversations wait. Writing a conversation's document is what commits;
 * its tail carries the messages that are not known to be in `messages` yet, so nobody waits for them to be moved there.
 */
export function createWriter(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  { documents, tailOf }: Pick<ReturnType<typeof createReader>, 'documents' | 'tailOf'>,
  reading: ClientSession,
  write: Write,
  onError: (error: unknown) => void,
) {
  const logs = new LRUCache<ConversationId, Log>({ max: 10_000 });
  const waiting: Waiting[] = [];
  /** Commands under way. */
  let committing = 0;
  /** Conversations with something to move. */
  const unmoved = new Set<ConversationId>();
  let moving: Promise<void> | null = null;

  /** Finds what the append is to be written on, and lets it join the next command. */
  async function enter(entry: Waiting): Promise<void> {
    const { conversation: id, afterRev } = entry.append;
    try {
      if (afterRev > 0) {
        const log = logs.get(id);
        const known = log?.rev === afterRev;
        const tail = known ? log.tail : (await tailOf(id)).tail;
        // An earlier attempt may have landed after its time was up.
        if (!known && tail.at(-1)?.rev !== afterRev) return entry.resolve(await landed(entry));
        entry.carried = tail.filter(({ seq }) => seq > (log?.movedSeq ?? 0));
        if (tooLong(entry.carried)) {
          await move(entry.carried);
          entry.carried = [];
        }
      }
    } catch (error) {
      return again(entry, error);
    }
    waiting.push(entry);
    if (committing < MAX_COMMANDS) void commitAll();
  }

  /** Tries again where that may help. */
  async function again(entry: Waiting, error: unknown): Promise<void> {
    if (!(error instanceof MongoError) || performance.now() > entry.deadline) return entry.reject(error);
    await setTimeout(RETRY_MS);
    await enter(entry);
  }

  async function commitAll(): Promise<void> {
    committing++;
    // Whatever comes in this turn goes together.
    await setImmediate();
    while (waiting.length > 0) await commit(waiting.splice(0, MAX_GROUP));
    committing--;
  }

  async function commit(group: readonly Waiting[]): Promise<void> {
    let failure: unknown = null;
    try {
      const { matchedCount, insertedCount } = await write((session) =>
        conversations.bulkWrite(group.map(operation), { ordered: false, session }),
      );
      if (matchedCount + insertedCount === group.length) return group.forEach(won);
    } catch (error) {
      if (!isDuplicate(error)) failure = error;
    }
    // The answer does not say which of them were written: the tails do, but for those that were moved since.
    const marks = new Set<string>();
    try {
      const written = { _id: { $in: group.map(({ append }) => append.conversation) } };
      const tails = conversations.find(written, { session: reading, projection: { 'tail.append': 1 } });
      for await (const { tail } of tails) for (const { append } of tail) marks.add(append.toHexString());
    } catch (error) {
      failure ??= error;
    }
    for (const entry of group) {
      if (marks.has(entry.mark.toHexString())) won(entry);
      else void settle(entry, failure);
    }
  }

  async function settle(entry: Waiting, failure: unknown): Promise<void> {
    try {
      if (await landed(entry)) return won(entry);
      if (!failure) return entry.resolve(false);
    } catch (error) {
      return again(entry, error);
    }
    await again(entry, failure);
  }

  function won({ append: { conversation: id }, documents, carried, resolve }: Waiting): void {
    const movedSeq = logs.get(id)?.movedSeq ?? 0;
    const tail = [...carried, ...documents].filter(({ seq }) => seq > movedSeq);
    logs.set(id, { rev: documents.at(-1)?.rev ?? 0, tail, movedSeq });
    unmoved.add(id);
    moving ??= moveAll();
    resolve(true);
  }

  /** Whether this append is in the log after all. */
  async function landed({ append: { conversation }, documents: [first], mark }: Waiting): Promise<boolean> {
    const seq = first?.seq ?? 0;
    const [found] = await documents(conversation, seq, seq);
    return found?.append.equals(mark) ?? false;
  }

  async function moveAll(): Promise<void> {
    while (unmoved.size > 0) {
      const tails = new Map<ConversationId, readonly MessageDocument[]>();
      let count = 0;
      for (const id of unmoved) {
        const tail = logs.get(id)?.tail ?? [];
        count += tail.length;
        if (count > MAX_MOVED && tails.size > 0) break;
        tails.set(id, tail);
        unmoved.delete(id);
      }
      try {
        await move([...tails.values()].flat());
      } catch (error) {
        // They stay in their tails, and are tried again with the next append to any conversation.
        for (const id of tails.keys()) unmoved.add(id);
        onError(error);
        break;
      }
      for (const [id, tail] of tails) {
        const log = logs.get(id);
        if (!log) continue;
        log.movedSeq = Math.max(log.movedSeq, tail.at(-1)?.seq ?? 0);
        log.tail = log.tail.filter(({ seq }) => seq > log.movedSeq);
      }
    }
    moving = null;
  }

  /** Copies tails to `messages`. Idempotent: whoever comes second finds them there, and waits until they are there to stay. */
  async function move(tail: readonly MessageDocument[]): Promise<void> {
    if (tail.length === 0) return;
    try {
      await write((session) => messages.insertMany([...tail], { ordered: false, session }));
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      // What is in the way may still be undone by a new primary: only what a majority has is moved.
      const conversation = { $in: [...new Set(tail.map((message) => message.conversation))] };
      const those = { conversation, _id: { $in: tail.map(({ _id }) => _id) } };
      const present = await messages.countDocuments(those, { session: reading });
      if (present < tail.length) throw new MongoError('The tail is not on a majority yet.');
    }
  }

  return {
    /** As the port has it; rejects with the driver's error when it cannot be found out in time what became of it. */
    append(append: Append): Promise<boolean> {
      const mark = new ObjectId();
      const documents = append.messages.map((message) => toDocument(message, mark));
      return new Promise((resolve, reject) => {
        const deadline = performance.now() + APPEND_MS;
        void enter({ append, documents, mark, carried: [], deadline, resolve, reject });
      });
    },
    /** Resolves when what was appended is moved, as far as it can be. */
    async moved(): Promise<void> {
      await moving;
    },
  };
}

function operation({ append, documents, carried }: Waiting): AnyBulkWriteOperation<ConversationDocument> {
  const { conversation: _id, afterRev, opening, roles } = append;
  const newest = documents.at(-1);
  if (!newest) throw new Error('an append holds at least one message');
  const tail = [...carried, ...documents];
  const heads = { lastSeq: newest.seq, lastRev: newest.rev, lastActivityAt: newest.sentAt, tail };
  if (!opening) {
    const set = Object.fromEntries([...roles].map(([, role], i) => [`members.$[m${i}].role`, role]));
    const arrayFilters = [...roles.keys()].map((email, i) => ({ [`m${i}.email`]: email }));
    const update = { $set: { ...heads, ...set } };
    return { updateOne: { filter: { _id, lastRev: afterRev }, update, ...(roles.size > 0 && { arrayFilters }) } };
  }
  const { configId, subject, party } = opening;
  const createdAt = documents[0]?.sentAt ?? newest.sentAt;
  const views = { readSeq: 0, joinedAt: createdAt, leftAt: null, muted: false, pinned: false, archived: false };
  const members = opening.members.map((email) => ({ email, role: roles.get(email) ?? null, ...views }));
  const state = { status: 'OPEN' as const, labels: [], assignee: null };
  return { insertOne: { document: { _id, configId, subject, party, ...state, createdAt, members, ...heads } } };
}

function tooLong(tail: readonly MessageDocument[]): boolean {
  const text = tail.reduce((sum, message) => sum + message.text.length, 0);
  return tail.length > MAX_CARRIED.messages || text > MAX_CARRIED.text;
}

/** Whether all that went wrong is that something is there already. */
function isDuplicate(error: unknown): boolean {
  if (!(error instanceof MongoBulkWriteError) || error.result.getWriteConcernError()) return false;
  return [error.writeErrors].flat().every(({ code }) => code === DUPLICATE_KEY);
}
