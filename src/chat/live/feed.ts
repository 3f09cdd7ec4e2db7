import type { Conversation, ConversationId, Viewer } from '../../model.ts';
import { revAfter, type Store, type Typing, type WakeUp } from '../../store/store.ts';
import type { KnownStates } from '../log/known-states.ts';
import { type MessageView, viewIn } from '../message-view.ts';
import type { Cursor } from './cursor.ts';
import { EventCursor } from './event-cursor.ts';
import { type ConversationEvent, messageEvent, readsMoved } from './events.ts';
import { MessageCursor } from './message-cursor.ts';
import { RecentEntries } from './recent-entries.ts';

/** Changes that are read back at once; where more were missed, those who follow read them by pages. */
const MISSED = 256;
/** Feeds that the slow poll looks at, of those of which nothing is in doubt. */
const LOOKED_AT = 4;
/** How often a feed tries to read what belongs to one state. */
const MAX_ATTEMPTS = 5;

/** Somebody's place in what happens in a conversation. Ends when the viewer is no member any more. */
export interface Follower<Event> extends AsyncIterableIterator<Event> {
  /** The next event, if it is at hand for all who keep up; undefined where `next` is to be waited for. */
  poll(): Event | undefined;
  /** Calls back when there may be something to take; false, and it never does, where `next` is to be asked instead. */
  onReadable(listener: () => void): boolean;
}

/** Room for more on a subscriber's socket. */
export interface Room {
  /** Whether there is some now. */
  free(): boolean;
  /** Resolves when there is some, or the socket has ended. */
  drained(): Promise<void>;
}

/** One conversation's log as seen by this process while somebody here follows it. */
export interface Feed {
  readonly id: ConversationId;
  /** The conversation as of the last read; null before the first. */
  head: Conversation | null;
  /**
   * The newest messages up to `head.lastSeq` as they are at `head.lastRev`, ascending, without holes, as far as a
   * follower has not taken them.
   */
  readonly tail: RecentEntries<MessageView>;
  /** What happened last, up to `head`, as far as a follower has not taken it. */
  readonly events: RecentEntries<ConversationEvent>;
  /** The newest state in which messages are known, or may be thought, to have changed: what was read before that may be stale. */
  changedAt: number;
  /** The reading under way. */
  reading: Promise<void> | null;
  /** A wake-up came while reading: read once more. */
  again: boolean;
  readonly followers: Set<Cursor<unknown>>;
}

/** Where somebody begins, and the state in which they were found to be a member. */
export interface Start {
  readonly position: number;
  readonly lastRev: number;
}

/** What all cursors need of their surroundings. */
export interface Feeds {
  readonly store: Store;
  /** A read for a follower failed: it is to be woken to try again. */
  readonly failed: (feed: Feed, error: unknown) => void;
  readonly leave: (feed: Feed, follower: Cursor<unknown>) => void;
}

/**
 * Live delivery by position. A wake-up takes a feed from its state to the next, by what it says was written or by reading
 * the log from where the feed is; followers are cursors that take from the shared tail, or page through the store when
 * they are behind it. Nothing is queued for anybody.
 */
