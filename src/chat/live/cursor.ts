import type { Conversation, Message, Viewer } from '../../model.ts';
import { type MessageView, textUnits, viewIn } from '../message-view.ts';
import { may, type Operation } from '../rules/access.ts';
import type { Backpressure, EventStream } from './event-stream.ts';
import type { Feed, Subscriber } from './feed.ts';
import { Notifier } from './notifier.ts';

/** Messages that one read of the store returns at most. */
const MAX_PAGE = 100;
/** Messages that the first read returns at most, as the length of the texts is not known before it. */
const FIRST_PAGE = 20;
/** UTF-16 units of text that a page holds at most, but for its first message: a stalled subscriber keeps its page. */
const MAX_PAGE_TEXT = 50_000;

interface Page {
  readonly messages: readonly MessageView[];
  /** Whether the store has more. */
  readonly hasMore: boolean;
}

/** A subscriber's position in a conversation, and the page read ahead of it. A class, because there are many. */
export abstract class Cursor<Event> implements EventStream<Event>, Subscriber {
  protected readonly notifier = new Notifier();
  protected readonly feed: Feed;
  protected readonly viewer: Viewer;
  /** Events read from the store and not yet returned. */
  protected page: Event[] = [];
  readonly #backpressure: Backpressure;
  readonly #operation: Operation;
  /** Messages that the next read asks for: fewer where texts are long. */
  #pageSize = FIRST_PAGE;
  /** The `lastRev` that the page is not older than. */
  #readAt = 0;
  /** The head that `#allowed` was decided on: access changes with the head alone. */
  #checked: Conversation | null = null;
  #allowed = false;

  constructor(operation: Operation, feed: Feed, viewer: Viewer, backpressure: Backpressure) {
    this.#operation = operation;
    this.feed = feed;
    this.viewer = viewer;
    this.#backpressure = backpressure;
  }

  abstract poll(): Event | undefined;
  abstract get current(): boolean;
  abstract onReadable(listener: () => void): boolean;

  /** Removes and returns the first event of the page. */
  protected abstract shiftPage(): Event | undefined;
  /** Reads the next page after the present position. False where there is nothing to read now. */
  protected abstract readPage(head: Conversation): Promise<boolean>;
  /** Drops the page if its messages may have changed since; it is then read again. */
  protected abstract dropStale(): void;

  notify(): void {
    this.notifier.notify();
  }

  async next(): Promise<IteratorResult<Event>> {
    let waited = false;
    while (!this.notifier.closed) {
      // Once for each event: otherwise a slow subscriber would never get a page of messages that keep changing.
      if (this.page.length > 0 && !waited) {
        await this.#drained();
        waited = true;
      }
      const { head } = this.feed;
      if (this.notifier.closed || (head && !this.mayRead(head))) break;
      this.dropStale();
      const event = this.shiftPage() ?? this.poll();
      if (event !== undefined) return { done: false, value: event };
      // Nothing to read, or the store is unavailable: the next wake-up, or the slow poll, tries again.
      if (!head || !(await this.readPage(head))) await this.notifier.wait();
    }
    return this.return();
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.feed.remove(this);
    this.notifier.close();
    this.page = [];
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  protected mayRead(head: Conversation): boolean {
    if (head !== this.#checked) {
      this.#checked = head;
      this.#allowed = may(this.#operation, this.viewer, head);
    }
    return this.#allowed;
  }

  /** Whether a message of the page may have changed since it was read. */
  protected get stale(): boolean {
    return this.feed.changedAt > this.#readAt;
  }

  /** As many messages as a page may hold; null when the read failed. */
  protected async load(head: Conversation, read: (size: number) => Promise<Message[]>): Promise<Page | null> {
    try {
      const size = this.#pageSize;
      const messages = await read(size);
      const fitting = fittingLength(messages);
      const isCut = fitting < messages.length;
      this.#pageSize = isCut ? fitting : Math.min(MAX_PAGE, size * 2);
      this.#readAt = head.lastRev;
      return { messages: messages.slice(0, fitting).map(viewIn(head)), hasMore: isCut || messages.length === size };
    } catch (error) {
      this.feed.failed(error);
      return null;
    }
  }

  /** Waits until the subscriber's socket takes more, but no longer than the viewer is a member. */
  async #drained(): Promise<void> {
    let waiting = true;
    const done = () => {
      waiting = false;
      this.notifier.notify();
    };
    this.#backpressure.drained().then(done, done);
    while (waiting && !this.notifier.closed && this.feed.head && this.mayRead(this.feed.head))
      await this.notifier.wait();
  }
}

/** How many of the messages fit in a page; at least one, if there is one. */
function fittingLength(messages: readonly Message[]): number {
  let text = 0;
  const over = messages.findIndex((message, index) => {
    text += textUnits(message);
    return index > 0 && text > MAX_PAGE_TEXT;
  });
  return over < 0 ? messages.length : over;
}
