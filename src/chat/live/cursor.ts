import type { Conversation, Message, Viewer } from '../../model.ts';
import { type MessageView, textLength, viewIn } from '../message-view.ts';
import { may, type Operation } from '../rules/access.ts';
import type { Feed, Feeds, Follower, Room } from './feed.ts';
import { Notifier } from './notifier.ts';

/** Messages one read of the store brings at most. */
const PAGE = 100;
/** Messages the first read brings at most: how long the texts are is known after it. */
const FIRST_PAGE = 20;
/** UTF-16 units of text that a page holds at most, but for its first message: a subscriber that takes nothing keeps it. */
const PAGE_TEXT = 50_000;

/** What a place read of the store. */
interface Read {
  readonly messages: readonly MessageView[];
  /** Whether there was more than these. */
  readonly cut: boolean;
}

/** Somebody's place in what happens in a conversation, and what was read ahead of it. A class, because there are many. */
export abstract class Cursor<Event> implements Follower<Event> {
  readonly notifier = new Notifier();
  protected readonly feed: Feed;
  protected readonly viewer: Viewer;
  /** What was read from the store and not yet taken. */
  protected page: Event[] = [];
  readonly #feeds: Feeds;
  readonly #room: Room;
  readonly #operation: Operation;
  /** Messages the next read is to bring: fewer where texts are long. */
  #size = FIRST_PAGE;
  /** The state that the page is not older than. */
  #readAt = 0;
  /** Whether the viewer is a member changes with the head alone. */
  #judged: Conversation | null = null;
  #present = false;

  constructor(operation: Operation, feeds: Feeds, feed: Feed, viewer: Viewer, room: Room) {
    this.#operation = operation;
    this.#feeds = feeds;
    this.feed = feed;
    this.viewer = viewer;
    this.#room = room;
  }

  abstract poll(): Event | undefined;
  /** Whether all that the feed keeps was taken, or never will be. */
  abstract get current(): boolean;
  abstract onReadable(listener: () => void): boolean;

  /** Takes the next of the page. */
  protected abstract fromPage(): Event | undefined;
  /** Reads on from the present position into the page. False where there is nothing to be read now. */
  protected abstract readOn(head: Conversation): Promise<boolean>;
  /** Forgets the page, if what it holds may have changed since; it is then read again. */
  protected abstract dropStale(): void;

  async next(): Promise<IteratorResult<Event>> {
    let hasRoom = false;
    while (!this.notifier.closed) {
      // Once for each event: else who is slow would never get what others keep changing.
      if (this.page.length > 0 && !hasRoom) {
        await this.#hasRoom();
        hasRoom = true;
      }
      const { head } = this.feed;
      if (this.notifier.closed || (head && !this.mayRead(head))) break;
      this.dropStale();
      const event = this.fromPage() ?? this.poll();
      if (event !== undefined) return { done: false, value: event };
      // Nothing to read, or a store that is away: the next wake-up, or the slow poll, tries again.
      if (!head || !(await this.readOn(head))) await this.notifier.wait();
    }
    return this.return();
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#feeds.leave(this.feed, this);
    this.page = [];
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  protected mayRead(head: Conversation): boolean {
    if (head !== this.#judged) {
      this.#judged = head;
      this.#present = may(this.#operation, this.viewer, head);
    }
    return this.#present;
  }

  /** Whether a message that was read may have changed since. */
  protected get stale(): boolean {
    return this.feed.changedAt > this.#readAt;
  }

  /** As many messages as a page may hold; null when the store did not answer. */
  protected async read(head: Conversation, load: (size: number) => Promise<Message[]>): Promise<Read | null> {
    try {
      const size = this.#size;
      const messages = await load(size);
      const fitting = fits(messages);
      const cut = fitting < messages.length;
      this.#size = cut ? fitting : Math.min(PAGE, size * 2);
      this.#readAt = head.lastRev;
      return { messages: messages.slice(0, fitting).map(viewIn(head)), cut: cut || messages.length === size };
    } catch (error) {
      this.#feeds.failed(this.feed, error);
      return null;
    }
  }

  protected get store(): Feeds['store'] {
    return this.#feeds.store;
  }

  /** Waits until the subscriber's socket has room; no longer than the viewer is a member. */
  async #hasRoom(): Promise<void> {
    let waits = true;
    const done = () => {
      waits = false;
      this.notifier.notify();
    };
    this.#room.drained().then(done, done);
    while (waits && !this.notifier.closed && this.feed.head && this.mayRead(this.feed.head)) await this.notifier.wait();
  }
}

/** How many of the messages a page may hold; at least one, if there is one. */
function fits(messages: readonly Message[]): number {
  let text = 0;
  const over = messages.findIndex((message, index) => {
    text += textLength(message);
    return index > 0 && text > PAGE_TEXT;
  });
  return over < 0 ? messages.length : over;
}
