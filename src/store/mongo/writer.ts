import { setTimeout } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { type ClientSession, MongoError, ObjectId } from 'mongodb';
import type { ConversationId, Rev } from '../../model.ts';
import { createBatcher } from '../batcher.ts';
import { revAfter, type Write } from '../store.ts';
import { commitOperation } from './commit-operation.ts';
import {
  type Collections,
  type ConversationDocument,
  isBy,
  lastWriteOf,
  type MessageDocument,
  toDocument,
} from './documents.ts';
import { createMover, type InSession, isDuplicate, type Log, laterThan, lengthOf, MAX_KEPT } from './mover.ts';
import type { createReader } from './reader.ts';

/** How long a write keeps trying to find out its outcome, in milliseconds. */
const WRITE_MS = 8000;
/** Delay between two attempts, in milliseconds. */
const RETRY_MS = 100;
/** Commands under way at once: more gain nothing, as waiting writes go into the next one together. */
const MAX_COMMANDS = 2;
/** Most writes in one command. */
const MAX_GROUP = 500;
/** UTF-16 units of text, and messages, that a document may carry beside a batch; it holds 16 MiB at most. */
const MAX_CARRIED = { text: 1_000_000, messages: 1000 } as const;

/** A write that is not answered yet. */
interface Waiting {
  readonly write: Write;
  /** Whether a conversation that it opens is in the record from its first message on. */
  readonly begun: boolean;
  /** The new messages. */
  readonly documents: readonly MessageDocument[];
  /** The changed messages in their new state. */
  changed: readonly MessageDocument[];
  /** Identifies the write in the log. */
  readonly mark: ObjectId;
  /** Messages of earlier writes that stay in the conversation's document. */
  carried: Pick<Log, 'tail' | 'changed'>;
  /** The `importedRev` that the conversation must have, null for none; undefined for any. */
  importedRev?: Rev | null;
  readonly deadline: number;
  readonly resolve: (written: boolean) => void;
  readonly reject: (error: unknown) => void;
}

const NOTHING: Waiting['carried'] = { tail: [], changed: [] };

/**
 * Group commit: one command for all waiting conversations. Updating a conversation's document commits a write; it
 * carries the messages that are not known to be in `messages` yet, so a write does not wait for them to be moved there.
 *
 * A changed message is committed in the same way, in its conversation's document, and later replaces the one in
 * `messages`. So that readers of `messages` need not read that document each time, the old version is marked before the
 * commit, and the move removes the mark: a reader that finds a mark reads the document too, and takes the newer
 * version. A mark without a change costs that read, no more. A transaction over both would avoid all this; but when its
 * process is killed the conversation stays locked for a minute. A message never reverts to an older text: it is moved
 * before it is changed, inserts never overwrite, and replacements require an older `rev`.
 */
