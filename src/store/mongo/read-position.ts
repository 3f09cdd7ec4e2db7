import { type Collection, MongoError, ObjectId } from 'mongodb';
import type { ReadMoved, Store } from '../store.ts';
import { changesOf } from '../unread-counters.ts';
import type { ConversationDocument } from './documents.ts';
import type { InSession } from './mover.ts';
import type { createUnread, SeenAt } from './queries/unread.ts';

/** Attempts to move a position while messages are changed, each of which may be a redaction. */
const ATTEMPTS = 20;

/**
 * Moves read positions. The number of messages seen up to the new position is counted first, and written on condition
 * that no message has been changed since. For the last message it follows from the counters of any state.
 */
export function createAdvanceReadPosition(
  conversations: Collection<ConversationDocument>,
  { seenAt }: Pick<ReturnType<typeof createUnread>, 'seenAt'>,
  inSession: InSession,
  wake: (wakeUp: ReadMoved, position: string) => void,
): Store['advanceReadPosition'] {
  return async (id, reader, seq, role, known, at = null) => {
    const own = known?.lastSeq === seq ? known.members.get(reader) : undefined;
    let state: SeenAt | null =
      known && own ? { own, changes: changesOf(known), seen: known.counted - own.sent } : await seenAt(id, reader, seq);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (!state || state.own.leftAt !== null || state.own.readSeq > seq) return false;
      if (state.own.readSeq === seq && (role === null || state.own.role === role)) return false;
      const { changes, seen } = state;
      const moves = state.own.readSeq < seq;
      const differs = moves ? { readSeq: { $lt: seq } } : { readSeq: seq, role: { $ne: role } };
      const filter = {
        _id: id,
        members: { $elemMatch: { email: reader, leftAt: null, ...differs } },
        $expr: { $eq: [{ $subtract: ['$lastRev', '$lastSeq'] }, changes] },
      };
      const readAt = moves ? at : (state.own.readAt ?? null);
      const moved = { member: reader, readSeq: seq, readAt, seen, changes, role };
      const mark = new ObjectId();
      const set = {
        ...{ 'members.$.readSeq': seq, 'members.$.seen': seen, read: { ...moved, mark } },
        ...(moves && { 'members.$.readAt': at, 'record.unsealed': mark }),
        ...(role !== null && { 'members.$.role': role }),
      };
      const { modifiedCount } = await inSession((session) =>
        conversations.updateOne(filter, { $set: set }, { session }),
      );
      if (modifiedCount > 0) {
        wake({ kind: 'read', conversation: id, ...moved }, String(mark));
        return true;
      }
      state = await seenAt(id, reader, seq);
    }
    throw new MongoError(`the read position was not moved: messages changed during each of ${ATTEMPTS} attempts`);
  };
}
