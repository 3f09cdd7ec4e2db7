import type { Conversation, Instant, Member, Message, Rev, Seq, Viewer } from '../model.ts';
import { changedAfter, firstAddedAfter, systemAfter } from '../record/entries.ts';
import { changesOf, messageAsOf, stateAsOf, type Told } from '../record/past.ts';
import type { Store } from '../store/store.ts';
import { type AnyMessageView, type MessageView, viewIn } from './message-view.ts';
import type { Queries } from './queries.ts';
import { badInput } from './rules/errors.ts';
import { conversationOf } from './rules/validation.ts';
import type { Visibility } from './visibility.ts';

/** A point in the history of a conversation. */
export type AsOf = { readonly rev: Rev } | { readonly time: Instant };

/** A conversation as it stood after a change. */
export interface Snapshot extends Pick<Conversation, 'id' | 'status' | 'labels' | 'assignee' | 'lastSeq'> {
  readonly rev: Rev;
  /** Time of that change, or of the newest known change before it. */
  readonly at: Instant;
  /** The members that were present, in the order of `Conversation.members`. */
  readonly members: readonly Member[];
  /** The conversation as it is now. */
  readonly present: Conversation;
}

/** A change, and when it was made. */
interface Position {
  readonly rev: Rev;
  readonly at: Instant;
}

/** Reads of conversations as they stood. Everything is derived from the present log. */
export function createSnapshots(
  store: Store,
  visibility: Visibility,
  { firstSince, messages }: Pick<Queries, 'firstSince' | 'messages'>,
) {
  async function firstOf(conversation: Conversation, seq: Seq): Promise<Message | undefined> {
    return (await store.messages(conversation.id, seq, seq))[0];
  }

  /**
   * The newest change of the messages up to `last` that is not after `end` and `time`; the addition of that message is
   * none that comes later. Times ascend with `rev`, so it is known once the next change is.
   */
  async function newestOf(conversation: Conversation, last: Message, end: Rev, time: Instant): Promise<Position> {
    let found: Position = { rev: last.addedRev, at: last.sentAt };
    let next = end + 1;
    const isKnown = () => found.rev >= next - 1;
    if (isKnown()) return found;
    // Each change that is known is of a message with the same last change or a later one.
    const from = time === Number.POSITIVE_INFINITY && end > conversation.importedRev ? end - 1 : last.addedRev;
    for await (const page of changedAfter(store, conversation.id, from, last.seq)) {
      for (const one of page.flatMap(changesOf)) {
        if (one.rev <= found.rev || one.rev >= next) continue;
        if (one.at <= time) found = one;
        else next = one.rev;
      }
      if (isKnown()) break;
    }
    return found;
  }

  async function positionOf(conversation: Conversation, at: AsOf): Promise<Position & { lastSeq: Seq }> {
    const next =
      'rev' in at
        ? await firstAddedAfter(store, conversation, at.rev)
        : ((await firstSince(conversation, at.time + 1)) ?? conversation.lastSeq + 1);
    const lastSeq = next - 1;
    const last = await firstOf(conversation, lastSeq);
    if (!last) throw new Error(`${conversation.id} has no message ${lastSeq}`);
    if ('rev' in at)
      return { ...(await newestOf(conversation, last, at.rev, Number.POSITIVE_INFINITY)), rev: at.rev, lastSeq };
    const following = await firstOf(conversation, next);
    const end = Math.min(following ? following.addedRev - 1 : Number.POSITIVE_INFINITY, conversation.lastRev);
    return { ...(await newestOf(conversation, last, end, at.time)), lastSeq };
  }

  return {
    /**
     * The conversation as it stood; null where the viewer may not see it, or there is none.
     * @throws ChatError BAD_USER_INPUT for a point outside its history
     */
    async conversationAsOf(viewer: Viewer, conversationId: string, at: AsOf): Promise<Snapshot | null> {
      const id = conversationOf(conversationId);
      const read = async () => id && (await visibility.read('conversationAsOf', id, viewer));
      let present = await read();
      if (present && 'rev' in at && at.rev > present.lastRev) {
        // Another instance may have stored more.
        await visibility.catchUp();
        present = await read();
      }
      if (!present) return null;
      const { lastRev, createdAt } = present;
      if ('rev' in at && (at.rev < 1 || at.rev > lastRev))
        throw badInput(`\`rev\` must be between 1 and ${lastRev}; got ${at.rev}.`);
      if ('time' in at && at.time < createdAt)
        throw badInput(`\`time\` must not be before the opening at ${new Date(createdAt).toISOString()}.`);
      const position = await positionOf(present, at);
      const later: Told[] = [];
      for await (const { addedRev, record } of systemAfter(
        store,
        present.id,
        Math.max(position.rev, present.importedRev),
      )) {
        if (addedRev > lastRev) break;
        if (record?.changes) later.push({ addedRev, changes: record.changes });
      }
      return { ...position, ...stateAsOf(present, later), id: present.id, present };
    },

    /** The messages `from` to `to` of a snapshot, as they stood. */
    async messagesAsOf({ present, rev }: Snapshot, from: Seq, to: Seq): Promise<MessageView[]> {
      if (from > to) return [];
      return (await store.messages(present.id, from, to)).map((now) => standing(viewIn(present)(now), rev));
    },

    /** The message that a message replies to, as of the same time; null for none. */
    async replyTo({ conversation, replyToSeq, asOf }: AnyMessageView): Promise<AnyMessageView | null> {
      if (replyToSeq === null) return null;
      const [found] = await messages(conversation, replyToSeq, replyToSeq);
      return found ? (asOf ? standing(found, asOf.rev) : found) : null;
    },
  };
}

function standing<M extends AnyMessageView>(present: M, rev: Rev): M {
  return { ...present, ...messageAsOf(present, rev), asOf: { rev, present } };
}