export function createWriter(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  { documents, pendingOf }: Pick<ReturnType<typeof createReader>, 'documents' | 'pendingOf'>,
  reading: ClientSession,
  inSession: InSession,
  onError: (error: unknown) => void,
) {
  const logs = new LRUCache<ConversationId, Log>({ max: 10_000 });
  const mover = createMover({ conversations, messages }, logs, reading, inSession, onError);
  const add = createBatcher<Waiting>(() => MAX_GROUP, commit, MAX_COMMANDS);

  /** Determines which messages the document carries on, and adds the write to the next command. */
  async function enqueue(entry: Waiting): Promise<void> {
    const { conversation: id, afterRev } = entry.write;
    try {
      if (afterRev > 0) {
        const log = logs.get(id);
        const known = log?.rev === afterRev;
        const pending = known ? log : await pendingOf(id);
        // An earlier attempt may have been committed after it timed out.
        if ('lastRev' in pending && pending.lastRev !== afterRev) return entry.resolve(await findWrite(entry));
        entry.carried = laterThan(log?.movedRev ?? 0, pending);
        if (entry.write.changed.length > 0 || tooLong(entry.carried)) {
          await mover.move([entry.carried]);
          entry.carried = NOTHING;
        }
        if (entry.write.changed.length > 0) {
          const changed = await markChanging(entry);
          if (!changed) return entry.resolve(await findWrite(entry));
          entry.changed = changed;
        }
      }
    } catch (error) {
      return retry(entry, error);
    }
    add(entry);
  }

  /**
   * Marks the messages that are about to be changed, and returns their new documents. Null where one got its record
   * after the change was decided, which would drop it; should that happen later, the commit fails.
   */
  async function markChanging(entry: Waiting): Promise<MessageDocument[] | null> {
    const { write, mark } = entry;
    const without = new Set(write.changed.filter(({ record }) => !record).map(({ seq }) => seq));
    if (without.size > 0) entry.importedRev = (await pendingOf(write.conversation)).importedRev ?? null;
    const those = { conversation: write.conversation, seq: { $in: write.changed.map(({ seq }) => seq) } };
    const found = await messages.find(those, { session: reading }).toArray();
    if (found.some(({ seq, record }) => record && without.has(seq))) return null;
    const before = new Map(found.map((document) => [document.seq, document]));
    await inSession((session) => messages.updateMany(those, { $set: { changing: true } }, { session }));
    return write.changed.map((message) => {
      const document = before.get(message.seq);
      if (!document) throw new Error(`message ${message.seq} does not exist and cannot be changed`);
      return toDocument(message, mark, document);
    });
  }

  /** Tries again after a driver error, until the deadline. */
  async function retry(entry: Waiting, error: unknown): Promise<void> {
    if (!(error instanceof MongoError) || performance.now() > entry.deadline) return entry.reject(error);
    await setTimeout(RETRY_MS);
    await enqueue(entry);
  }

  async function commit(group: readonly Waiting[]): Promise<void> {
    let failure: unknown = null;
    try {
      const { matchedCount, insertedCount } = await inSession((session) =>
        conversations.bulkWrite(group.map(commitOperation), { ordered: false, session }),
      );
      if (matchedCount + insertedCount === group.length) return group.forEach(committed);
    } catch (error) {
      if (!isDuplicate(error)) failure = error;
    }
    // The answer does not say which of them were written: the documents do, except for messages moved since.
    const written = new Map<ConversationId, readonly Pick<MessageDocument, 'append' | 'changes'>[]>();
    try {
      const those = { _id: { $in: group.map(({ write }) => write.conversation) } };
      const marks = { 'tail.append': 1, 'changed.append': 1, 'changed.changes': 1 };
      const found = conversations.find(those, { session: reading, projection: marks });
      for await (const { _id, tail, changed = [] } of found) written.set(_id, [...tail, ...changed]);
    } catch (error) {
      failure ??= error;
    }
    for (const entry of group) {
      if (written.get(entry.write.conversation)?.some((document) => isBy(document, entry.mark))) committed(entry);
      else void settle(entry, failure);
    }
  }

  async function settle(entry: Waiting, failure: unknown): Promise<void> {
    try {
      if (await findWrite(entry)) return committed(entry);
      if (!failure) return entry.resolve(false);
    } catch (error) {
      return retry(entry, error);
    }
    await retry(entry, failure);
  }

  function committed({ write, documents, changed, carried, resolve }: Waiting): void {
    const { conversation: id } = write;
    const movedRev = logs.get(id)?.movedRev ?? 0;
    const pending = { tail: [...carried.tail, ...documents], changed: [...carried.changed, ...changed] };
    logs.set(id, { rev: revAfter(write), ...laterThan(movedRev, pending), movedRev });
    mover.add(id);
    resolve(true);
  }

  /** Whether this write is in the log. */
  async function findWrite({ write, mark }: Waiting): Promise<boolean> {
    const seq = [...write.messages, ...write.changed][0]?.seq ?? 0;
    const [found] = await documents(write.conversation, seq, seq);
    return found !== undefined && isBy(found, mark);
  }

  return {
    /**
     * The port's `write`; rejects with the driver's error when the outcome cannot be found out in time. A conversation
     * that it opens is in the record from its first message on if the record has `begun`.
     */
    write(write: Write, begun = true): Promise<boolean> {
      const mark = new ObjectId();
      const documents = write.messages.map((message) => toDocument(message, mark));
      return new Promise((resolve, reject) => {
        const deadline = performance.now() + WRITE_MS;
        void enqueue({ write, begun, documents, changed: [], mark, carried: NOTHING, deadline, resolve, reject });
      });
    },
    /** The pending messages of a conversation in this state; null where they are not known. */
    pendingAt(id: ConversationId, lastRev: Rev): Pick<Log, 'tail' | 'changed'> | null {
      const log = logs.get(id);
      return log?.rev === lastRev ? log : null;
    },
    /** Caches the pending messages in a conversation's document after a write of any process. */
    learn(id: ConversationId, document: Partial<ConversationDocument>): void {
      const known = logs.get(id);
      const { rev = 0, movedRev = 0 } = known ?? {};
      const { lastRev, tail } = document;
      // The stream leaves out fields that a write did not change.
      const asBefore = rev === lastWriteOf(document)?.afterRev ? known?.changed : undefined;
      const changed = document.changed ?? asBefore;
      if (lastRev === undefined || lastRev <= rev || !Array.isArray(tail) || !Array.isArray(changed)) return;
      const log = { rev: lastRev, ...laterThan(movedRev, { tail, changed }), movedRev };
      if (lengthOf(log) > MAX_KEPT) logs.delete(id);
      else logs.set(id, { ...log, theirs: true });
    },
    /** Number of messages that this process wrote and does not know to be moved. */
    unmoved(): number {
      let count = 0;
      for (const { tail, changed, theirs } of logs.values()) if (!theirs) count += tail.length + changed.length;
      return count;
    },
    ...{ moved: mover.moved, move: mover.move },
  };
}

function tooLong({ tail, changed }: Waiting['carried']): boolean {
  return tail.length + changed.length > MAX_CARRIED.messages || lengthOf({ tail, changed }) > MAX_CARRIED.text;
}
