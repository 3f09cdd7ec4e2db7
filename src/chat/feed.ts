import type { Conversation, ConversationId, Viewer } from '../model.ts';
import type { Store, Typing } from '../store/store.ts';
import { Cursor } from './cursor.ts';
import { EventCursor } from './event-cursor.ts';
import { type ConversationEvent, messageEvent, readsMoved } from './events.ts';
import type { Place } from './place.ts';
import { type MessageView, textLength, viewIn } from './view.ts';

/** Messages, and events, that a feed keeps at hand for those who keep up; whoever is further behind reads the store. */
const TAIL = 256;
/** UTF-16 units of text that they hold at most, earlier texts of messages included, but for the newest. */
const TAIL_TEXT = 500_000;
/** How often a feed tries to read what belongs to one state. */
const LOOKS = 5;

/** Somebody's place in what happens in a conversation. Ends when the viewer is no member any more. */
export interface Follower<Event> extends AsyncIterableIterator<Event> {
  /** The next event, if it is at hand for all who keep up; undefined where `next` is to be waited for. */
  take(): Event | undefined;
  /** Calls back when there may be something to take; false, and it never does, where `next` is to be asked instead. */
  onNews(listener: () => void): boolean;
}

/** Waits until the subscriber's socket has room; for those who read history faster than they can take it. */
export type Drained = () => Promise<void>;

/** One conversation's log as seen by this process while somebody here follows it. */
export interface Feed {
  readonly id: ConversationId;
  /** The conversation as of the last read; null before the first. */
  head: Conversation | null;
  /** The newest messages up to `head.lastSeq` as they are at `head.lastRev`, ascending, without holes. */
  tail: MessageView[];
  /** What happened last, up to `head`; kept while somebody follows all of it. */
  events: ConversationEvent[];
  /** How many events are not kept any more. */
  eventsBefore: number;
  /** The newest state in which messages are known, or may be thought, to have changed: what was read before that may be stale. */
  changedAt: number;
  /** The reading under way. */
  reading: Promise<void> | null;
  /** A wake-up came while reading: read once more. */
  again: boolean;
  readonly followers: Set<Place<unknown>>;
  /** How many of them follow all that happens. */
  eventCursors: number;
}

/** Where somebody begins, and the state in which they were found to be a member. */
export interface Start {
  readonly position: number;
  readonly lastRev: number;
}

