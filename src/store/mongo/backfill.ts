import type { Collections, MessageDocument } from './documents.ts';
import { searchable } from './documents.ts';

/** Messages that one command gives their words. */
const BATCH = 500;
/** What says that it is done for this database. */
const DONE = 'words';

/**
 * Gives their words to messages that a version without search stored, once for a database, while it is in use: until that
 * is done a search misses some of them. Several processes may do it at once. Ends early when `stopped` says so.
 */
export async function backfillWords({ messages, probes }: Collections, stopped: () => boolean): Promise<void> {
  if (await probes.findOne({ _id: DONE })) return;
  let batch: MessageDocument[] = [];
  const write = async () => {
    const updates = batch.map((document) => {
      const { _id, conversation, rev } = document;
      // One that has changed meanwhile has its words already.
      const filter = { _id, conversation, rev, words: { $exists: false } };
      return { updateOne: { filter, update: { $set: { words: searchable(document).words ?? [] } } } };
    });
    batch = [];
    if (updates.length > 0) await messages.bulkWrite(updates, { ordered: false });
  };
  for await (const document of messages.find({ counts: true, words: { $exists: false } })) {
    if (stopped()) return;
    if (batch.push(document) >= BATCH) await write();
  }
  await write();
  await probes.updateOne({ _id: DONE }, { $set: { at: new Date() } }, { upsert: true });
}