export function createFeeds(store: Store, knownStates: KnownStates, onError: (error: unknown) => void) {
  const feeds = new Map<ConversationId, Feed>();
  /** Feeds that may have missed something: looked at by the slow poll. */
  const doubted = new Set<ConversationId>();
  let next = feeds.values();
  const context: Feeds = {
    store,
    failed,
    leave(feed, follower) {
      feed.followers.delete(follower);
      if (feed.followers.size === 0 && feeds.get(feed.id) === feed) feeds.delete(feed.id);
      follower.notifier.close();
    },
  };

  function failed({ id }: Feed, error: unknown): void {
    doubted.add(id);
    onError(error);
  }

  /** Makes a feed look again; resolves when it has. */
  async function read(feed: Feed): Promise<void> {
    feed.again = true;
    feed.reading ??= readOn(feed);
    await feed.reading;
  }

  async function readOn(feed: Feed): Promise<void> {
    try {
      let looks = 0;
      while (feed.again) {
        feed.again = false;
        const head = await knownStates.read(feed.id);
        // A store that was away may show an older state for a moment.
        if (!head || head.lastRev < (feed.head?.lastRev ?? 0)) {
          doubted.add(feed.id);
          continue;
        }
        const news = feed.head && (await newsBetween(feed.head, head));
        // What was changed again meanwhile belongs to a later state: then that is read.
        if (news?.some(({ rev }) => rev > head.lastRev) && ++looks < MAX_ATTEMPTS) {
          feed.again = true;
          continue;
        }
        looks = 0;
        await advance(feed, head, news);
      }
    } catch (error) {
      failed(feed, error);
    } finally {
      feed.reading = null;
    }
  }

  /** What was added or changed, ascending by `rev`; null where that is more than is kept at hand. */
  async function newsBetween(before: Conversation, head: Conversation): Promise<MessageView[] | null> {
    const steps = head.lastRev - before.lastRev;
    if (steps === 0) return [];
    if (steps > MISSED) return null;
    // Where nothing was changed, the new ones are a range of numbers.
    const added = head.lastSeq - before.lastSeq === steps;
    const news = await (added
      ? store.messages(head.id, before.lastSeq + 1, head.lastSeq)
      : store.changes(head.id, before.lastRev, MISSED));
    return news.map(viewIn(head));
  }

  async function advance(feed: Feed, head: Conversation, news: MessageView[] | null): Promise<void> {
    const before = feed.head;
    if (before && news && !news.some(({ rev }) => rev > head.lastRev)) return goOn(feed, before, head, news);
    // What came before is only read where a follower missed it.
    const from = before ? Math.max(1, head.lastSeq - MISSED + 1) : head.lastSeq + 1;
    const messages = from > head.lastSeq ? [] : await store.messages(head.id, from, head.lastSeq);
    feed.tail.clear();
    feed.tail.push(messages.map(viewIn(head)));
    // One more than there are, so that all go to the store.
    feed.events.clear(1);
    feed.changedAt = head.lastRev;
    feed.head = head;
    notify(feed);
  }

  /** Takes a feed from one state to the next, between which this was added or changed, ascending by `rev`. */
  function goOn(feed: Feed, before: Conversation, head: Conversation, news: readonly MessageView[]): void {
    const changed = news.filter(({ seq }) => seq <= before.lastSeq);
    const added = news.filter(({ seq }) => seq > before.lastSeq);
    if (changed.length > 0) {
      const bySeq = new Map(changed.map((message) => [message.seq, message]));
      feed.tail.replace((message) => bySeq.get(message.seq) ?? message);
      added.sort((a, b) => a.seq - b.seq);
    }
    feed.tail.push(added);
    const events = [...news.map((message) => messageEvent(message, before.lastRev)), ...readsMoved(before, head)];
    tell(feed, changed.length > 0, events);
    // One that is new here may have been read before, by a page of the store.
    if (news.some(({ rev, addedRev }) => rev > addedRev)) feed.changedAt = head.lastRev;
    feed.head = head;
    notify(feed);
  }

  /** @param changes whether messages are changed: a follower that has not taken the events before reads the store */
  function tell(feed: Feed, changes: boolean, events: readonly ConversationEvent[]): void {
    if (changes) feed.events.clear();
    feed.events.push(events);
  }

  /** Lets followers take what there is; what all of them have is kept no longer. */
  function notify(feed: Feed): void {
    for (const { notifier: news } of feed.followers) news.notify();
    for (const follower of feed.followers) if (!follower.current) return;
    feed.tail.clear();
    feed.events.clear();
  }

  /** Goes on by what a wake-up says was written, where that follows on the state of the feed. */
  function goOnBy(feed: Feed, wakeUp: WakeUp, state: Conversation | null): boolean {
    const { head } = feed;
    if (!head || !state || feed.reading) return false;
    if (wakeUp.kind === 'read' && state.lastRev === head.lastRev) goOn(feed, head, state, []);
    else if (wakeUp.kind === 'log' && wakeUp.write) {
      const { messages, changed, afterRev } = wakeUp.write;
      if (head.lastRev >= revAfter(wakeUp.write)) return true;
      if (head.lastRev !== afterRev || state.lastRev !== revAfter(wakeUp.write)) return false;
      const news = [...messages, ...changed].map((message) => ({ ...message, conversation: state }));
      goOn(feed, head, state, changed.length > 0 ? news.sort((a, b) => a.rev - b.rev) : news);
    } else return wakeUp.kind === 'view';
    return true;
  }

  /** Puts somebody in a feed. `start` is called once they are registered; what it throws takes them out again. */
  async function enter<F extends Cursor<unknown>>(
    id: ConversationId,
    make: (feed: Feed) => F,
    start: (follower: F) => Promise<Start>,
  ): Promise<F> {
    const feed: Feed = feeds.get(id) ?? {
      ...{
        id,
        head: null,
        tail: new RecentEntries(),
        events: new RecentEntries(),
        changedAt: 0,
        reading: null,
        again: false,
      },
      followers: new Set(),
    };
    feeds.set(id, feed);
    const follower = make(feed);
    feed.followers.add(follower);
    try {
      const { lastRev } = await start(follower);
      // In an older state they may not be a member yet.
      if (!feed.head || feed.head.lastRev < lastRev) await read(feed);
      return follower;
    } catch (error) {
      await follower.return();
      throw error;
    }
  }

  return {
    /** Takes the feed of this conversation, if there is one, on; `state` is what the wake-up leaves, where that is known. */
    wake(wakeUp: Exclude<WakeUp, Typing>, state: Conversation | null): void {
      const feed = feeds.get(wakeUp.conversation);
      if (feed && !goOnBy(feed, wakeUp, state)) void read(feed);
    },
    /** A change may have been missed: the slow poll looks. */
    doubt: (id: ConversationId): void => void doubted.add(id),
    /** Tells of somebody who types. */
    tellTyping({ conversation, member, typing }: Omit<Typing, 'kind'>): void {
      const feed = feeds.get(conversation);
      if (!feed) return;
      tell(feed, false, [{ __typename: 'Typing', member, typing }]);
      notify(feed);
    },
    /** Wake-ups were lost: makes every feed look again. */
    wakeAll(): void {
      for (const feed of feeds.values()) void read(feed);
    },
    /** The slow poll: looks at what is in doubt, and at a few others in turn. */
    poll(): void {
      const looked = new Set(doubted);
      doubted.clear();
      for (let i = 0; i < Math.min(LOOKED_AT, feeds.size); i++) {
        let { done, value } = next.next();
        if (done) {
          next = feeds.values();
          ({ done, value } = next.next());
        }
        if (value) looked.add(value.id);
      }
      for (const id of looked) {
        const feed = feeds.get(id);
        if (feed) void read(feed);
      }
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
    follow(
      id: ConversationId,
      viewer: Viewer,
      room: Room,
      start: () => Promise<Start>,
    ): Promise<Follower<MessageView>> {
      return enter(
        id,
        (feed) => new MessageCursor(context, feed, viewer, room),
        async (follower) => {
          const begun = await start();
          follower.seq = begun.position;
          return begun;
        },
      );
    },
    /** Everything after a position, then live; with `resumes`, where everybody has read to, too. `start` as for `follow`. */
    followEvents(
      id: ConversationId,
      viewer: Viewer,
      room: Room,
      resumes: boolean,
      start: () => Promise<Start>,
    ): Promise<Follower<ConversationEvent>> {
      return enter(
        id,
        (feed) => new EventCursor(context, feed, viewer, room),
        async (follower) => {
          const begun = await start();
          follower.resumes = resumes;
          follower.rev = begun.position;
          return begun;
        },
      );
    },
  };
}
