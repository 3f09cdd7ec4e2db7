import type { Conversation, Viewer } from '../../model.ts';
import { BitSet } from './bit-set.ts';
import { Cursor } from './cursor.ts';
import { type ConversationEvent, messageEvent, readsMoved } from './events.ts';
import type { Feed, Feeds, Room } from './feed.ts';

/** Where a replay is to come to before what is live goes on. */
interface Replay {
  readonly head: Conversation;
  /** How many events the feed had counted then. */
  readonly at: number;
  /** The position the replay began at: what was added after it is new to the subscriber. */
  readonly base: number;
  /** The messages that are new to the subscriber no more: one may be changed, and come again, before the replay is over. */
  readonly delivered: BitSet;
}

/**
 * Somebody's place in everything that happens in a conversation. Messages are told of by `rev`; from what is at hand for all
 * who keep up, or, by who is behind that, from the store: each message once, in its present state, then where everybody
 * has read to.
 */
export class EventCursor extends Cursor<ConversationEvent> {
  /** The position up to which the subscriber has everything. */
  rev = 0;
  /** Whether the read positions are told of at the first replay. */
  resumes = false;
  /** The next event of the feed; null while a replay is under way. */
  #at: number | null = null;
  #goal: Replay | null = null;
  /** Whether the page is the last of the replay. */
  #complete = false;
  #caughtUp = false;
  /** The position that the last replay came to. */
  #base = 0;
  #seq = 0;

  constructor(feeds: Feeds, feed: Feed, viewer: Viewer, room: Room) {
    super('conversationEvents', feeds, feed, viewer, room);
  }

  poll(): ConversationEvent | undefined {
    const { head, events } = this.feed;
    if (this.notifier.closed || this.page.length > 0 || !head || !this.mayRead(head)) return undefined;
    while (this.#at !== null) {
      // What it has not taken yet is not at hand any more.
      if (this.#at < events.before) this.#at = null;
      else {
        const next = events.at(this.#at - events.before);
        if (!next) return undefined;
        this.#at++;
        const event = this.#toMe(next);
        if (event) return event;
      }
    }
    return undefined;
  }

  onReadable(listener: () => void): boolean {
    const { head } = this.feed;
    const mayCome = this.current && this.page.length === 0;
    if (this.notifier.closed || !mayCome || !head || !this.mayRead(head)) return false;
    this.notifier.once(listener);
    return true;
  }

  get current(): boolean {
    const { before, length } = this.feed.events;
    return this.#at === before + length;
  }

  protected fromPage(): ConversationEvent | undefined {
    const event = this.page.shift();
    if (event && 'message' in event) {
      this.rev = event.rev;
      this.#goal?.delivered.add(event.message.seq);
    }
    return event;
  }

  /** What ends a replay tells of no message: that stays. */
  protected dropStale(): void {
    if (!this.#goal || !this.stale) return;
    this.page = [];
    this.#complete = false;
  }

  /** Reads a part of what the subscriber does not have. */
  protected async readOn(head: Conversation): Promise<boolean> {
    if (this.#at !== null) return false;
    const { before, length } = this.feed.events;
    this.#goal ??= { head, at: before + length, base: this.rev, delivered: new BitSet() };
    const goal = this.#goal;
    if (!this.#complete) {
      const read = await this.read(head, (size) => this.store.changes(head.id, this.rev, size));
      if (!read) return false;
      this.page = read.messages.map((message) =>
        messageEvent(message, goal.delivered.has(message.seq) ? message.addedRev : goal.base),
      );
      this.#seq = Math.max(this.#seq, goal.head.lastSeq, ...read.messages.map(({ seq }) => seq));
      this.#complete = !read.cut;
    }
    if (this.#complete && this.page.length === 0) this.#finish(goal);
    return true;
  }

  /** What an event of the feed is to this subscriber; undefined where it is nothing. */
  #toMe(event: ConversationEvent): ConversationEvent | undefined {
    if (event.__typename === 'Typing') return event.member === this.viewer.email ? undefined : event;
    if (!('message' in event)) return event;
    if (event.rev <= this.rev) return undefined;
    this.rev = event.rev;
    // A replay may have brought the message in an earlier state that the feed never saw.
    const known = event.__typename === 'MessageAdded' && event.message.addedRev <= this.#base;
    return known ? messageEvent(event.message, this.#base) : event;
  }

  #finish(goal: Replay): void {
    this.rev = Math.max(this.rev, goal.head.lastRev);
    if (this.resumes || this.#caughtUp) this.page.push(...readsMoved(null, goal.head));
    if (!this.#caughtUp) this.page.push({ __typename: 'CaughtUp', rev: this.rev, seq: this.#seq });
    this.#caughtUp = true;
    this.#complete = false;
    this.#base = this.rev;
    this.#at = goal.at;
    this.#goal = null;
  }
}
