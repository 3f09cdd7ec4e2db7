import type { Conversation, ConversationId, EmailAddress, Viewer } from '../model.ts';
import type { Store, WakeUp } from '../store/store.ts';
import { may } from './access.ts';
import { Signal } from './signal.ts';

/** How many conversations of each viewer are told of again after wake-ups were lost. */
const TOP = 100;
const EVERYTHING = { configId: null, status: null, label: null, unreadOnly: false, archived: false };

/** Somebody who wants to know which of their conversations changed. */
interface Follower {
  /** Changed and not yet told; a set, so that what changes twice is told once. */
  readonly changed: Set<ConversationId>;
  readonly news: Signal;
}

/** Tells viewers of changes anywhere in their chat lists, as present states. */
export function createChatListFeeds(store: Store, onError: (error: unknown) => void) {
  const followers = new Map<EmailAddress, Set<Follower>>();
  /** Conversations that changed, of which it could not be read whom that concerns. */
  const missed = new Set<ConversationId>();
  /** Viewers who are to be told of the top of their list again, because wake-ups were lost. */
  const unsure = new Set<EmailAddress>();

  function mark(email: EmailAddress, id: ConversationId): void {
    for (const follower of followers.get(email) ?? []) {
      follower.changed.add(id);
      follower.news.notify();
    }
  }

  async function wake(wakeUp: WakeUp): Promise<void> {
    if (followers.size === 0 || wakeUp.kind === 'typing') return;
    const { conversation: id } = wakeUp;
    if (wakeUp.kind !== 'log') return mark(wakeUp.member, id);
    try {
      const conversation = await store.conversation(id);
      for (const email of conversation?.members.keys() ?? []) mark(email, id);
    } catch (error) {
      missed.add(id);
      onError(error);
    }
  }

  let telling = false;
  async function tellTops(): Promise<void> {
    if (telling) return;
    telling = true;
    for (const email of unsure) {
      unsure.delete(email);
      if (!followers.has(email)) continue;
      try {
        const { conversations } = await store.chatList(email, EVERYTHING, { first: TOP, after: null });
        for (const { id } of conversations) mark(email, id);
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
    /** Wake-ups were lost: tells everybody of the conversations at the top of their list. */
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
    /** The state of each conversation of the viewer after it changed, from now on; registered when this returns. */
    follow(viewer: Viewer): AsyncIterableIterator<Conversation> {
      const follower: Follower = { changed: new Set(), news: new Signal() };
      const mine = followers.get(viewer.email) ?? new Set();
      followers.set(viewer.email, mine.add(follower));
      const leave = () => {
        mine.delete(follower);
        if (mine.size === 0 && followers.get(viewer.email) === mine) followers.delete(viewer.email);
        follower.news.close();
      };

      async function next(): Promise<IteratorResult<Conversation>> {
        while (!follower.news.closed) {
          const [id] = follower.changed;
          if (id === undefined) {
            await follower.news.wait();
            continue;
          }
          try {
            follower.changed.delete(id);
            const conversation = await store.conversation(id);
            if (conversation && may('chatListChanged', viewer, conversation))
              return { done: false, value: conversation };
          } catch (error) {
            follower.changed.add(id);
            onError(error);
            await follower.news.wait();
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
