import type { ClientSession, Filter } from 'mongodb';
import type { Message } from '../../model.ts';
import type { Reads, RecordStore } from '../store.ts';
import type { Beginning } from './backfill/record.ts';
import {
  type Collections,
  type ConversationDocument,
  type MessageDocument,
  toConversation,
  toMessage,
} from './documents.ts';
import type { InSession } from './mover.ts';
import { bySeq, type createReader, WITHOUT_LOG } from './reader.ts';
import { type ConversationRecord, createRegisterStore, sealedKey } from './register.ts';

/** The record's part of the port. */
export function createRecord(
  all: Collections,
  { pendingOf }: Pick<ReturnType<typeof createReader>, 'pendingOf'>,
  { ready, beginSome }: Pick<Beginning, 'ready' | 'beginSome'>,
  session: ClientSession,
  inSession: InSession,
): RecordStore {
  const { conversations, messages } = all;
  const { settled, ...register } = createRegisterStore(all, conversations, session, inSession);

  /** The first messages by `rev` for which the conditions hold, those in the conversation's document included. */
  async function newest(
    conversation: Message['conversationId'],
    filter: Filter<MessageDocument>,
    hint: string,
    isMeant: (document: MessageDocument) => boolean,
    limit: number,
  ): Promise<Message[]> {
    // In this order, messages moved out of the document meanwhile are found in `messages`.
    const { tail, changed } = await pendingOf(conversation);
    const found = await messages
      .find({ conversation, ...filter }, { session, hint })
      .sort({ rev: 1 })
      // `messages` may hold so many in their old state.
      .limit(limit + tail.length + changed.length)
      .toArray();
    return [...bySeq([...found, ...[...tail, ...changed].filter(isMeant)]).values()]
      .sort((a, b) => a.rev - b.rev)
      .slice(0, limit)
      .map(toMessage);
  }

  /** The members' positions that have moved since they were sealed. */
  function movedIn({ _id, members, record }: ReadDocument): Reads {
    const moved = members.filter(({ email, readSeq }) => readSeq > (record?.sealed?.[sealedKey(email)] ?? 0));
    return { conversation: _id, reads: moved.map(({ email, readSeq }) => [email, readSeq]) };
  }

  return {
    ...register,

    async unregistered(limit) {
      if (!(await ready())) return [];
      // The batch of a killed process would be registered twice.
      await settled();
      await beginSome(limit);
      const marked = { 'record.unregistered': { $exists: true }, importedRev: { $exists: true } };
      const found = await conversations
        .find(marked, { session, projection: WITHOUT_LOG })
        .sort({ 'record.unregistered': 1 })
        .limit(limit)
        .toArray();
      return found.map((document) => ({
        state: toConversation(document),
        registeredRev: document.record?.registeredRev ?? 0,
      }));
    },

    async unsealed(limit) {
      if (!(await ready())) return [];
      await settled();
      for (;;) {
        const projection = { 'members.email': 1, 'members.readSeq': 1, record: 1 };
        const found = await conversations
          .find<ReadDocument>({ 'record.unsealed': { $exists: true } }, { session, projection })
          .sort({ 'record.unsealed': 1 })
          .limit(limit)
          .toArray();
        const all = found.map((document) => ({ document, moved: movedIn(document) }));
        const unmoved = all.filter(({ moved }) => moved.reads.length === 0).map(({ document }) => document);
        const unmark = unmoved.map(({ _id, record }) => ({
          updateOne: {
            // No position has moved since.
            filter: { _id, 'record.unsealed': record?.unsealed ?? null },
            update: { $unset: { 'record.unsealed': '' as const } },
          },
        }));
        if (unmark.length > 0)
          await inSession((session) => conversations.bulkWrite(unmark, { ordered: false, session }));
        const some = all.map(({ moved }) => moved).filter(({ reads }) => reads.length > 0);
        if (some.length > 0 || found.length < limit) return some;
      }
    },

    async marks(id) {
      await settled();
      const projection = { 'members.email': 1, 'members.readSeq': 1, record: 1, importedRev: 1 };
      const found = await conversations.findOne<ReadDocument>({ _id: id }, { session, projection });
      if (!found) return { unregistered: false, reads: [] };
      const { record, importedRev } = found;
      // The record may not have begun for it.
      const isBegun = importedRev !== undefined && record !== undefined;
      const { reads } = movedIn(found);
      return {
        unregistered: !isBegun || record.unregistered !== undefined,
        reads: !isBegun || record.unsealed !== undefined ? reads : [],
      };
    },

    changedMessages(id, afterRev, seq, limit) {
      const filter = { rev: { $gt: afterRev }, seq: { $lte: seq }, addedRev: { $exists: true } };
      const isMeant = (document: MessageDocument) =>
        document.rev > afterRev && document.seq <= seq && document.addedRev !== undefined;
      return newest(id, filter, 'changed', isMeant, limit);
    },

    // Nothing changes a SYSTEM message: its `rev` is that of its addition.
    systemMessages(id, afterRev, limit) {
      const filter = { kind: 'SYSTEM', rev: { $gt: afterRev } } as const;
      const isMeant = ({ kind, rev }: MessageDocument) => kind === 'SYSTEM' && rev > afterRev;
      return newest(id, filter, 'system', isMeant, limit);
    },
  };
}

/** A conversation's document as `unsealed` projects it. */
interface ReadDocument extends Pick<ConversationDocument, '_id' | 'importedRev'> {
  readonly members: readonly Pick<ConversationDocument['members'][number], 'email' | 'readSeq'>[];
  readonly record?: ConversationRecord;
}
