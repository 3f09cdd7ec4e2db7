import type { Conversation, Viewer } from '../model.ts';
import { may } from './access.ts';
import { type ConversationEvent, messageEvent, readsMoved } from './events.ts';
import { type Drained, type Feed, type Feeds, type Follower, PAGE } from './feed.ts';
import { Signal } from './signal.ts';
import { viewIn } from './view.ts';

/** Where a replay is to come to before what is live goes on. */
interface Goal {
  readonly head: Conversation;
  /** How many events the feed had counted then. */
  readonly at: number;
  /** The position the replay began at: what was added after it is new to the subscriber. */
  readonly base: number;
}

/**
 * Somebody's place in everything that happens in a conversation. Messages are told of by `rev`; from what is at hand for all
 * who keep up, or, by who is behind that, from the store: each message once, in its present state, then where everybody
 * has read to.
 */
export class EventCursor implements Follower<ConversationEvent> {
  readonly #feeds: Feeds;
  readonly #feed: Feed;
  readonly #viewer: Viewer;
  readonly #drained: Drained;
  readonly news = new Signal();
  /** The position up to which the subscriber has everything. */
  rev = 0;
  /** Whether the read positions are told of at the first replay. */
  resumes = false;
  /** The next event of the feed; null while a replay is under way. */
  #at: number | null = null;
  #goal: Goal | null = null;
  #caughtUp = false;
  /** The position that the last replay came to. */
  #base = 0;
  #seq = 0;
  #page: ConversationEvent[] = [];
  #judged: Conversation | null = null;
  #present = false;

  constructor(feeds: Feeds, feed: Feed, viewer: Viewer, drained: Drained) {
    this.#feeds = feeds;
    this.#feed = feed;
    this.#viewer = viewer;
    this.#drained = drained;
  }

  take(): ConversationEvent | undefined {
    const { head, events, eventsBefore } = this.#feed;
    if (this.news.closed || this.#page.length > 0 || !head || !this.#mayRead(head)) return undefined;
    while (this.#at !== null) {
      // What it has not taken yet is not at hand any more.
      if (this.#at < eventsBefore) this.#at = null;
      else {
        const next = events[this.#at - eventsBefore];
        if (!next) return undefined;
        this.#at++;
        const event = this.#toMe(next);
        if (event) return event;
      }
    }
    return undefined;
  }

  onNews(listener: () => void): boolean {
    const { head, events, eventsBefore } = this.#feed;
    const mayCome = this.#at === eventsBefore + events.length && this.#page.length === 0;
    if (this.news.closed || !mayCome || !head || !this.#mayRead(head)) return false;
    this.news.once(listener);
    return true;
  }

  async next(): Promise<IteratorResult<ConversationEvent>> {
    while (!this.news.closed) {
      if (this.#page.length > 0) await this.#drained();
      const { head } = this.#feed;
      if (this.news.closed || (head && !this.#mayRead(head))) break;
      const event = this.#page.shift() ?? this.take();
      if (event) return { done: false, value: event };
      const replays = head !== null && this.#at === null && (await this.#replay(head));
      // Nothing to read, or a store that is away: the next wake-up, or the slow poll, tries again.
      if (!replays) await this.news.wait();
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
      this.#present = may('conversationEvents', this.#viewer, head);
    }
    return this.#present;
  }

  /** What an event of the feed is to this subscriber; undefined where it is nothing. */
  #toMe(event: ConversationEvent): ConversationEvent | undefined {
    if (event.__typename === 'Typing') return event.member === this.#viewer.email ? undefined : event;
    if (!('message' in event)) return event;
    if (event.rev <= this.rev) return undefined;
    this.rev = event.rev;
    // A replay may have brought the message in an earlier state that the feed never saw.
    const known = event.__typename === 'MessageAdded' && event.message.addedRev <= this.#base;
    return known ? messageEvent(event.message, this.#base) : event;
  }

  /** Reads a part of what the subscriber does not have. False when the store did not answer. */
  async #replay(head: Conversation): Promise<boolean> {
    const { store, onError } = this.#feeds;
    const { events, eventsBefore } = this.#feed;
    this.#goal ??= { head, at: eventsBefore + events.length, base: this.rev };
    const goal = this.#goal;
    try {
      const messages = await store.changes(head.id, this.rev, PAGE);
      const views = messages.map(viewIn(head));
      this.#page = views.map((message) => messageEvent(message, goal.base));
      this.rev = messages.at(-1)?.rev ?? this.rev;
      this.#seq = Math.max(this.#seq, goal.head.lastSeq, ...messages.map(({ seq }) => seq));
      if (messages.length < PAGE) this.#finish(goal);
      return true;
    } catch (error) {
      onError(error);
      return false;
    }
  }

  #finish(goal: Goal): void {
    this.rev = Math.max(this.rev, goal.head.lastRev);
    if (this.resumes || this.#caughtUp) this.#page.push(...readsMoved(null, goal.head));
    if (!this.#caughtUp) this.#page.push({ __typename: 'CaughtUp', rev: this.rev, seq: this.#seq });
    this.#caughtUp = true;
    this.#base = this.rev;
    this.#at = goal.at;
    this.#goal = null;
  }
}
