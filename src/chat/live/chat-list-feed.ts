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
import type { Backpressure, EventStream } from './event-stream.ts';
import { Notifier } from './notifier.ts';

/** Conversations of each viewer that are delivered again after wake-ups were lost. */
const MAX_REDELIVERED = 100;
/** The filter of the whole list, without the archived conversations. */
const EVERYTHING = { configId: null, status: null, label: null, unreadOnly: false, archived: false };

/** How much the clocks of two processes may differ, in milliseconds. */
const CLOCK_SKEW_MS = 300_000;

/** The context of all subscribers. */
interface ListContext {
  readonly knownStates: KnownStates;
  readonly onClose: (subscriber: ListSubscriber) => void;
  /** Called when a read failed: the slow poll wakes the subscriber to try again. */
  readonly onReadError: (subscriber: ListSubscriber, error: unknown) => void;
}

/** A subscriber to the changes of one viewer's chat list. A class, because there are many. */
class ListSubscriber implements EventStream<Conversation> {
  /** When the subscription began. */
  readonly since: Instant;
  readonly viewer: Viewer;
  readonly notifier = new Notifier();
  readonly #context: ListContext;
  readonly #backpressure: Backpressure;
  /**
   * Changes not yet delivered, one for each conversation. The state is one object for all subscribers; null where it is
   * read on delivery.
   */
  readonly #changed = new Map<ConversationId, Conversation | null>();
  /** Conversations that the viewer left, while that is not delivered. */
  readonly #left = new Set<ConversationId>();

  constructor(context: ListContext, viewer: Viewer, backpressure: Backpressure, since: Instant) {
    this.#context = context;
    this.viewer = viewer;
    this.#backpressure = backpressure;
    this.since = since;
  }

