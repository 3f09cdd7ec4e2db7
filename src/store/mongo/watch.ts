import type { ChangeStream, ChangeStreamDocument, Collection } from 'mongodb';
import type { EmailAddress } from '../../model.ts';
import type { WakeUp } from '../store.ts';
import type { ConversationDocument } from './documents.ts';

/** Before a stream that broke is opened again, in milliseconds. */
const REOPEN_MS = 250;

/**
 * Tells of every conversation that changes, in any process, as a hint: when the stream breaks it is opened again from
 * now, without a resume token, and whoever needs the truth reads it by position.
 */
export function watchConversations(
  conversations: Collection<ConversationDocument>,
  wake: (wakeUp: WakeUp) => void,
  onError: (error: unknown) => void,
) {
  let closed = false;
  let stream: ChangeStream<ConversationDocument> | null = null;

  const following = (async () => {
    while (!closed) {
      try {
        stream = conversations.watch(
          [
            { $match: { operationType: { $in: ['insert', 'update'] } } },
            { $project: { documentKey: 1, operationType: 1, 'updateDescription.updatedFields.read': 1 } },
          ],
          // Waits on the server less long than a socket may be silent.
          { maxAwaitTimeMS: 1000 },
        );
        for await (const change of stream) wake(wakeUp(change));
      } catch (error) {
        if (!closed) onError(error);
      } finally {
        await stream?.close().catch(() => {});
      }
      if (!closed) await new Promise((resolve) => setTimeout(resolve, REOPEN_MS));
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

function wakeUp(change: ChangeStreamDocument<ConversationDocument>): WakeUp {
  if (change.operationType !== 'insert' && change.operationType !== 'update')
    throw new Error(`unexpected ${change.operationType}`);
  const conversation = change.documentKey._id;
  const reader = change.operationType === 'update' ? change.updateDescription?.updatedFields?.read?.by : undefined;
  return reader === undefined ? { conversation } : { conversation, reader: reader as EmailAddress };
}
