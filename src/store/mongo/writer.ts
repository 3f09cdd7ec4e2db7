import { setImmediate, setTimeout } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { type ClientSession, MongoError, ObjectId } from 'mongodb';
import type { ConversationId } from '../../model.ts';
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

/** How long a write goes on finding out what became of it, in milliseconds. */
const WRITE_MS = 8000;
/** Between two attempts. */
const RETRY_MS = 100;
/** Commands under way at once: more do not gain anything, as what waits goes into the next one together. */
const MAX_COMMANDS = 2;
/** Writes that one command takes at most. */
const MAX_GROUP = 500;
/** UTF-16 units of text, and messages, that a tail may carry beside a batch; a document holds 16 MiB at most. */
const MAX_CARRIED = { text: 1_000_000, messages: 1000 } as const;
interface Waiting {
  readonly write: Write;
  /** The new messages. */
  readonly documents: readonly MessageDocument[];
  /** Those of the log that are changed, as they are to be. */
  changed: readonly MessageDocument[];
  /** Identifies the write in the log. */
  readonly mark: ObjectId;
  /** What the conversation's document holds before these. */
  carried: Pick<Log, 'tail' | 'changed'>;
  readonly deadline: number;
  readonly resolve: (written: boolean) => void;
  readonly reject: (error: unknown) => void;
}

const NOTHING: Waiting['carried'] = { tail: [], changed: [] };

/**
 * Writes, with one command for however many conversations wait. Writing a conversation's document is what commits; it
 * carries the messages that are not known to be in `messages` yet, so nobody waits for them to be moved there.
 *
 * A message that is changed is committed in the same way, in its conversation's document, and moved later over the one in
 * `messages`. So that readers of `messages` need not look at that document each time, the old version is marked before
 * the commit, and the move takes the mark away: whoever finds a mark looks there, and takes the newer of the two. A mark that no
 * change follows costs such a look, no more. A transaction over both would spare all that; but one whose process is
 * killed keeps the conversation locked for a minute. Nothing goes back to an older text: what is changed was moved
 * before, inserts never overwrite, and replacements ask for an older `rev`.
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
  const waiting: Waiting[] = [];
  /** Commands under way. */
  let committing = 0;

  /** Finds what the write is to be written on, and lets it join the next command. */
  async function enqueue(entry: Waiting): Promise<void> {
    const { conversation: id, afterRev } = entry.write;
    try {
      if (afterRev > 0) {
        const log = logs.get(id);
        const known = log?.rev === afterRev;
        const pending = known ? log : await pendingOf(id);
        // An earlier attempt may have landed after its time was up.
        if ('lastRev' in pending && pending.lastRev !== afterRev) return entry.resolve(await findWrite(entry));
        entry.carried = laterThan(log?.movedRev ?? 0, pending);
        if (entry.write.changed.length > 0 || tooLong(entry.carried)) {
          await mover.move([entry.carried]);
          entry.carried = NOTHING;
        }
        if (entry.write.changed.length > 0) entry.changed = await markChanging(entry);
      }
    } catch (error) {
      return retry(entry, error);
    }
    waiting.push(entry);
    if (committing < MAX_COMMANDS) void commitAll();
  }

  /** Marks the messages that are about to be changed, and says what they are to be. */
  async function markChanging({ write, mark }: Waiting): Promise<MessageDocument[]> {
    const those = { conversation: write.conversation, seq: { $in: write.changed.map(({ seq }) => seq) } };
    const found = await messages.find(those, { session: reading }).toArray();
    const before = new Map(found.map((document) => [document.seq, document]));
    await inSession((session) => messages.updateMany(those, { $set: { changing: true } }, { session }));
    return write.changed.map((message) => {
      const document = before.get(message.seq);
      if (!document) throw new Error(`there is no message ${message.seq} to change`);
      return toDocument(message, mark, document);
    });
  }

  /** Tries again where that may help. */
  async function retry(entry: Waiting, error: unknown): Promise<void> {
    if (!(error instanceof MongoError) || performance.now() > entry.deadline) return entry.reject(error);
    await setTimeout(RETRY_MS);
    await enqueue(entry);
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
      const { matchedCount, insertedCount } = await inSession((session) =>
        conversations.bulkWrite(group.map(commitOperation), { ordered: false, session }),
      );
      if (matchedCount + insertedCount === group.length) return group.forEach(committed);
    } catch (error) {
      if (!isDuplicate(error)) failure = error;
    }
    // The answer does not say which of them were written: the documents do, but for what was moved since.
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

  /** Whether this write is in the log after all. */
  async function findWrite({ write, mark }: Waiting): Promise<boolean> {
    const seq = [...write.messages, ...write.changed][0]?.seq ?? 0;
    const [found] = await documents(write.conversation, seq, seq);
    return found !== undefined && isBy(found, mark);
  }

  return {
    /** As the port has it; rejects with the driver's error when it cannot be found out in time what became of it. */
    write(write: Write): Promise<boolean> {
      const mark = new ObjectId();
      const documents = write.messages.map((message) => toDocument(message, mark));
      return new Promise((resolve, reject) => {
        const deadline = performance.now() + WRITE_MS;
        void enqueue({ write, documents, changed: [], mark, carried: NOTHING, deadline, resolve, reject });
      });
    },
    /** What is pending in a conversation in this state; null where that is not known. */
    pendingAt(id: ConversationId, lastRev: number): Pick<Log, 'tail' | 'changed'> | null {
      const log = logs.get(id);
      return log?.rev === lastRev ? log : null;
    },
    /** Takes up what a conversation's document holds after a write, of whatever process. */
    learn(id: ConversationId, document: Partial<ConversationDocument>): void {
      const known = logs.get(id);
      const { rev = 0, movedRev = 0 } = known ?? {};
      const { lastRev, tail } = document;
      // The stream does not tell of what a write leaves as it was.
      const asBefore = rev === lastWriteOf(document)?.afterRev ? known?.changed : undefined;
      const changed = document.changed ?? asBefore;
      if (lastRev === undefined || lastRev <= rev || !Array.isArray(tail) || !Array.isArray(changed)) return;
      const log = { rev: lastRev, ...laterThan(movedRev, { tail, changed }), movedRev };
      if (lengthOf(log) > MAX_KEPT) logs.delete(id);
      else logs.set(id, { ...log, theirs: true });
    },
    /** Messages that this process wrote, and does not know to be moved. */
    unmoved(): number {
      let count = 0;
      for (const { tail, changed, theirs } of logs.values()) if (!theirs) count += tail.length + changed.length;
      return count;
    },
    moved: mover.moved,
  };
}

function tooLong({ tail, changed }: Waiting['carried']): boolean {
  return tail.length + changed.length > MAX_CARRIED.messages || lengthOf({ tail, changed }) > MAX_CARRIED.text;
}
