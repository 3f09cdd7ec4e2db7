import type { Conversation, ConversationId, EmailAddress, Viewer } from '../model.ts';
import type { Store, WakeUp } from '../store/store.ts';
import { membership } from './access.ts';
import { createSignal, type Signal } from './signal.ts';

/** Somebody who wants to know which of their conversations changed. */
interface Follower {
  /** Changed and not yet told; a set, so that what changes twice is told once. */
  readonly changed: Set<ConversationId>;
  readonly news: Signal;
}

/** Tells viewers of changes anywhere in their chat lists, as present states. */
export function createChatListFeeds(store: Store, onError: (error: unknown) => void) {
  const followers = new Map<EmailAddress, Set<Follower>>();

  function mark(email: EmailAddress, id: ConversationId): void {
    for (const follower of followers.get(email) ?? []) {
      follower.changed.add(id);
      follower.news.notify();
    }
  }

  return {
    async wake({ conversation: id, reader }: WakeUp): Promise<void> {
      if (followers.size === 0) return;
      if (reader) return mark(reader, id);
      try {
        const conversation = await store.conversation(id);
        for (const email of conversation?.members.keys() ?? []) mark(email, id);
      } catch (error) {
        onError(error);
      }
    },
    /** Followers now registered. */
    size(): number {
      let size = 0;
      for (const set of followers.values()) size += set.size;
      return size;
    },
    /** The state of each conversation of the viewer after it changed, from now on; registered when this returns. */
    follow(viewer: Viewer): AsyncIterableIterator<Conversation> {
      const follower: Follower = { changed: new Set(), news: createSignal() };
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
          follower.changed.delete(id);
          const conversation = await store.conversation(id);
          if (conversation && membership(conversation, viewer)) return { done: false, value: conversation };
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
