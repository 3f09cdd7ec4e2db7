import {
  type Conversation,
  type ConversationId,
  type EmailAddress,
  horizonOf,
  type Instant,
  type Viewer,
} from '../../model.ts';
import type { Store, Typing, WakeUp } from '../../store/store.ts';
import type { KnownStates } from '../log/known-states.ts';
import { may } from '../rules/access.ts';
import type { Follower, Room } from './feed.ts';
import { Notifier } from './notifier.ts';

/** How many conversations of each viewer are told of again after wake-ups were lost. */
const TOP = 100;
const EVERYTHING = { configId: null, status: null, label: null, unreadOnly: false, archived: false };

/** By so much the clocks of two processes may differ, in milliseconds. */
const CLOCK_SKEW_MS = 300_000;

/** What all followers need of their surroundings. */
interface Lists {
  readonly knownStates: KnownStates;
  readonly leave: (follower: ListFollower) => void;
  /** A read failed: the follower is to be woken to try again. */
  readonly failed: (follower: ListFollower, error: unknown) => void;
}

/** A subscriber to the changes of one viewer's chat list. A class, because there are many. */
class ListFollower implements Follower<Conversation> {
  /** Milliseconds since 1970. */
  readonly since: Instant;
  readonly viewer: Viewer;
  readonly news = new Notifier();
  readonly #lists: Lists;
  readonly #room: Room;
  /**
   * Changed and not yet told, so that what changes twice is told once. The state is one object for all followers; null
   * where it is to be read when its turn comes.
   */
  readonly #changed = new Map<ConversationId, Conversation | null>();
  /** Conversations that the viewer left, as far as that is not told yet. */
  readonly #left = new Set<ConversationId>();

  constructor(lists: Lists, viewer: Viewer, room: Room, since: Instant) {
    this.#lists = lists;
    this.viewer = viewer;
    this.#room = room;
    this.since = since;
  }

