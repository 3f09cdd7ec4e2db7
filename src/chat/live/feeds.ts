import type { Conversation, ConversationId, Rev, Viewer } from '../../model.ts';
import type { Store, Typing, WakeUp } from '../../store/store.ts';
import type { KnownStates } from '../log/known-states.ts';
import type { MessageView } from '../message-view.ts';
import type { Cursor } from './cursor.ts';
import { EventCursor } from './event-cursor.ts';
import type { Backpressure, EventStream } from './event-stream.ts';
import type { ConversationEvent } from './events.ts';
import { Feed, type FeedContext } from './feed.ts';
import { MessageCursor } from './message-cursor.ts';

/** Feeds that each slow poll refreshes in turn, beside those in doubt. */
const POLLED_IN_TURN = 4;

/** Where a subscription starts, and the state in which the viewer was found to be a member. */
export interface Start {
  readonly position: number;
  readonly lastRev: Rev;
}

/**
 * Live delivery by position. A wake-up takes a feed from its state to the next, by the write it carries or by reading
 * the log from where the feed is; subscribers are cursors that read the shared tail, or page through the store when
 * they are behind it. No subscriber has a queue.
 */
export function createFeeds(store: Store, knownStates: KnownStates, onError: (error: unknown) => void) {
  const feeds = new Map<ConversationId, Feed>();
  /** Feeds that may have missed a change: the slow poll refreshes them. */
  const doubted = new Set<ConversationId>();
  /** The feeds that are still to be polled in this round. */
  let inTurn = feeds.values();
  const context: FeedContext = {
    ...{ store, knownStates, onError },
    onDoubt: (id) => doubted.add(id),
    onUnused(feed) {
      if (feeds.get(feed.id) === feed) feeds.delete(feed.id);
    },
  };

  /** `start` is called once the cursor is registered; an error it throws removes the cursor. */
  async function subscribe<C extends Cursor<unknown>>(
    id: ConversationId,
    createCursor: (feed: Feed) => C,
    start: (cursor: C) => Promise<Start>,
  ): Promise<C> {
    const feed = feeds.get(id) ?? new Feed(id, context);
    feeds.set(id, feed);
    const cursor = createCursor(feed);
    feed.add(cursor);
    try {
      const { lastRev } = await start(cursor);
      // In an older state the viewer may not be a member yet.
      if (!feed.head || feed.head.lastRev < lastRev) await feed.refresh();
      return cursor;
    } catch (error) {
      await cursor.return();
      throw error;
    }
  }

  return {
    /** Takes the feed of the conversation to the next state, which is `state` where that is known. */
    wake(wakeUp: Exclude<WakeUp, Typing>, state: Conversation | null): void {
      const feed = feeds.get(wakeUp.conversation);
      if (feed && !feed.apply(wakeUp, state)) void feed.refresh();
    },
    /** A change may have been missed: the slow poll refreshes the feed. */
    doubt: (id: ConversationId): void => void doubted.add(id),
    typing: (typing: Omit<Typing, 'kind'>): void => feeds.get(typing.conversation)?.typing(typing),
    /** Wake-ups were lost: refreshes every feed. */
    wakeAll(): void {
      for (const feed of feeds.values()) void feed.refresh();
    },
    /** The slow poll: refreshes the feeds in doubt, and a few others in turn. */
    poll(): void {
      const polled = new Set(doubted);
      doubted.clear();
      for (let i = 0; i < Math.min(POLLED_IN_TURN, feeds.size); i++) {
        let { done, value } = inTurn.next();
        if (done) {
          inTurn = feeds.values();
          ({ done, value } = inTurn.next());
        }
        if (value) polled.add(value.id);
      }
      for (const id of polled) void feeds.get(id)?.refresh();
    },
    /** Number of subscribers, over all conversations. */
    size(): number {
      let size = 0;
      for (const feed of feeds.values()) size += feed.size;
      return size;
    },
    /**
     * Every message after a position once, in order, then live. `start` is called once the subscriber is registered, so
     * that nothing falls between the position it returns and the first wake-up; an error it throws ends the stream.
     */
    follow(
      id: ConversationId,
      viewer: Viewer,
      backpressure: Backpressure,
      start: () => Promise<Start>,
    ): Promise<EventStream<MessageView>> {
      return subscribe(
        id,
        (feed) => new MessageCursor(feed, viewer, backpressure),
        async (cursor) => {
          const begun = await start();
          cursor.seq = begun.position;
          return begun;
        },
      );
    },
    /** Every event after a position, then live; with `resumes`, all read positions too. `start` as for `follow`. */
    followEvents(
      id: ConversationId,
      viewer: Viewer,
      backpressure: Backpressure,
      resumes: boolean,
      start: () => Promise<Start>,
    ): Promise<EventStream<ConversationEvent>> {
      return subscribe(
        id,
        (feed) => new EventCursor(feed, viewer, backpressure),
        async (cursor) => {
          const begun = await start();
          cursor.resumes = resumes;
          cursor.rev = begun.position;
          return begun;
        },
      );
    },
  };
}
