import { type AnyBulkWriteOperation, type ClientSession, ObjectId } from 'mongodb';
import type { ConversationId } from '../../../model.ts';
import { begin } from '../../../record/entry.ts';
import { type Collections, type ConversationDocument, type MessageDocument, toMessage } from '../documents.ts';
import type { Instances } from '../instances.ts';
import type { InSession, Mover } from '../mover.ts';

/** Id of the progress document: done when every conversation is in the record, or marked for it. */
const PROGRESS = 'record';
/** Conversations marked by one command. */
const MARKED = 1000;
/** Messages that one call begins at most, and by one command. */
const [MESSAGES, PAGE] = [5000, 500];
/** Attempts to begin with a conversation while its log moves. */
const ATTEMPTS = 20;

/**
 * Begins the record of conversations that an earlier version wrote. It would drop salts where it edits a message: so
 * nothing begins before the last instance of it is gone.
 *
 * First each message gets its record, in the order of `rev`; it stays without one where it is changed meanwhile, and
 * comes again with its later `rev`. Then `importedRev` is set, on condition that the log has not moved since the last
 * message got its record. From then on no change is committed that was decided on a message without one.
 */
export function createBeginning(
  { conversations, messages, probes }: Pick<Collections, 'conversations' | 'messages' | 'probes'>,
  instances: Pick<Instances, 'allKnow'>,
  { move }: Pick<Mover, 'move'>,
  session: ClientSession,
  inSession: InSession,
) {
  let begun = false;

  /** Whether conversations that are opened now are in the record from their first message on. */
  async function hasBegun(): Promise<boolean> {
    begun ||= (await probes.findOne({ _id: PROGRESS }))?.done ?? false;
    return begun;
  }

  /** Marks all conversations without a record, once per database. Several processes may do it at once. */
  async function markAll(): Promise<void> {
    const without = { importedRev: { $exists: false } };
    for (let after: ConversationId | '' = ''; ; ) {
      const some = await conversations
        .find({ _id: { $gt: after as ConversationId }, ...without }, { session, projection: { _id: 1 } })
        .sort({ _id: 1 })
        .limit(MARKED)
        .toArray();
      const last = some.at(-1);
      if (!last) break;
      after = last._id;
      const those = { _id: { $in: some.map(({ _id }) => _id) }, ...without };
      const marks = { 'record.unbegun': true, 'record.unsealed': new ObjectId() } as const;
      await inSession((session) => conversations.updateMany(those, { $set: marks }, { session }));
    }
    const done = { $set: { at: new Date(), done: true } } as const;
    await inSession((session) => probes.updateOne({ _id: PROGRESS }, done, { upsert: true, session }));
    begun = true;
  }

  /** Begins with a conversation, as far as the budget of messages goes; returns what is left of it. */
  async function beginWith(_id: ConversationId, budget: number): Promise<number> {
    let left = budget;
    for (let attempt = 1; attempt <= ATTEMPTS && left > 0; attempt++) {
      const projection = { tail: 1, changed: 1, lastRev: 1, importedRev: 1, record: 1 };
      type Found = Pick<ConversationDocument, 'tail' | 'changed' | 'lastRev' | 'importedRev' | 'record'>;
      const found = await conversations.findOne<Found>({ _id }, { session, projection });
      if (!found || found.importedRev !== undefined) break;
      const { tail, changed = [], lastRev, record } = found;
      // Messages up to `lastRev` are then in `messages` alone, where they get their record.
      await move([{ tail, changed }]);
      let saltedRev = record?.saltedRev ?? 0;
      while (saltedRev < lastRev && left > 0) {
        const page = await messages
          .find({ conversation: _id, rev: { $gt: saltedRev, $lte: lastRev } }, { session })
          .sort({ rev: 1 })
          .limit(Math.min(PAGE, left))
          .toArray();
        const updates = page.filter((document) => !document.record).map(salting);
        if (updates.length > 0) await inSession((session) => messages.bulkWrite(updates, { ordered: false, session }));
        left -= Math.max(1, page.length);
        saltedRev = page.at(-1)?.rev ?? lastRev;
        const progress = { $max: { 'record.saltedRev': saltedRev } };
        await inSession((session) => conversations.updateOne({ _id }, progress, { session }));
      }
      if (saltedRev < lastRev) break;
      const unmoved = { _id, lastRev, importedRev: { $exists: false } };
      const begins = {
        $set: { ...{ importedRev: lastRev, tail: [], changed: [] }, 'record.unregistered': new ObjectId() },
        $unset: { 'record.unbegun': '' as const, 'record.saltedRev': '' as const },
      };
      await inSession((session) => conversations.updateOne(unmoved, begins, { session }));
    }
    return left;
  }

  return {
    hasBegun,

    /** Whether the record may go on now. */
    async ready(): Promise<boolean> {
      if (!(await instances.allKnow('record'))) return false;
      if (!(await hasBegun())) await markAll();
      return true;
    },

    /** Begins with some of the conversations that are marked for it, at most `limit`. */
    async beginSome(limit: number): Promise<void> {
      const marked = { 'record.unbegun': { $exists: true } };
      const some = await conversations
        .find(marked, { session, projection: { _id: 1 } })
        .limit(limit)
        .toArray();
      let left = MESSAGES;
      for (const { _id } of some) {
        if (left <= 0) break;
        left = await beginWith(_id, left);
      }
    },
  };
}

export type Beginning = ReturnType<typeof createBeginning>;

/** Gives a message its record, unless it has one by now or has changed. */
function salting(document: MessageDocument): AnyBulkWriteOperation<MessageDocument> {
  const { _id, conversation, rev } = document;
  const { record, revisions } = begin(toMessage(document));
  const filter = { _id, conversation, rev, record: { $exists: false } };
  const set = { ...(record && { record }), revisions: [...revisions] };
  return { updateOne: { filter, update: { $set: set, $unset: { firstTextHash: '' } } } };
}
