import { setTimeout } from 'node:timers/promises';
import type { ChangeStream, ChangeStreamDocument, Collection } from 'mongodb';
import type { WakeUp } from '../store.ts';
import type { ConversationDocument } from './documents.ts';

/** Before a stream that broke is opened again, in milliseconds. */
const REOPEN_MS = 250;
/** How long the server holds an answer back that has no news, in milliseconds: a stop waits for it too. */
const AWAIT_MS = 200;

/**
 * Tells of every conversation that changes, in any process, as a hint: when the stream breaks it is opened again from
 * now, without a resume token, `lost` is called, and whoever needs the truth reads it by position. `position` names the
 * change: the new `lastRev`, or who read how far.
 */
export function watchConversations(
  conversations: Collection<ConversationDocument>,
  wake: (wakeUp: WakeUp, position: string) => void,
  lost: () => void,
  onError: (error: unknown) => void,
) {
  let closed = false;
  let stream: ChangeStream<ConversationDocument> | null = null;

  function tell(change: ChangeStreamDocument<ConversationDocument>): void {
    if (change.operationType === 'insert') {
      wake({ conversation: change.documentKey._id }, String(change.fullDocument.lastRev));
    } else if (change.operationType === 'update') {
      const conversation = change.documentKey._id;
      const { read, lastRev } = change.updateDescription.updatedFields ?? {};
      if (read) wake({ conversation, reader: read.by }, `${read.by} ${read.seq}`);
      if (lastRev) wake({ conversation }, String(lastRev));
    }
  }

  const following = (async () => {
    for (let broken = false; !closed; broken = true) {
      try {
        stream = conversations.watch(
          [
            { $match: { operationType: { $in: ['insert', 'update'] } } },
            {
              $project: {
                documentKey: 1,
                operationType: 1,
                'fullDocument.lastRev': 1,
                'updateDescription.updatedFields.lastRev': 1,
                'updateDescription.updatedFields.read': 1,
              },
            },
          ],
          { maxAwaitTimeMS: AWAIT_MS },
        );
        // Resolves once the stream is open: whatever comes after that is not lost.
        const first = await stream.tryNext();
        if (broken) lost();
        if (first) tell(first);
        for await (const change of stream) tell(change);
      } catch (error) {
        if (!closed) onError(error);
      } finally {
        await stream?.close().catch(() => {});
      }
      if (!closed) await setTimeout(REOPEN_MS);
    }
  })();

  return {
    async close(): Promise<void> {
      closed = true;
      await stream?.close().catch(() => {});
      await following;
    },
  };
}