  mark(id: ConversationId, state: Conversation | null): void {
    // A state read on delivery is never older.
    if (this.#changed.get(id) !== null) this.#changed.set(id, state);
    this.notifier.notify();
  }

  markLeft(id: ConversationId): void {
    this.#left.add(id);
    this.mark(id, null);
  }

  poll(): Conversation | undefined {
    while (!this.notifier.closed && this.#changed.size > 0 && this.#backpressure.free()) {
      const [[id, state] = []] = this.#changed;
      if (!id || !state) return undefined;
      this.#changed.delete(id);
      const visible = this.#visibleState(state);
      if (visible) return visible;
    }
    return undefined;
  }

  onReadable(listener: () => void): boolean {
    if (this.notifier.closed || this.#changed.size > 0) return false;
    this.notifier.once(listener);
    return true;
  }

  async next(): Promise<IteratorResult<Conversation>> {
    while (!this.notifier.closed) {
      if (this.#changed.size > 0) await this.#backpressure.drained();
      const [first] = this.#changed;
      if (first === undefined || this.notifier.closed) {
        await this.notifier.wait();
        continue;
      }
      const [id, state] = first;
      this.#changed.delete(id);
      try {
        const conversation = state ?? (await this.#context.knownStates.read(id));
        // Marked meanwhile: it is delivered when that mark's turn comes, as this state may be newer than the mark.
        if (!state && this.#changed.has(id)) continue;
        const visible = conversation && this.#visibleState(conversation);
        if (visible) return { done: false, value: visible };
      } catch (error) {
        this.#changed.set(id, null);
        this.#context.onReadError(this, error);
        await this.notifier.wait();
      }
    }
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#context.onClose(this);
    this.notifier.close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #visibleState(conversation: Conversation): Conversation | null {
    if (may('chatListChanged', this.viewer, conversation)) return conversation;
    return this.#left.delete(conversation.id) ? tombstone(this.viewer, conversation) : null;
  }
}

/**
 * The state delivered to a viewer that has left the conversation: closed, without its content. `lastSeq` 0
 * distinguishes it from every conversation that exists.
 */
function tombstone({ email }: Viewer, { id, configId, members, createdAt }: Conversation): Conversation {
  const own = members.get(email);
  return {
    ...{ id, configId, subject: null, party: null, status: 'CLOSED', labels: [], assignee: null, createdAt },
    ...{ members: new Map(own && [[email, own]]), lastActivityAt: own?.leftAt ?? createdAt },
    ...{ lastSeq: 0, lastRev: 0, importedRev: 0, counted: 0 },
  };
}

/** Live delivery of chat lists: the present state of each conversation that changed. */
export function createChatListFeeds(
  store: Store,
  knownStates: KnownStates,
  clock: () => Instant,
  onError: (error: unknown) => void,
) {
  const subscribers = new Map<EmailAddress, Set<ListSubscriber>>();
  /** Conversations of which a change may have been missed, or could not be read: the slow poll reads them. */
  const doubted = new Set<ConversationId>();
  /** Viewers to redeliver the top of the list to, because wake-ups were lost. */
  const unsureViewers = new Set<EmailAddress>();
  /** Subscribers that wait to try a read again. */
  const waiting = new Set<ListSubscriber>();
  /** Conversations being read; true where one changed meanwhile, and must be read again. */
  const reading = new Map<ConversationId, boolean>();

  const context: ListContext = {
    knownStates,
    onClose(subscriber) {
      const { email } = subscriber.viewer;
      const all = subscribers.get(email);
      if (all?.delete(subscriber) && all.size === 0) subscribers.delete(email);
      waiting.delete(subscriber);
    },
    onReadError(subscriber, error) {
      waiting.add(subscriber);
      onError(error);
    },
  };

  function mark(email: EmailAddress, id: ConversationId, state: Conversation | null): void {
    for (const subscriber of subscribers.get(email) ?? []) subscriber.mark(id, state);
  }

  function markLeft(email: EmailAddress, id: ConversationId): void {
    for (const subscriber of subscribers.get(email) ?? []) subscriber.markLeft(id);
  }

  async function wake(wakeUp: Exclude<WakeUp, Typing>, state: Conversation | null): Promise<void> {
    if (subscribers.size === 0) return;
    const { conversation: id } = wakeUp;
    if (reading.has(id)) reading.set(id, true);
    if (wakeUp.kind !== 'log') return mark(wakeUp.member, id, state);
    for (const email of wakeUp.left ?? []) markLeft(email, id);
    if (reading.has(id)) return;
    if (state) for (const email of state.members.keys()) mark(email, id, state);
    else await readAndMark(id);
  }

  /** Each conversation is read once at a time, so that no subscriber gets an older state after a newer one. */
  async function readAndMark(id: ConversationId): Promise<void> {
    try {
      do {
        reading.set(id, false);
        const conversation = await knownStates.read(id);
        for (const email of conversation?.members.keys() ?? []) mark(email, id, conversation);
      } while (reading.get(id));
    } catch (error) {
      doubted.add(id);
      onError(error);
    } finally {
      reading.delete(id);
    }
  }

  let redelivering = false;
  async function redeliverTops(): Promise<void> {
    if (redelivering) return;
    redelivering = true;
    for (const email of unsureViewers) {
      unsureViewers.delete(email);
      const since = Math.min(...[...(subscribers.get(email) ?? [])].map(({ since }) => since));
      if (since === Number.POSITIVE_INFINITY) continue;
      try {
        const { conversations } = await store.chatList(email, EVERYTHING, {
          ...{ first: MAX_REDELIVERED, after: null, horizon: horizonOf(clock()) },
        });
        for (const { id } of conversations) mark(email, id, null);
        for (const id of await store.leftSince(email, since - CLOCK_SKEW_MS, MAX_REDELIVERED)) markLeft(email, id);
      } catch (error) {
        // The slow poll tries again.
        unsureViewers.add(email);
        onError(error);
        break;
      }
    }
    redelivering = false;
  }

  return {
    /** Delivers a change; `state` is the conversation after it, where that is known. */
    wake,
    /** Wake-ups were lost: redelivers the top of each viewer's list, and the conversations that the viewer left. */
    wakeTops(): Promise<void> {
      for (const email of subscribers.keys()) unsureViewers.add(email);
      return redeliverTops();
    },
    /** A change may have been missed: the slow poll reads the conversation. */
    doubt: (id: ConversationId): void => void doubted.add(id),
    /** The slow poll: tries failed reads again. */
    async poll(): Promise<void> {
      const ids = [...doubted];
      doubted.clear();
      for (const { notifier } of waiting) notifier.notify();
      waiting.clear();
      await Promise.all([
        redeliverTops(),
        ...ids.map((id) => (reading.has(id) ? reading.set(id, true) : readAndMark(id))),
      ]);
    },
    /** Number of subscribers. */
    size(): number {
      let size = 0;
      for (const set of subscribers.values()) size += set.size;
      return size;
    },
    /**
     * The state of each of the viewer's conversations after it changed, from now on; a `tombstone` of one that the
     * viewer left. The subscriber is registered when this returns. A state is read when the socket takes more; until
     * then newer states replace it.
     */
    follow(viewer: Viewer, backpressure: Backpressure): EventStream<Conversation> {
      const subscriber = new ListSubscriber(context, viewer, backpressure, clock());
      subscribers.set(viewer.email, (subscribers.get(viewer.email) ?? new Set()).add(subscriber));
      return subscriber;
    },
  };
}
