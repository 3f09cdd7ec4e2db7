import { setTimeout } from 'node:timers/promises';
import type { ChangeStream, ChangeStreamDocument, Collection, Timestamp } from 'mongodb';
import type { ConversationId } from '../../model.ts';
import { logChanged, type WakeUp } from '../store.ts';
import { type ConversationDocument, lastWriteOf, toWrite } from './documents.ts';

/** Delay before a broken stream is opened again, in milliseconds. */
const REOPEN_MS = 250;
/** How long the server holds back an answer without changes, in milliseconds: a stop waits for it too. */
const AWAIT_MS = 200;

/** The fields of a document that hold the last write to its log. */
const LOG = ['lastRev', 'written', 'tail', 'changed'];

/**
 * Tells of every conversation that changes, in any process, as a hint: when the stream breaks it is opened again from
 * now, without a resume token. Each time it opens again `lost` is called, and listeners that need the state read it by
 * position. `opened` resolves when it is open for the first time, or could not be opened: nothing is to be read before.
 * `position` names the change: the new `lastRev`, or a mark that is its own. `learn` is told what a document
 * holds of its log, as far as the stream says, and since when.
 */
export function openChangeStream(
  conversations: Collection<ConversationDocument>,
  wake: (wakeUp: WakeUp, position: string) => void,
  learn: (id: ConversationId, document: Partial<ConversationDocument>, since: Timestamp | undefined) => void,
  lost: () => void,
  onError: (error: unknown) => void,
) {
  let closed = false;
  let stream: ChangeStream<ConversationDocument> | null = null;
  let reopens = false;
  let isOpen = (): void => {};
  const opened = new Promise<void>((resolve) => {
    isOpen = resolve;
  });

  function tell(change: ChangeStreamDocument<ConversationDocument>): void {
    if (change.operationType === 'insert' || change.operationType === 'replace') {
      tellOfLog(change.documentKey._id, change.fullDocument, change.clusterTime);
    } else if (change.operationType === 'update') {
      const conversation = change.documentKey._id;
      const fields = change.updateDescription.updatedFields ?? {};
      const { read, view, typing } = fields;
      if (read) {
        const { mark, ...moved } = read;
        wake({ kind: 'read', conversation, ...moved }, String(mark));
      }
      if (view) wake({ kind: 'view', conversation, member: view.by }, String(view.mark));
      if (typing) wake({ kind: 'typing', conversation, member: typing.by, typing: typing.on }, String(typing.mark));
      const { lastRev, written } = fields;
      const whole = lastWriteOf(fields)?.computed ? { lastRev, written } : fields;
      if (lastRev) tellOfLog(conversation, whole as typeof fields, change.clusterTime);
    }
  }

  function tellOfLog(
    conversation: ConversationId,
    document: Partial<ConversationDocument>,
    since: Timestamp | undefined,
  ): void {
    learn(conversation, document, since);
    const last = lastWriteOf(document);
    const write = last && toWrite(conversation, last, document);
    wake(logChanged(conversation, write, last?.members), String(document.lastRev));
  }

  const following = (async () => {
    while (!closed) {
      try {
        stream = conversations.watch(
          [
            // An update by a pipeline is reported as a replacement.
            { $match: { operationType: { $in: ['insert', 'update', 'replace'] } } },
            {
              $project: {
                ...{ documentKey: 1, operationType: 1, clusterTime: 1 },
                ...told('fullDocument', LOG),
                ...told('updateDescription.updatedFields', [...LOG, 'read', 'view', 'typing']),
              },
            },
          ],
          { maxAwaitTimeMS: AWAIT_MS },
        );
        // The answer to the opening holds the first token; later changes are not lost.
        stream.once('resumeTokenChanged', isOpen);
        const first = await stream.tryNext();
        // State read before may be outdated.
        if (reopens) lost();
        if (first) tell(first);
        for await (const change of stream) tell(change);
      } catch (error) {
        if (!closed) onError(error);
      } finally {
        await stream?.close().catch(() => {});
      }
      reopens = true;
      isOpen();
      if (!closed) await setTimeout(REOPEN_MS);
    }
  })();

  return {
    opened,
    async close(): Promise<void> {
      closed = true;
      await stream?.close().catch(() => {});
      await following;
    },
  };
}

/** A projection to these fields of a part of the event. */
function told(part: string, fields: readonly string[]): Record<string, 1> {
  return Object.fromEntries(fields.map((field) => [`${part}.${field}`, 1]));
}
