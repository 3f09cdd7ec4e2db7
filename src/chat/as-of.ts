import type { Conversation, Instant, Member, Message, Rev, Seq, Viewer } from '../model.ts';
import { firstAddedAfter } from '../record/entries.ts';
import { changesOf, messageAsOf, stateAsOf } from '../record/past.ts';
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

/** Reads of conversations as they stood. Everything is derived from the present log. */
export function createSnapshots(
  store: Store,
  visibility: Visibility,
  { firstSince, messages }: Pick<Queries, 'firstSince' | 'messages'>,
) {
  async function firstOf(conversation: Conversation, seq: Seq): Promise<Message | undefined> {
    return (await store.messages(conversation.id, seq, seq))[0];
  }

  /** The changes of the messages up to `lastSeq`, in any order, from the addition of this message on. */
  async function changesSince(conversation: Conversation, lastSeq: Seq): Promise<{ rev: Rev; at: Instant }[]> {
    const last = await firstOf(conversation, lastSeq);
    if (!last) throw new Error(`${conversation.id} has no message ${lastSeq}`);
    const changed = await store.changedMessages(conversation.id, last.addedRev, lastSeq);
    const later = changed.flatMap(changesOf).filter(({ rev }) => rev > last.addedRev);
    return [{ rev: last.addedRev, at: last.sentAt }, ...later];
  }

  /** The position of the newest change among some. */
  const newest = (changes: readonly { rev: Rev; at: Instant }[]) =>
    changes.reduce((found, one) => (one.rev > found.rev ? one : found), { rev: 0, at: 0 });

  async function positionOf(conversation: Conversation, at: AsOf): Promise<{ rev: Rev; at: Instant; lastSeq: Seq }> {
    if ('rev' in at) {
      const { rev } = at;
      const lastSeq = (await firstAddedAfter(store, conversation, rev)) - 1;
      const last = await firstOf(conversation, lastSeq);
      // Most changes are additions: no other message has to be read for them.
      if (last?.addedRev === rev) return { rev, at: last.sentAt, lastSeq };
      const changes = await changesSince(conversation, lastSeq);
      return { rev, at: newest(changes.filter((one) => one.rev <= rev)).at, lastSeq };
    }
    const lastSeq = ((await firstSince(conversation, at.time + 1)) ?? conversation.lastSeq + 1) - 1;
    const next = await firstOf(conversation, lastSeq + 1);
    const end = Math.min(next ? next.addedRev - 1 : Number.POSITIVE_INFINITY, conversation.lastRev);
    const changes = await changesSince(conversation, lastSeq);
    const [addition, ...later] = changes;
    return {
      ...newest([...(addition ? [addition] : []), ...later.filter((one) => one.rev <= end && one.at <= at.time)]),
      lastSeq,
    };
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
      const later = await store.systemMessages(present.id, Math.max(position.rev, present.importedRev));
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
