import type { EmailAddress, Seq } from '../../../model.ts';
import type { Collections, ConversationDocument } from '../documents.ts';

/** Id of the progress document: done when every conversation has its counters. */
const PROGRESS = 'counters';
/** Conversations counted with one query. */
const BATCH = 100;

type Found = Pick<ConversationDocument, '_id' | 'lastRev' | 'members' | 'tail' | 'changed'>;

/**
 * Gives conversations opened by an earlier version their unread counters, once per database, before it is served.
 * Several processes may do it at once. An earlier version that goes on writing does not maintain the counters.
 */
export async function backfillCounters({ conversations, messages, probes }: Collections): Promise<void> {
  if ((await probes.findOne({ _id: PROGRESS }))?.done) return;
  const projection = { lastRev: 1, members: 1, tail: 1, changed: 1 };
  // Conversations that changed while they were counted are found again.
  for (let changedMeanwhile = 1; changedMeanwhile > 0; ) {
    changedMeanwhile = 0;
    for (let after = ''; ; ) {
      const without = { _id: { $gt: after as Found['_id'] }, counted: { $exists: false } };
      const found = await conversations.find<Found>(without, { projection, sort: { _id: 1 }, limit: BATCH }).toArray();
      const last = found.at(-1);
      if (!last) break;
      after = last._id;
      const tallies = new Map(found.map((document) => [document._id, createTally(document)]));
      const counting = { conversation: { $in: [...tallies.keys()] }, counts: true };
      const fields = { _id: 0, conversation: 1, seq: 1, sender: 1 };
      const log = messages.find(counting, { projection: fields, sort: { conversation: 1, seq: 1 } });
      for await (const { conversation, seq, sender } of log) tallies.get(conversation)?.add(seq, sender);
      const updates = found.map(({ _id, lastRev, members }) => ({
        // Nothing was written, and nothing read, since.
        updateOne: { filter: { _id, lastRev, members }, update: { $set: tallies.get(_id)?.counters() ?? {} } },
      }));
      const { matchedCount } = await conversations.bulkWrite(updates, { ordered: false });
      changedMeanwhile += updates.length - matchedCount;
    }
  }
  await probes.updateOne({ _id: PROGRESS }, { $set: { at: new Date(), done: true } }, { upsert: true });
}

/** Counts for one conversation: `add` takes its messages that count as unread, ascending, and skips pending ones. */
function createTally({ members, tail, changed = [] }: Found) {
  const pending = new Map([...tail, ...changed].map((message) => [message.seq, message]));
  const sent = new Map<EmailAddress, number>();
  const seen = new Map<EmailAddress, number>();
  const readers = [...members].sort((a, b) => a.readSeq - b.readSeq);
  let counted = 0;
  let read = 0;

  const of = (counts: Map<EmailAddress, number>, email: EmailAddress) => counts.get(email) ?? 0;
  /** Members that have read no further than `seq` have seen the messages counted so far. */
  function readTo(seq: Seq): void {
    for (let next = readers[read]; next && next.readSeq < seq; next = readers[++read])
      seen.set(next.email, counted - of(sent, next.email));
  }
  function count(sender: EmailAddress): void {
    counted++;
    sent.set(sender, of(sent, sender) + 1);
  }

  return {
    add(seq: Seq, sender: EmailAddress): void {
      if (pending.has(seq)) return;
      readTo(seq);
      count(sender);
    },
    /** The fields of the conversation's document. */
    counters(): Pick<ConversationDocument, 'counted' | 'members'> {
      readTo(Number.POSITIVE_INFINITY);
      for (const { seq, sender, counts } of pending.values()) {
        if (!counts) continue;
        count(sender);
        for (const { email, readSeq } of members)
          if (readSeq >= seq && email !== sender) seen.set(email, of(seen, email) + 1);
      }
      return {
        counted,
        members: members.map((one) => ({ ...one, sent: of(sent, one.email), seen: of(seen, one.email) })),
      };
    },
  };
}
