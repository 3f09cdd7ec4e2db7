import type { LRUCache } from 'lru-cache';
import { type ClientSession, MongoBulkWriteError, MongoError } from 'mongodb';
import type { ConversationId } from '../../model.ts';
import { type Collections, type MessageDocument, searchable } from './documents.ts';

/** Messages that are moved with one command, except that those of one conversation go together. */
const MAX_MOVED = 500;
/** UTF-16 units of text that a conversation's document may keep after they were moved: lists and searches read it. */
export const MAX_KEPT = 10_000;

const DUPLICATE_KEY = 11_000;

/** Runs a write in a session of its own, so that later reads see it. */
export type InSession = <T>(work: (session: ClientSession) => Promise<T>) => Promise<T>;

/** What a conversation's document holds of its log. */
type Carried = Pick<Log, 'tail' | 'changed'>;

/** What this process knows of a log. */
export interface Log {
  /** The newest `lastRev` that this process wrote, or was told of by the change stream. */
  rev: number;
  /** The tail and the changed messages as of `rev`, without those that this process has moved since. */
  tail: readonly MessageDocument[];
  changed: readonly MessageDocument[];
  /** A majority has in `messages` everything that was written up to this `rev`. */
  movedRev: number;
  /** True where another process wrote last, and moves what it wrote. */
  readonly theirs?: true;
}

/** Moves committed messages from their conversations' documents to `messages`, behind the writes. */
export function createMover(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  logs: LRUCache<ConversationId, Log>,
  reading: ClientSession,
  inSession: InSession,
  onError: (error: unknown) => void,
) {
  /** Conversations with something to move. */
  const unmoved = new Set<ConversationId>();
  let moving: Promise<void> | null = null;

  async function moveAll(): Promise<void> {
    while (unmoved.size > 0) {
      const taken = new Map<ConversationId, Log>();
      let count = 0;
      for (const id of unmoved) {
        const log = logs.get(id);
        count += (log?.tail.length ?? 0) + (log?.changed.length ?? 0);
        if (count > MAX_MOVED && taken.size > 0) break;
        if (log) taken.set(id, { ...log });
        unmoved.delete(id);
      }
      try {
        await move([...taken.values()]);
      } catch (error) {
        // They stay where they are, and are tried again with the next write to any conversation.
        for (const id of taken.keys()) unmoved.add(id);
        onError(error);
        break;
      }
      await shrink(taken);
      for (const [id, { rev }] of taken) {
        const log = logs.get(id);
        if (!log) continue;
        log.movedRev = Math.max(log.movedRev, rev);
        Object.assign(log, laterThan(log.movedRev, log));
      }
    }
    moving = null;
  }

  /** Takes what was moved out of the conversations' documents where it is long: for little it would not pay. */
  async function shrink(moved: ReadonlyMap<ConversationId, Log>): Promise<void> {
    const long = [...moved].filter(([, log]) => lengthOf(log) > MAX_KEPT);
    if (long.length === 0) return;
    const updates = long.map(([_id, { rev: lastRev }]) => ({
      // Nothing was written since: it holds no more than what was moved.
      updateOne: { filter: { _id, lastRev }, update: { $set: { tail: [], changed: [] } } },
    }));
    // What stays there does no harm, and is overwritten with the next write.
    await conversations.bulkWrite(updates, { ordered: false }).catch(onError);
  }

  /** Copies what is pending to `messages`. Idempotent: whoever comes second finds it there, and waits until it is there to stay. */
  async function move(pending: readonly Carried[]): Promise<void> {
    await insert(pending.flatMap(({ tail }) => tail));
    await replace(pending.flatMap(({ changed }) => changed));
  }

  async function insert(added: readonly MessageDocument[]): Promise<void> {
    if (added.length === 0) return;
    try {
      await inSession((session) => messages.insertMany(added.map(searchable), { ordered: false, session }));
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      // What is in the way may still be undone by a new primary: only what a majority has is moved.
      await present(added);
    }
  }

  async function replace(changed: readonly MessageDocument[]): Promise<void> {
    if (changed.length === 0) return;
    const replacements = changed.map((document) => {
      const { _id, conversation, rev } = document;
      return { replaceOne: { filter: { _id, conversation, rev: { $lt: rev } }, replacement: searchable(document) } };
    });
    await inSession((session) => messages.bulkWrite(replacements, { ordered: false, session }));
    await present(changed);
  }

  /** Makes sure that a majority has these messages in `messages`, as they are or as they have become since. */
  async function present(moved: readonly MessageDocument[]): Promise<void> {
    const conversation = { $in: [...new Set(moved.map((message) => message.conversation))] };
    const those = { conversation, _id: { $in: moved.map(({ _id }) => _id) } };
    const found = await messages.find(those, { session: reading, projection: { rev: 1 } }).toArray();
    const revs = new Map(found.map(({ _id, rev }) => [_id, rev]));
    if (moved.some(({ _id, rev }) => (revs.get(_id) ?? 0) < rev))
      throw new MongoError('What is to be moved is not on a majority yet.');
  }

  return {
    /** Moves what is pending in this conversation soon. */
    add(id: ConversationId): void {
      unmoved.add(id);
      moving ??= moveAll();
    },
    move,
    /** Resolves when everything that was added is moved, as far as it can be. */
    async moved(): Promise<void> {
      await moving;
    },
  };
}

/** The messages that were written after a `rev`. */
export function laterThan(rev: number, { tail, changed }: Carried): Carried {
  const later = (message: MessageDocument) => message.rev > rev;
  return { tail: tail.filter(later), changed: changed.filter(later) };
}

export function lengthOf({ tail, changed }: Carried): number {
  return [...tail, ...changed].reduce((sum, message) => sum + textLength(message), 0);
}

function textLength({ text, revisions }: MessageDocument): number {
  return revisions.reduce((sum, revision) => sum + revision.text.length, text.length);
}

/** Whether all that went wrong is that something is there already. */
export function isDuplicate(error: unknown): boolean {
  if (!(error instanceof MongoBulkWriteError) || error.result.getWriteConcernError()) return false;
  return [error.writeErrors].flat().every(({ code }) => code === DUPLICATE_KEY);
}
