import type { ClientSession } from 'mongodb';
import type { ConversationId, EmailAddress, Member, Seq } from '../../../model.ts';
import type { Store } from '../../store.ts';
import { changesOf } from '../../unread-counters.ts';
import { type Collections, type CountedDocument, countedFor, type MessageDocument } from '../documents.ts';

/** How many messages a member has seen, of a log with this number of `changes`. */
export interface SeenAt {
  readonly own: Pick<Member, 'readSeq' | 'readAt' | 'role' | 'leftAt'>;
  readonly changes: number;
  readonly seen: number;
}

/** Counts and finds unread messages, in `messages` and in the conversations' documents. */
export function createUnread(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  session: ClientSession,
) {
  /**
   * The state of a conversation and its reader, and how many messages of other senders up to `seq` count as unread;
   * null for a reader that is no member. Counts those after `seq`: in `messages` before the tail, except for changed
   * ones, and in the pending messages.
   */
  async function seenAt(id: ConversationId, reader: EmailAddress, seq: Seq): Promise<SeenAt | null> {
    const document = await counted(id, reader);
    const own = document?.own[0];
    if (!document || !own) return null;
    const { tail, changed = [], lastSeq } = document;
    const tailFrom = tail[0]?.seq ?? lastSeq + 1;
    const pending = [...tail, ...changed].filter(isUnread(reader, seq)).length;
    const between = { $gt: seq, $lt: tailFrom, ...(changed.length > 0 && { $nin: changed.map(({ seq }) => seq) }) };
    const before = { conversation: id, counts: true, seq: between, sender: { $ne: reader } };
    const after = pending + (seq >= tailFrom - 1 ? 0 : await messages.countDocuments(before, { session }));
    return { own, changes: changesOf(document), seen: document.counted - own.sent - after };
  }

  function counted(id: ConversationId, reader: EmailAddress): Promise<CountedDocument | null> {
    return conversations.findOne<CountedDocument>({ _id: id }, { session, projection: countedFor(reader) });
  }

  const firstUnread: Store['firstUnread'] = async (id, reader) => {
    const document = await counted(id, reader);
    const readSeq = document?.own[0]?.readSeq;
    if (!document || readSeq === undefined) return null;
    const { tail, changed = [] } = document;
    const seq = { $gt: readSeq, ...(changed.length > 0 && { $nin: changed.map(({ seq }) => seq) }) };
    const unread = { conversation: id, counts: true, seq, sender: { $ne: reader } };
    const first = await messages.find(unread, { session }).sort({ seq: 1 }).limit(1).next();
    // Any part of the tail may be in `messages` already.
    const pending = [...tail, ...changed].filter(isUnread(reader, readSeq));
    const seqs = [...pending, ...(first ? [first] : [])].map(({ seq }) => seq);
    return seqs.length > 0 ? Math.min(...seqs) : null;
  };

  return { seenAt, firstUnread };
}

function isUnread(
  reader: EmailAddress,
  readSeq: Seq,
): (message: Pick<MessageDocument, 'seq' | 'sender' | 'counts'>) => boolean {
  return ({ seq, sender, counts }) => counts && seq > readSeq && sender !== reader;
}
