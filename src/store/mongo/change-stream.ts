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
 * Reports every change of a conversation, by any process, as a hint. A stream that breaks is opened again from now,
 * without a resume token: changes in between are lost, and listeners read the present state.
 * @param wake called for each change; `position` identifies it in its conversation: the new `lastRev`, or a mark
 * @param learn called before `wake` when a log changes: with its fields in the document, and the time of the change
 * @param lost called each time the stream is open again
 * @returns `opened` resolves when the stream is open for the first time, or could not be opened; state read before may
 * be outdated
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
  let markOpened = (): void => {};
  const opened = new Promise<void>((resolve) => {
    markOpened = resolve;
  });

  function report(change: ChangeStreamDocument<ConversationDocument>): void {
    if (change.operationType === 'insert' || change.operationType === 'replace') {
      reportLog(change.documentKey._id, change.fullDocument, change.clusterTime);
    } else if (change.operationType === 'update') {
      const conversation = change.documentKey._id;
      const fields = change.updateDescription.updatedFields ?? {};
      const { read, view, typing } = fields;
      if (read) {
        // An earlier version does not say when.
        const { mark, member, readSeq, readAt = null, ...rest } = read;
        wake({ kind: 'read', conversation, member, readSeq, readAt, ...rest }, String(mark));
      }
      if (view) wake({ kind: 'view', conversation, member: view.by }, String(view.mark));
      if (typing) wake({ kind: 'typing', conversation, member: typing.by, typing: typing.on }, String(typing.mark));
      const { lastRev, written } = fields;
      const whole = lastWriteOf(fields)?.computed ? { lastRev, written } : fields;
      if (lastRev) reportLog(conversation, whole as typeof fields, change.clusterTime);
    }
  }

  function reportLog(
    conversation: ConversationId,
    document: Partial<ConversationDocument>,
    since: Timestamp | undefined,
  ): void {
    learn(conversation, document, since);
    const last = lastWriteOf(document);
    const write = last && toWrite(conversation, last, document);
    wake(logChanged(conversation, write, last?.members), String(document.lastRev));
  }

  const running = (async () => {
    while (!closed) {
      try {
        stream = conversations.watch(
          [
            // An update by a pipeline is reported as a replacement.
            { $match: { operationType: { $in: ['insert', 'update', 'replace'] } } },
            {
              $project: {
                ...{ documentKey: 1, operationType: 1, clusterTime: 1 },
                ...projectionOf('fullDocument', LOG),
                ...projectionOf('updateDescription.updatedFields', [...LOG, 'read', 'view', 'typing']),
              },
            },
          ],
          { maxAwaitTimeMS: AWAIT_MS },
        );
        // The answer to the opening holds the first token; later changes are not lost.
        stream.once('resumeTokenChanged', markOpened);
        const first = await stream.tryNext();
        // State read before may be outdated.
        if (reopens) lost();
        if (first) report(first);
        for await (const change of stream) report(change);
      } catch (error) {
        if (!closed) onError(error);
      } finally {
        await stream?.close().catch(() => {});
      }
      reopens = true;
      markOpened();
      if (!closed) await setTimeout(REOPEN_MS);
    }
  })();

  return {
    opened,
    async close(): Promise<void> {
      closed = true;
      await stream?.close().catch(() => {});
      await running;
    },
  };
}

/** A projection to these fields of a part of the event. */
function projectionOf(part: string, fields: readonly string[]): Record<string, 1> {
  return Object.fromEntries(fields.map((field) => [`${part}.${field}`, 1]));
}
