import { setImmediate } from 'node:timers/promises';
import type { AnyBulkWriteOperation } from 'mongodb';
import { type Collections, type MessageDocument, searchable } from '../documents.ts';

/** Incremented whenever `tokenizer.ts` makes other words of a text. */
const VERSION = 2;
/** Id of the progress document for this version. */
const PROGRESS = `words ${VERSION}`;
/** Messages read, and written, by one command. */
const BATCH = 200;

/**
 * Gives messages stored by an earlier version their words by the present rules, once per database, behind the writes:
 * until then a search misses some of them. Resumes where an earlier process ended; several processes may do it at once.
 * Ends early when `stopped` returns true.
 */
export async function backfillWords({ messages, probes }: Collections, stopped: () => boolean): Promise<void> {
  const progress = await probes.findOne({ _id: PROGRESS });
  if (progress?.done) return;
  for (let after = progress?.after ?? ''; ; ) {
    const projection = { conversation: 1, rev: 1, counts: 1, text: 1, words: 1 };
    const some = await messages.find({ _id: { $gt: after } }, { projection, sort: { _id: 1 }, limit: BATCH }).toArray();
    const updates: AnyBulkWriteOperation<MessageDocument>[] = [];
    for (const document of some) {
      const { _id, conversation, rev, words = [] } = document;
      const { words: present = [] } = searchable({ ...document, words: [] });
      // A message that has changed meanwhile has its words already.
      const filter = { _id, conversation, rev };
      if (present.join(' ') !== words.join(' '))
        updates.push({ updateOne: { filter, update: { $set: { words: present } } } });
      await setImmediate();
      if (stopped()) return;
    }
    if (updates.length > 0) await messages.bulkWrite(updates, { ordered: false });
    const last = some.at(-1);
    const position = last ? { after: last._id } : { done: true as const };
    await probes.updateOne({ _id: PROGRESS }, { $set: { at: new Date(), ...position } }, { upsert: true });
    if (!last) return;
    after = last._id;
  }
}
