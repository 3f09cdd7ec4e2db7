import type { Conversation, ConversationId, Message, Viewer } from '../model.ts';
import type { Store } from '../store/store.ts';
import { membership } from './access.ts';
import { createSignal, type Signal } from './signal.ts';

/** Messages a feed keeps at hand for those who keep up; whoever is further behind reads the store. */
const TAIL = 256;
/** Messages one read of the store brings. */
const PAGE = 100;

/** A message with the state of its conversation it was read with. */
export interface MessageView extends Message {
  readonly conversation: Conversation;
}

/** Somebody's place in a log. Ends when the viewer is no member any more. */
export interface Follower extends AsyncIterableIterator<MessageView> {
  /** The next message, if it is at hand for all who keep up; undefined where `next` is to be waited for. */
  take(): MessageView | undefined;
  /** Calls back when there may be something to take; false, and it never does, where `next` is to be asked instead. */
  onNews(listener: () => void): boolean;
}

/** Waits until the subscriber's socket has room; for those who read history faster than they can take it. */
export type Drained = () => Promise<void>;

/** One conversation's log as seen by this process while somebody here follows it. */
interface Feed {
  /** The conversation as of the last read; null before the first. */
  head: Conversation | null;
  /** The newest messages up to `head.lastSeq`, ascending, without holes. */
  tail: MessageView[];
  reading: boolean;
  /** A wake-up came while reading: read once more. */
  again: boolean;
  readonly followers: Set<Signal>;
}

/**
 * Live delivery by position. A wake-up makes a feed read its log once from where it is; followers are cursors that take
 * from the shared tail, or page through the store when they are behind it. Nothing is queued for anybody.
 */
export function createFeeds(store: Store, onError: (error: unknown) => void) {
  const feeds = new Map<ConversationId, Feed>();

  async function read(id: ConversationId, feed: Feed): Promise<void> {
    feed.again = true;
    if (feed.reading) return;
    feed.reading = true;
    try {
      while (feed.again) {
        feed.again = false;
        const head = await store.conversation(id);
        if (!head) continue;
        // What a tail of this length cannot hold is not read for it.
        const from = Math.max((feed.head ?? head).lastSeq + 1, head.lastSeq - TAIL + 1);
        const news = from > head.lastSeq ? [] : await store.messages(id, from, head.lastSeq);
        if (news.length > 0)
          feed.tail = [...feed.tail, ...news.map((m) => ({ ...m, conversation: head }))].slice(-TAIL);
        feed.head = head;
        for (const follower of feed.followers) follower.notify();
      }
    } catch (error) {
      // The slow poll tries again.
      onError(error);
    } finally {
      feed.reading = false;
    }
  }

  return {
    /** Makes the feed of this conversation, if there is one, look again. */
    wake(id: ConversationId): void {
      const feed = feeds.get(id);
      if (feed) void read(id, feed);
    },
    /** The slow poll: makes every feed look again, for wake-ups that got lost. */
    wakeAll(): void {
      for (const [id, feed] of feeds) void read(id, feed);
    },
    /** Followers now registered, over all conversations. */
    size(): number {
      let size = 0;
      for (const { followers } of feeds.values()) size += followers.size;
      return size;
    },
    /**
     * Every message after a position once, in order, then live. `start` is called once the follower is registered, so
     * that nothing falls between the position it returns and the first wake-up; what it throws ends the follower.
     */
    async follow(
      id: ConversationId,
      viewer: Viewer,
      drained: Drained,
      start: () => Promise<number>,
    ): Promise<Follower> {
      const feed = feeds.get(id) ?? { head: null, tail: [], reading: false, again: false, followers: new Set() };
      feeds.set(id, feed);
      const news = createSignal();
      feed.followers.add(news);
      const leave = () => {
        feed.followers.delete(news);
        if (feed.followers.size === 0 && feeds.get(id) === feed) feeds.delete(id);
        news.close();
      };

      let seq: number;
      try {
        seq = await start();
        if (!feed.head) await read(id, feed);
      } catch (error) {
        leave();
        throw error;
      }

      let page: MessageView[] = [];
      // A page of what the tail no longer holds; empty when there is none to be had now.
      async function readPage(head: Conversation): Promise<MessageView[]> {
        try {
          const messages = await store.messages(id, seq + 1, Math.min(seq + PAGE, head.lastSeq));
          return messages.map((m) => ({ ...m, conversation: head }));
        } catch (error) {
          onError(error);
          return [];
        }
      }
      function advance(message: MessageView | undefined): MessageView | undefined {
        if (message) seq = message.seq;
        return message;
      }
      // Whether the viewer is a member changes with the head alone.
      let judged: Conversation | null = null;
      let present = false;
      function mayRead(head: Conversation): boolean {
        if (head !== judged) {
          judged = head;
          present = membership(head, viewer) !== null;
        }
        return present;
      }
      function take(): MessageView | undefined {
        const { head, tail } = feed;
        if (news.closed || page.length > 0 || !head || !mayRead(head)) return undefined;
        return advance(tail[seq + 1 - (tail[0]?.seq ?? Number.POSITIVE_INFINITY)]);
      }
      function onNews(listener: () => void): boolean {
        const { head } = feed;
        if (news.closed || page.length > 0 || !head || !mayRead(head) || seq < head.lastSeq) return false;
        news.once(listener);
        return true;
      }
      async function next(): Promise<IteratorResult<MessageView>> {
        while (!news.closed) {
          const { head } = feed;
          if (head && !mayRead(head)) break;
          if (page.length > 0) await drained();
          if (news.closed) break;
          const message = advance(page.shift()) ?? take();
          if (message) return { done: false, value: message };
          if (head && head.lastSeq > seq) page = await readPage(head);
          // Nothing to read, or a store that is away: the next wake-up, or the slow poll, tries again.
          if (page.length === 0) await news.wait();
        }
        leave();
        return { done: true, value: undefined };
      }

      const follower: Follower = {
        next,
        take,
        onNews,
        async return() {
          leave();
          return { done: true, value: undefined };
        },
        [Symbol.asyncIterator]: () => follower,
      };
      return follower;
    },
  };
}