/** What all cursors need of their surroundings. */
export interface Feeds {
  readonly store: Store;
  readonly onError: (error: unknown) => void;
  readonly leave: (feed: Feed, follower: Place<unknown>) => void;
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
      if (feed.followers.delete(follower) && follower instanceof EventCursor) feed.eventCursors--;
      if (feed.followers.size === 0 && feeds.get(feed.id) === feed) feeds.delete(feed.id);
      follower.news.close();
    },
  };

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
        const head = await store.conversation(feed.id);
        // A store that was away may show an older state for a moment.
        if (!head || head.lastRev < (feed.head?.lastRev ?? 0)) continue;
        const news = feed.head && (await newsBetween(feed.head, head));
        // What was changed again meanwhile belongs to a later state: then that is read.
        if (news?.some(({ rev }) => rev > head.lastRev) && ++looks < LOOKS) {
          feed.again = true;
          continue;
        }
        looks = 0;
        await advance(feed, head, news);
      }
    } catch (error) {
      // The slow poll tries again.
      onError(error);
    } finally {
      feed.reading = null;
    }
  }

  /** What was added or changed, ascending by `rev`; null where that is more than is kept at hand. */
  async function newsBetween(before: Conversation, head: Conversation): Promise<MessageView[] | null> {
    const steps = head.lastRev - before.lastRev;
    if (steps === 0) return [];
    if (steps > TAIL) return null;
    // Where nothing was changed, the new ones are a range of numbers.
    const added = head.lastSeq - before.lastSeq === steps;
    const news = await (added
      ? store.messages(head.id, before.lastSeq + 1, head.lastSeq)
      : store.changes(head.id, before.lastRev, TAIL));
    return news.map(viewIn(head));
  }

  async function advance(feed: Feed, head: Conversation, news: MessageView[] | null): Promise<void> {
    const before = feed.head;
    if (!before || !news || news.some(({ rev }) => rev > head.lastRev)) {
      // What came before is only read where somebody missed it.
      const from = before ? Math.max(1, head.lastSeq - TAIL + 1) : head.lastSeq + 1;
      const messages = from > head.lastSeq ? [] : await store.messages(head.id, from, head.lastSeq);
      feed.tail = newest(messages.map(viewIn(head)));
      // One that nobody has taken, so that all go to the store.
      forget(feed, 1);
      feed.changedAt = head.lastRev;
    } else {
      const known = before.lastSeq;
      const changed = new Map(news.filter(({ seq }) => seq <= known).map((message) => [message.seq, message]));
      const tail = changed.size > 0 ? feed.tail.map((message) => changed.get(message.seq) ?? message) : feed.tail;
      const added = news.filter(({ seq }) => seq > known).sort((a, b) => a.seq - b.seq);
      if (news.length > 0) feed.tail = newest([...tail, ...added]);
      const events = [...news.map((message) => messageEvent(message, before.lastRev)), ...readsMoved(before, head)];
      tell(feed, changed.size > 0, events);
      // One that is new here may have been read before, by whoever reads the store.
      if (news.some(({ rev, addedRev }) => rev > addedRev)) feed.changedAt = head.lastRev;
    }
    feed.head = head;
    for (const { news } of feed.followers) news.notify();
  }

  /** @param changes whether messages are changed: whoever has not taken the events before gets those anew from the store */
  function tell(feed: Feed, changes: boolean, events: readonly ConversationEvent[]): void {
    if (changes || feed.eventCursors === 0) forget(feed, 0);
    if (feed.eventCursors === 0) return;
    const kept = newest([...feed.events, ...events]);
    feed.eventsBefore += feed.events.length + events.length - kept.length;
    feed.events = kept;
  }

  /** Keeps no events: who has not taken them all, and `more` that were not kept, goes to the store. */
  function forget(feed: Feed, more: number): void {
    feed.eventsBefore += feed.events.length + more;
    feed.events = [];
  }

  /** Puts somebody in a feed. `start` is called once they are registered; what it throws takes them out again. */
  async function enter<F extends Place<unknown>>(
    id: ConversationId,
    make: (feed: Feed) => F,
    start: (follower: F) => Promise<Start>,
  ): Promise<F> {
    const empty = { head: null, tail: [], events: [], eventsBefore: 0, changedAt: 0, reading: null, again: false };
    const feed: Feed = feeds.get(id) ?? { id, ...empty, followers: new Set(), eventCursors: 0 };
    feeds.set(id, feed);
    const follower = make(feed);
    feed.followers.add(follower);
    if (follower instanceof EventCursor) feed.eventCursors++;
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
    /** Makes the feed of this conversation, if there is one, look again. */
    wake(id: ConversationId): void {
      const feed = feeds.get(id);
      if (feed) void read(feed);
    },
    /** Tells of somebody who types. */
    tellTyping({ conversation, member, typing }: Omit<Typing, 'kind'>): void {
      const feed = feeds.get(conversation);
      if (!feed) return;
      tell(feed, false, [{ __typename: 'Typing', member, typing }]);
      for (const { news } of feed.followers) news.notify();
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
    follow(
      id: ConversationId,
      viewer: Viewer,
      drained: Drained,
      start: () => Promise<Start>,
    ): Promise<Follower<MessageView>> {
      return enter(
        id,
        (feed) => new Cursor(surroundings, feed, viewer, drained),
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
      drained: Drained,
      resumes: boolean,
      start: () => Promise<Start>,
    ): Promise<Follower<ConversationEvent>> {
      return enter(
        id,
        (feed) => new EventCursor(surroundings, feed, viewer, drained),
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

/** The end of a list that a feed keeps. */
function newest<T extends MessageView | ConversationEvent>(entries: readonly T[]): T[] {
  let from = entries.length;
  for (let text = 0; from > Math.max(0, entries.length - TAIL); from--) {
    text += lengthOf(entries[from - 1]);
    if (text > TAIL_TEXT && from < entries.length) break;
  }
  return entries.slice(from);
}

function lengthOf(entry: MessageView | ConversationEvent | undefined): number {
  if (!entry) return 0;
  if ('__typename' in entry) return 'message' in entry ? textLength(entry.message) : 0;
  return textLength(entry);
}
