import {
  type Conversation,
  type ConversationId,
  type EmailAddress,
  horizonOf,
  type Instant,
  type Viewer,
} from '../model.ts';
import type { Store, WakeUp } from '../store/store.ts';
import { may } from './access.ts';
import type { Drained } from './feed.ts';
import { Signal } from './signal.ts';

/** How many conversations of each viewer are told of again after wake-ups were lost. */
const TOP = 100;
const EVERYTHING = { configId: null, status: null, label: null, unreadOnly: false, archived: false };

/** By so much the clocks of two processes may differ, in milliseconds. */
const CLOCK_SKEW_MS = 300_000;

/** A subscriber to the changes of one viewer's chat list. */
interface Follower {
  /**
   * Changed and not yet told, so that what changes twice is told once. The state is one object for all followers; null
   * where it is to be read when its turn comes.
   */
  readonly changed: Map<ConversationId, Conversation | null>;
  /** Conversations that the viewer left, as far as that is not told yet. */
  readonly left: Set<ConversationId>;
  /** Milliseconds since 1970. */
  readonly since: Instant;
  readonly news: Signal;
}

/**
 * What is told of a conversation once its viewer has left: that it is gone, and nothing that was written in it. That
 * there are no messages distinguishes it from every conversation that exists.
 */
function goneFor({ email }: Viewer, { id, configId, members, createdAt }: Conversation): Conversation {
  const own = members.get(email);
  return {
    ...{ id, configId, subject: null, party: null, status: 'CLOSED', labels: [], assignee: null, createdAt },
    ...{ members: new Map(own && [[email, own]]), lastActivityAt: own?.leftAt ?? createdAt },
    ...{ lastSeq: 0, lastRev: 0, counted: 0 },
  };
}

/** Tells viewers of changes anywhere in their chat lists, as present states. */
export function createChatListFeeds(store: Store, clock: () => Instant, onError: (error: unknown) => void) {
  const followers = new Map<EmailAddress, Set<Follower>>();
  /** Conversations that changed, of which it could not be read whom that concerns. */
  const missed = new Set<ConversationId>();
  /** Viewers who are to be told of the top of their list again, because wake-ups were lost. */
  const unsure = new Set<EmailAddress>();

  /** Conversations that are being read; true where one changed meanwhile, and is to be read again. */
  const reading = new Map<ConversationId, boolean>();

  function mark(email: EmailAddress, id: ConversationId, state: Conversation | null): void {
    for (const { changed, news } of followers.get(email) ?? []) {
      // What is to be read when its turn comes is never older.
      if (changed.get(id) !== null) changed.set(id, state);
      news.notify();
    }
  }

  function markLeft(email: EmailAddress, id: ConversationId): void {
    for (const { left } of followers.get(email) ?? []) left.add(id);
    mark(email, id, null);
  }

  async function wake(wakeUp: WakeUp): Promise<void> {
    if (followers.size === 0 || wakeUp.kind === 'typing') return;
    const { conversation: id } = wakeUp;
    if (wakeUp.kind !== 'log') return mark(wakeUp.member, id, null);
    for (const email of wakeUp.left ?? []) markLeft(email, id);
    if (reading.has(id)) reading.set(id, true);
    else await readAndMark(id);
  }

  /** One reading at a time of each conversation: so no follower is given an older state after a newer one. */
  async function readAndMark(id: ConversationId): Promise<void> {
    try {
      do {
        reading.set(id, false);
        const conversation = await store.conversation(id);
        for (const email of conversation?.members.keys() ?? []) mark(email, id, conversation);
      } while (reading.get(id));
    } catch (error) {
      missed.add(id);
      onError(error);
    } finally {
      reading.delete(id);
    }
  }

  let telling = false;
  async function tellTops(): Promise<void> {
    if (telling) return;
    telling = true;
    for (const email of unsure) {
      unsure.delete(email);
      const since = Math.min(...[...(followers.get(email) ?? [])].map((follower) => follower.since));
      if (since === Number.POSITIVE_INFINITY) continue;
      try {
        const { conversations } = await store.chatList(email, EVERYTHING, {
          ...{ first: TOP, after: null, horizon: horizonOf(clock()) },
        });
        for (const { id } of conversations) mark(email, id, null);
        for (const id of await store.leftSince(email, since - CLOCK_SKEW_MS, TOP)) markLeft(email, id);
      } catch (error) {
        // The slow poll tries again.
        unsure.add(email);
        onError(error);
        break;
      }
    }
    telling = false;
  }

  return {
    wake,
    /** Wake-ups were lost: tells everybody of the conversations at the top of their list, and of those they left. */
    wakeTops(): Promise<void> {
      for (const email of followers.keys()) unsure.add(email);
      return tellTops();
    },
    /** The slow poll: looks again at what could not be read before. */
    async wakeAll(): Promise<void> {
      const ids = [...missed];
      missed.clear();
      await Promise.all([tellTops(), ...ids.map((conversation) => wake({ kind: 'log', conversation }))]);
      for (const set of followers.values()) for (const { news } of set) news.notify();
    },
    /** Followers now registered. */
    size(): number {
      let size = 0;
      for (const set of followers.values()) size += set.size;
      return size;
    },
    /**
     * The state of each conversation of the viewer after it changed, from now on; registered when this returns. Of one
     * that the viewer left `goneFor`. Nothing is taken before the subscriber has room for it: until then the newest
     * state counts.
     */
    follow(viewer: Viewer, drained: Drained): AsyncIterableIterator<Conversation> {
      const follower: Follower = { changed: new Map(), left: new Set(), since: clock(), news: new Signal() };
      const mine = followers.get(viewer.email) ?? new Set();
      followers.set(viewer.email, mine.add(follower));
      const leave = () => {
        mine.delete(follower);
        if (mine.size === 0 && followers.get(viewer.email) === mine) followers.delete(viewer.email);
        follower.news.close();
      };

      async function next(): Promise<IteratorResult<Conversation>> {
        const { changed, left, news } = follower;
        while (!news.closed) {
          if (changed.size > 0) await drained();
          const [first] = changed;
          if (first === undefined || news.closed) {
            await news.wait();
            continue;
          }
          const [id, state] = first;
          changed.delete(id);
          try {
            const conversation = state ?? (await store.conversation(id));
            if (!conversation) continue;
            if (may('chatListChanged', viewer, conversation)) return { done: false, value: conversation };
            if (left.delete(id)) return { done: false, value: goneFor(viewer, conversation) };
          } catch (error) {
            changed.set(id, null);
            onError(error);
            await news.wait();
          }
        }
        return { done: true, value: undefined };
      }

      const iterator: AsyncIterableIterator<Conversation> = {
        next,
        async return() {
          leave();
          return { done: true, value: undefined };
        },
        [Symbol.asyncIterator]: () => iterator,
      };
      return iterator;
    },
  };
}
