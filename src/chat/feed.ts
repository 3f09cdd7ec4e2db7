import type { Conversation, ConversationId, Message, Viewer } from '../model.ts';
import type { Store } from '../store/store.ts';
import { may } from './access.ts';
import { Signal } from './signal.ts';

/** Messages a feed keeps at hand for those who keep up; whoever is further behind reads the store. */
const TAIL = 256;
/** UTF-16 units of text that they hold at most, but for the newest. */
const TAIL_TEXT = 500_000;
/** Messages one read of the store brings. */
const PAGE = 100;

/** A message with the state of its conversation it was read with. */
export interface MessageView extends Message {
  readonly conversation: Conversation;
}

/** Messages just read from the store are nobody else's: they are made views where they stand. */
export function viewIn(conversation: Conversation): (message: Message) => MessageView {
  return (message) => Object.assign(message, { conversation });
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
  readonly id: ConversationId;
  /** The conversation as of the last read; null before the first. */
  head: Conversation | null;
  /** The newest messages up to `head.lastSeq`, ascending, without holes. */
  tail: MessageView[];
  reading: boolean;
  /** A wake-up came while reading: read once more. */
  again: boolean;
  readonly followers: Set<Cursor>;
}

/** What all cursors need of their surroundings. */
interface Feeds {
  readonly store: Store;
  readonly onError: (error: unknown) => void;
  readonly leave: (feed: Feed, follower: Cursor) => void;
}

/** A class, because there are many: one for each subscriber. */
class Cursor implements Follower {
  readonly #feeds: Feeds;
  readonly #feed: Feed;
  readonly #viewer: Viewer;
  readonly #drained: Drained;
  readonly news = new Signal();
  /** The newest message the subscriber has. */
  seq = 0;
  /** Messages after it that the tail no longer holds. */
  #page: MessageView[] = [];
  /** Whether the viewer is a member changes with the head alone. */
  #judged: Conversation | null = null;
  #present = false;

  constructor(feeds: Feeds, feed: Feed, viewer: Viewer, drained: Drained) {
    this.#feeds = feeds;
    this.#feed = feed;
    this.#viewer = viewer;
    this.#drained = drained;
  }

  take(): MessageView | undefined {
    const { head, tail } = this.#feed;
    if (this.news.closed || this.#page.length > 0 || !head || !this.#mayRead(head)) return undefined;
    return this.#advance(tail[this.seq + 1 - (tail[0]?.seq ?? Number.POSITIVE_INFINITY)]);
  }

  onNews(listener: () => void): boolean {
    const { head } = this.#feed;
    if (this.news.closed || this.#page.length > 0 || !head || !this.#mayRead(head) || this.seq < head.lastSeq)
      return false;
    this.news.once(listener);
    return true;
  }

  async next(): Promise<IteratorResult<MessageView>> {
    while (!this.news.closed) {
      const { head } = this.#feed;
      if (head && !this.#mayRead(head)) break;
      if (this.#page.length > 0) await this.#drained();
      if (this.news.closed) break;
      const message = this.#advance(this.#page.shift()) ?? this.take();
      if (message) return { done: false, value: message };
      if (head && head.lastSeq > this.seq) this.#page = await this.#readPage(head);
      // Nothing to read, or a store that is away: the next wake-up, or the slow poll, tries again.
      if (this.#page.length === 0) await this.news.wait();
    }
    return this.return();
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#feeds.leave(this.#feed, this);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #mayRead(head: Conversation): boolean {
    if (head !== this.#judged) {
      this.#judged = head;
      this.#present = may('messageAdded', this.#viewer, head);
    }
    return this.#present;
  }

  #advance(message: MessageView | undefined): MessageView | undefined {
    if (message) this.seq = message.seq;
    return message;
  }

  /** A page of what the tail no longer holds; empty when there is none to be had now. */
  async #readPage(head: Conversation): Promise<MessageView[]> {
    const { store, onError } = this.#feeds;
    try {
      const messages = await store.messages(head.id, this.seq + 1, Math.min(this.seq + PAGE, head.lastSeq));
      return messages.map(viewIn(head));
    } catch (error) {
      onError(error);
      return [];
    }
  }
}

/**
 * Live delivery by position. A wake-up makes a feed read its log once from where it is; followers are cursors that take
 * from the shared tail, or page through the store when they are behind it. Nothing is queued for anybody.
 */
export function createFeeds(store: Store, onError: (error: unknown) => void) {
  const feeds = new Map<ConversationId, Feed>();
  const surroundings: Feeds = {
    store,
    onError,
    leave(feed, follower) {
      feed.followers.delete(follower);
      if (feed.followers.size === 0 && feeds.get(feed.id) === feed) feeds.delete(feed.id);
      follower.news.close();
    },
  };

  async function read(feed: Feed): Promise<void> {
    feed.again = true;
    if (feed.reading) return;
    feed.reading = true;
    try {
      while (feed.again) {
        feed.again = false;
        const head = await store.conversation(feed.id);
        // A store that was away may show an older state for a moment.
        if (!head || head.lastRev < (feed.head?.lastRev ?? 0)) continue;
        // What a tail of this length cannot hold is not read for it.
        const from = Math.max((feed.head ?? head).lastSeq + 1, head.lastSeq - TAIL + 1);
        const news = from > head.lastSeq ? [] : await store.messages(feed.id, from, head.lastSeq);
        if (news.length > 0) feed.tail = newest([...feed.tail, ...news.map(viewIn(head))]);
        feed.head = head;
        for (const { news } of feed.followers) news.notify();
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
      if (feed) void read(feed);
    },
    /** The slow poll: makes every feed look again, for wake-ups that got lost. */
    wakeAll(): void {
      for (const feed of feeds.values()) void read(feed);
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
      const feed = feeds.get(id) ?? { id, head: null, tail: [], reading: false, again: false, followers: new Set() };
      feeds.set(id, feed);
      const follower = new Cursor(surroundings, feed, viewer, drained);
      feed.followers.add(follower);
      try {
        follower.seq = await start();
        if (!feed.head) await read(feed);
        return follower;
      } catch (error) {
        await follower.return();
        throw error;
      }
    },
  };
}

/** The end of a list of messages that a feed keeps. */
function newest(messages: readonly MessageView[]): MessageView[] {
  let from = messages.length;
  for (let text = 0; from > Math.max(0, messages.length - TAIL); from--) {
    text += messages[from - 1]?.text.length ?? 0;
    if (text > TAIL_TEXT && from < messages.length) break;
  }
  return messages.slice(from);
}