  mark(id: ConversationId, state: Conversation | null): void {
    // What is to be read when its turn comes is never older.
    if (this.#changed.get(id) !== null) this.#changed.set(id, state);
    this.news.notify();
  }

  markLeft(id: ConversationId): void {
    this.#left.add(id);
    this.mark(id, null);
  }

  poll(): Conversation | undefined {
    while (!this.news.closed && this.#changed.size > 0 && this.#room.free()) {
      const [[id, state] = []] = this.#changed;
      if (!id || !state) return undefined;
      this.#changed.delete(id);
      const told = this.#toldOf(state);
      if (told) return told;
    }
    return undefined;
  }

  onReadable(listener: () => void): boolean {
    if (this.news.closed || this.#changed.size > 0) return false;
    this.news.once(listener);
    return true;
  }

  async next(): Promise<IteratorResult<Conversation>> {
    while (!this.news.closed) {
      if (this.#changed.size > 0) await this.#room.drained();
      const [first] = this.#changed;
      if (first === undefined || this.news.closed) {
        await this.news.wait();
        continue;
      }
      const [id, state] = first;
      this.#changed.delete(id);
      try {
        const conversation = state ?? (await this.#lists.knownStates.read(id));
        // Marked meanwhile, it is told of in its turn: what was read may be newer than that.
        if (!state && this.#changed.has(id)) continue;
        const told = conversation && this.#toldOf(conversation);
        if (told) return { done: false, value: told };
      } catch (error) {
        this.#changed.set(id, null);
        this.#lists.failed(this, error);
        await this.news.wait();
      }
    }
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#lists.leave(this);
    this.news.close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #toldOf(conversation: Conversation): Conversation | null {
    if (may('chatListChanged', this.viewer, conversation)) return conversation;
    return this.#left.delete(conversation.id) ? goneFor(this.viewer, conversation) : null;
  }
}

/**
 * What is told of a conversation once its viewer has left: that it is gone, and nothing that was written in it. That
 * there are no messages distinguishes it from every conversation that exists.
 */
function goneFor({ email }: Viewer, { id, configId, members, createdAt }: Conversation): Conversation {
  const own = members.get(email);
  return {
    ...{ id, configId, subject: null, party: null, status: 'CLOSED', labels: [], assignee: null, createdAt },
    ...{ members: new Map(own && [[email, own]]), lastActivityAt: own?.leftAt ?? createdAt },
    ...{ lastSeq: 0, lastRev: 0, counted: 0 },
  };
}

/** Tells viewers of changes anywhere in their chat lists, as present states. */
export function createChatListFeeds(
  store: Store,
  knownStates: KnownStates,
  clock: () => Instant,
  onError: (error: unknown) => void,
) {
  const followers = new Map<EmailAddress, Set<ListFollower>>();
  /** Conversations that changed, of which it could not be read whom that concerns. */
  const missed = new Set<ConversationId>();
  /** Viewers who are to be told of the top of their list again, because wake-ups were lost. */
  const unsure = new Set<EmailAddress>();
  /** Followers that wait to try again. */
  const waiting = new Set<ListFollower>();
  /** Conversations that are being read; true where one changed meanwhile, and is to be read again. */
  const reading = new Map<ConversationId, boolean>();

  const lists: Lists = {
    knownStates,
    leave(follower) {
      const { email } = follower.viewer;
      const all = followers.get(email);
      if (all?.delete(follower) && all.size === 0) followers.delete(email);
      waiting.delete(follower);
    },
    failed(follower, error) {
      waiting.add(follower);
      onError(error);
    },
  };

  function mark(email: EmailAddress, id: ConversationId, state: Conversation | null): void {
    for (const follower of followers.get(email) ?? []) follower.mark(id, state);
  }

  function markLeft(email: EmailAddress, id: ConversationId): void {
    for (const follower of followers.get(email) ?? []) follower.markLeft(id);
  }

  async function wake(wakeUp: Exclude<WakeUp, Typing>, state: Conversation | null): Promise<void> {
    if (followers.size === 0) return;
    const { conversation: id } = wakeUp;
    if (reading.has(id)) reading.set(id, true);
    if (wakeUp.kind !== 'log') return mark(wakeUp.member, id, state);
    for (const email of wakeUp.left ?? []) markLeft(email, id);
    if (reading.has(id)) return;
    if (state) for (const email of state.members.keys()) mark(email, id, state);
    else await readAndMark(id);
  }

  /** One reading at a time of each conversation: so no follower is given an older state after a newer one. */
  async function readAndMark(id: ConversationId): Promise<void> {
    try {
      do {
        reading.set(id, false);
        const conversation = await knownStates.read(id);
        for (const email of conversation?.members.keys() ?? []) mark(email, id, conversation);
      } while (reading.get(id));
    } catch (error) {
      missed.add(id);
      onError(error);
    } finally {
      reading.delete(id);
    }
  }

  let telling = false;
  async function tellTops(): Promise<void> {
    if (telling) return;
    telling = true;
    for (const email of unsure) {
      unsure.delete(email);
      const since = Math.min(...[...(followers.get(email) ?? [])].map((follower) => follower.since));
      if (since === Number.POSITIVE_INFINITY) continue;
      try {
        const { conversations } = await store.chatList(email, EVERYTHING, {
          ...{ first: TOP, after: null, horizon: horizonOf(clock()) },
        });
        for (const { id } of conversations) mark(email, id, null);
        for (const id of await store.leftSince(email, since - CLOCK_SKEW_MS, TOP)) markLeft(email, id);
      } catch (error) {
        // The slow poll tries again.
        unsure.add(email);
        onError(error);
        break;
      }
    }
    telling = false;
  }

  return {
    /** Tells of a change; `state` is what it leaves, where that is known. */
    wake,
    /** Wake-ups were lost: tells everybody of the conversations at the top of their list, and of those they left. */
    wakeTops(): Promise<void> {
      for (const email of followers.keys()) unsure.add(email);
      return tellTops();
    },
    /** A change may have been missed: the slow poll looks. */
    doubt: (id: ConversationId): void => void missed.add(id),
    /** The slow poll: looks again at what could not be read before. */
    async poll(): Promise<void> {
      const ids = [...missed];
      missed.clear();
      for (const { news } of waiting) news.notify();
      waiting.clear();
      await Promise.all([tellTops(), ...ids.map((id) => (reading.has(id) ? reading.set(id, true) : readAndMark(id)))]);
    },
    /** Followers now registered. */
    size(): number {
      let size = 0;
      for (const set of followers.values()) size += set.size;
      return size;
    },
    /**
     * The state of each conversation of the viewer after it changed, from now on; registered when this returns. Of one
     * that the viewer left `goneFor`. Nothing is taken before the subscriber has room for it: until then the newest
     * state counts.
     */
    follow(viewer: Viewer, room: Room): Follower<Conversation> {
      const follower = new ListFollower(lists, viewer, room, clock());
      followers.set(viewer.email, (followers.get(viewer.email) ?? new Set()).add(follower));
      return follower;
    },
  };
}
