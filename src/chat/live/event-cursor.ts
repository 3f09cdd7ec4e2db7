import type { Conversation, Rev, Seq, Viewer } from '../../model.ts';
import { BitSet } from './bit-set.ts';
import { Cursor } from './cursor.ts';
import type { Backpressure } from './event-stream.ts';
import { type ConversationEvent, messageEvent, readsMoved } from './events.ts';
import type { Feed } from './feed.ts';

/** A running replay: read up to `head`, then switch to live events. */
interface Replay {
  readonly head: Conversation;
  /** Number of the first live event after the replay. */
  readonly at: number;
  /** The `rev` that the replay began at: messages added after it are new to the subscriber. */
  readonly base: number;
  /** Numbers of the messages already delivered: one may change, and be read again, before the replay is over. */
  readonly delivered: BitSet;
}

/**
 * A subscriber's position among the events of a conversation, by `rev`. A cursor that keeps up reads the feed's recent
 * events; one that is behind them replays from the store: each message once, in its present state, then all read
 * positions.
 */
export class EventCursor extends Cursor<ConversationEvent> {
  /** The subscriber has every change up to this `rev`. */
  rev: Rev = 0;
  /** Whether the first replay ends with the read positions. */
  resumes = false;
  /** Number of the next event of the feed; null during a replay. */
  #at: number | null = null;
  #replay: Replay | null = null;
  /** Whether the page is the last of the replay. */
  #isLastPage = false;
  #caughtUp = false;
  /** The `rev` that the last replay ended at. */
  #base: Rev = 0;
  /** Number of the newest message that was replayed, for `CaughtUp`. */
  #seq: Seq = 0;

  constructor(feed: Feed, viewer: Viewer, backpressure: Backpressure) {
    super('conversationEvents', feed, viewer, backpressure);
  }

  poll(): ConversationEvent | undefined {
    const { head, events } = this.feed;
    if (this.notifier.closed || this.page.length > 0 || !head || !this.mayRead(head)) return undefined;
    while (this.#at !== null) {
      // The feed no longer keeps the next event: replay.
      if (this.#at < events.before) this.#at = null;
      else {
        const next = events.at(this.#at - events.before);
        if (!next) return undefined;
        this.#at++;
        const event = this.#forViewer(next);
        if (event) return event;
      }
    }
    return undefined;
  }

  onReadable(listener: () => void): boolean {
    const { head } = this.feed;
    const hasEvents = !this.current || this.page.length > 0;
    if (this.notifier.closed || hasEvents || !head || !this.mayRead(head)) return false;
    this.notifier.once(listener);
    return true;
  }

  get current(): boolean {
    const { before, length } = this.feed.events;
    return this.#at === before + length;
  }

  protected shiftPage(): ConversationEvent | undefined {
    const event = this.page.shift();
    if (event && 'message' in event) {
      this.rev = event.rev;
      this.#replay?.delivered.add(event.message.seq);
    }
    return event;
  }

  /** The events that end a replay hold no message; they stay. */
  protected dropStale(): void {
    if (!this.#replay || !this.stale) return;
    this.page = [];
    this.#isLastPage = false;
  }

  protected async readPage(head: Conversation): Promise<boolean> {
    if (this.#at !== null) return false;
    const { before, length } = this.feed.events;
    this.#replay ??= { head, at: before + length, base: this.rev, delivered: new BitSet() };
    const replay = this.#replay;
    if (!this.#isLastPage) {
      const page = await this.load(head, (size) => this.feed.store.changes(head.id, this.rev, size));
      if (!page) return false;
      this.page = page.messages.map((message) =>
        messageEvent(message, replay.delivered.has(message.seq) ? message.addedRev : replay.base),
      );
      this.#seq = Math.max(this.#seq, replay.head.lastSeq, ...page.messages.map(({ seq }) => seq));
      this.#isLastPage = !page.hasMore;
    }
    if (this.#isLastPage && this.page.length === 0) this.#finish(replay);
    return true;
  }

  /** An event of the feed as this subscriber gets it; undefined where it has it already, or is not to get it. */
  #forViewer(event: ConversationEvent): ConversationEvent | undefined {
    if (event.__typename === 'Typing') return event.member === this.viewer.email ? undefined : event;
    if (!('message' in event)) return event;
    if (event.rev <= this.rev) return undefined;
    this.rev = event.rev;
    // A replay may have delivered the message in an earlier state that the feed never saw.
    const known = event.__typename === 'MessageAdded' && event.message.addedRev <= this.#base;
    return known ? messageEvent(event.message, this.#base) : event;
  }

  #finish(replay: Replay): void {
    this.rev = Math.max(this.rev, replay.head.lastRev);
    if (this.resumes || this.#caughtUp) this.page.push(...readsMoved(null, replay.head));
    if (!this.#caughtUp) this.page.push({ __typename: 'CaughtUp', rev: this.rev, seq: this.#seq });
    this.#caughtUp = true;
    this.#isLastPage = false;
    this.#base = this.rev;
    this.#at = replay.at;
    this.#replay = null;
  }
}
