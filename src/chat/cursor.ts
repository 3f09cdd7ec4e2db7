import type { Conversation, Viewer } from '../model.ts';
import { may } from './access.ts';
import { type Drained, type Feed, type Feeds, type Follower, PAGE } from './feed.ts';
import { Signal } from './signal.ts';
import { type MessageView, viewIn } from './view.ts';

/** A class, because there are many: one for each subscriber. */
export class Cursor implements Follower<MessageView> {
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
