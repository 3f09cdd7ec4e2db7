import type { LRUCache } from 'lru-cache';
import { type ClientSession, MongoBulkWriteError, MongoError } from 'mongodb';
import type { ConversationId, Rev } from '../../model.ts';
import { type Collections, type MessageDocument, searchable } from './documents.ts';

/** Messages that are moved with one command, except that those of one conversation go together. */
const MAX_MOVED = 500;
/** UTF-16 units of text that a conversation's document may keep after they were moved: lists and searches read it. */
export const MAX_KEPT = 10_000;

export const DUPLICATE_KEY = 11_000;

/** Runs a write in a session of its own, so that later reads see it. */
export type InSession = <T>(work: (session: ClientSession) => Promise<T>) => Promise<T>;

/** Messages in a conversation's document. */
type Carried = Pick<Log, 'tail' | 'changed'>;

/** The state of a log, as far as this process knows it. */
export interface Log {
  /** The newest `lastRev` that this process wrote, or was told of by the change stream. */
  rev: Rev;
  /** The tail and the changed messages as of `rev`, without those that this process has moved since. */
  tail: readonly MessageDocument[];
  changed: readonly MessageDocument[];
  /** A majority has in `messages` everything that was written up to this `rev`. */
  movedRev: Rev;
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
        // They stay in their documents, and are moved with the next write to any conversation.
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

  /** Removes long moved messages from the conversations' documents: for short ones it would not pay. */
  async function shrink(moved: ReadonlyMap<ConversationId, Log>): Promise<void> {
    const long = [...moved].filter(([, log]) => lengthOf(log) > MAX_KEPT);
    if (long.length === 0) return;
    const updates = long.map(([_id, { rev: lastRev }]) => ({
      // At this `lastRev` the document holds no more than was moved.
      updateOne: { filter: { _id, lastRev }, update: { $set: { tail: [], changed: [] } } },
    }));
    // Messages that stay there do no harm; the next write overwrites them.
    await conversations.bulkWrite(updates, { ordered: false }).catch(onError);
  }

  /**
   * Copies pending messages to `messages`. Idempotent: a second mover waits until a majority has the first one's copy.
   */
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
      // A new primary may still roll the other mover's copy back: only what a majority has is moved.
      await verifyMoved(added);
    }
  }

  async function replace(changed: readonly MessageDocument[]): Promise<void> {
    if (changed.length === 0) return;
    const replacements = changed.map((document) => {
      const { _id, conversation, rev } = document;
      return { replaceOne: { filter: { _id, conversation, rev: { $lt: rev } }, replacement: searchable(document) } };
    });
    await inSession((session) => messages.bulkWrite(replacements, { ordered: false, session }));
    await verifyMoved(changed);
  }

  /** Checks that a majority has these messages in `messages`, in this version or a newer one. */
  async function verifyMoved(moved: readonly MessageDocument[]): Promise<void> {
    const conversation = { $in: [...new Set(moved.map((message) => message.conversation))] };
    const those = { conversation, _id: { $in: moved.map(({ _id }) => _id) } };
    const found = await messages.find(those, { session: reading, projection: { rev: 1 } }).toArray();
    const revs = new Map(found.map(({ _id, rev }) => [_id, rev]));
    if (moved.some(({ _id, rev }) => (revs.get(_id) ?? 0) < rev))
      throw new MongoError('not all moved messages are on a majority yet');
  }

  return {
    /** Schedules the move of the messages that are pending in this conversation. */
    add(id: ConversationId): void {
      unmoved.add(id);
      moving ??= moveAll();
    },
    move,
    /** Resolves when the pending messages of all added conversations are moved, or a move has failed. */
    async moved(): Promise<void> {
      await moving;
    },
  };
}

export type Mover = ReturnType<typeof createMover>;

/** The messages that were written after a `rev`. */
export function laterThan(rev: Rev, { tail, changed }: Carried): Carried {
  const later = (message: MessageDocument) => message.rev > rev;
  return { tail: tail.filter(later), changed: changed.filter(later) };
}

export function lengthOf({ tail, changed }: Carried): number {
  return [...tail, ...changed].reduce((sum, message) => sum + textUnits(message), 0);
}

function textUnits({ text, revisions }: MessageDocument): number {
  return revisions.reduce((sum, revision) => sum + revision.text.length, text.length);
}

/** Whether every error is a duplicate key. */
export function isDuplicate(error: unknown): boolean {
  if (!(error instanceof MongoBulkWriteError) || error.result.getWriteConcernError()) return false;
  return [error.writeErrors].flat().every(({ code }) => code === DUPLICATE_KEY);
}
