import type { Conversation, ConversationId } from '../../model.ts';
import { revAfter, type Store, type Typing, type WakeUp } from '../../store/store.ts';
import type { KnownStates } from '../log/known-states.ts';
import { type MessageView, viewIn } from '../message-view.ts';
import { type ConversationEvent, messageEvent, readsMoved } from './events.ts';
import { RecentEntries } from './recent-entries.ts';

/** Changes that a feed reads back at once; where more were missed, subscribers read them by pages. */
const MAX_MISSED = 256;
/** How often a feed tries to read changes that belong to one state. */
const MAX_ATTEMPTS = 5;

/** A cursor, as its feed sees it. */
export interface Subscriber {
  /** Called when there may be something to read. */
  notify(): void;
  /** Whether the subscriber has read all that the feed keeps, or never will. */
  readonly current: boolean;
}

/** The context of all feeds. */
export interface FeedContext {
  readonly store: Store;
  readonly knownStates: KnownStates;
  /** Called when the feed may have missed a change: the slow poll refreshes it. */
  readonly onDoubt: (id: ConversationId) => void;
  readonly onError: (error: unknown) => void;
  /** Called when the last subscriber has left. */
  readonly onUnused: (feed: Feed) => void;
}

/** One conversation's log as this process sees it while there are subscribers to it. */
export class Feed {
  readonly id: ConversationId;
  /** The conversation as of the last read; null before the first. */
  head: Conversation | null = null;
  /** The newest messages up to `head.lastSeq` as of `head`, ascending, without holes, while a subscriber lacks them. */
  readonly tail = new RecentEntries<MessageView>();
  /** The newest events up to `head`, while a subscriber lacks them. */
  readonly events = new RecentEntries<ConversationEvent>();
  /** Highest `lastRev` at which a message may have changed; pages read before it are stale. */
  changedAt = 0;
  readonly #context: FeedContext;
  readonly #subscribers = new Set<Subscriber>();
  /** The refresh under way. */
  #refreshing: Promise<void> | null = null;
  /** Another refresh was requested meanwhile. */
  #again = false;

  constructor(id: ConversationId, context: FeedContext) {
    this.id = id;
    this.#context = context;
  }

  get store(): Store {
    return this.#context.store;
  }

  get size(): number {
    return this.#subscribers.size;
  }

  add(subscriber: Subscriber): void {
    this.#subscribers.add(subscriber);
  }

  remove(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
    if (this.#subscribers.size === 0) this.#context.onUnused(this);
  }

  /** A read for this feed or a subscriber failed: the slow poll tries again. */
  failed(error: unknown): void {
    this.#context.onDoubt(this.id);
    this.#context.onError(error);
  }

  /** Reads the newest state and the changes up to it; resolves when it has. */
  async refresh(): Promise<void> {
    this.#again = true;
    this.#refreshing ??= this.#readNewest();
    await this.#refreshing;
  }

  /** Applies a wake-up that leaves `state`. False where it does not follow on `head`, and a refresh is needed. */
  apply(wakeUp: Exclude<WakeUp, Typing>, state: Conversation | null): boolean {
    const { head } = this;
    if (!head || !state || this.#refreshing) return false;
    if (wakeUp.kind === 'read' && state.lastRev === head.lastRev) this.#advance(head, state, []);
    else if (wakeUp.kind === 'log' && wakeUp.write) {
      const { messages, changed, afterRev } = wakeUp.write;
      if (head.lastRev >= revAfter(wakeUp.write)) return true;
      if (head.lastRev !== afterRev || state.lastRev !== revAfter(wakeUp.write)) return false;
      const changes = [...messages, ...changed].map((message) => ({ ...message, conversation: state }));
      this.#advance(head, state, changed.length > 0 ? changes.sort((a, b) => a.rev - b.rev) : changes);
    } else return wakeUp.kind === 'view';
    return true;
  }

  typing({ member, typing }: Omit<Typing, 'kind'>): void {
    this.events.push([{ __typename: 'Typing', member, typing }]);
    this.#notify();
  }

  async #readNewest(): Promise<void> {
    try {
      let attempts = 0;
      while (this.#again) {
        this.#again = false;
        const head = await this.#context.knownStates.read(this.id);
        // A store that was unavailable may return an older state for a moment.
        if (!head || head.lastRev < (this.head?.lastRev ?? 0)) {
          this.#context.onDoubt(this.id);
          continue;
        }
        const changes = this.head && (await this.#changesBetween(this.head, head));
        // A message with a newer `rev` was changed after `head` was read: read that state too.
        const mixed = changes?.some(({ rev }) => rev > head.lastRev) === true;
        if (mixed && ++attempts < MAX_ATTEMPTS) {
          this.#again = true;
          continue;
        }
        attempts = 0;
        if (this.head && changes && !mixed) this.#advance(this.head, head, changes);
        else await this.#reset(head);
      }
    } catch (error) {
      this.failed(error);
    } finally {
      this.#refreshing = null;
    }
  }

  /** The messages added or changed, ascending by `rev`; null where they are more than `MAX_MISSED`. */
  async #changesBetween(before: Conversation, head: Conversation): Promise<MessageView[] | null> {
    const steps = head.lastRev - before.lastRev;
    if (steps === 0) return [];
    if (steps > MAX_MISSED) return null;
    // If every change added a message, the changes are a range of `seq`.
    const onlyAdded = head.lastSeq - before.lastSeq === steps;
    const changes = await (onlyAdded
      ? this.store.messages(head.id, before.lastSeq + 1, head.lastSeq)
      : this.store.changes(head.id, before.lastRev, MAX_MISSED));
    return changes.map(viewIn(head));
  }

  /** Replaces the state without knowing the changes up to it: subscribers to events read them from the store. */
  async #reset(head: Conversation): Promise<void> {
    // Subscribers lack older messages only if there was a state before.
    const from = this.head ? Math.max(1, head.lastSeq - MAX_MISSED + 1) : head.lastSeq + 1;
    const messages = from > head.lastSeq ? [] : await this.store.messages(head.id, from, head.lastSeq);
    this.tail.clear();
    this.tail.push(messages.map(viewIn(head)));
    // Counts one event that was never kept, so that no cursor is at the end.
    this.events.clear(1);
    this.changedAt = head.lastRev;
    this.head = head;
    this.#notify();
  }

  /** Replaces one state by the next. `changes` are those between the two, ascending by `rev`. */
  #advance(before: Conversation, head: Conversation, changes: readonly MessageView[]): void {
    const changed = changes.filter(({ seq }) => seq <= before.lastSeq);
    const added = changes.filter(({ seq }) => seq > before.lastSeq);
    if (changed.length > 0) {
      const bySeq = new Map(changed.map((message) => [message.seq, message]));
      this.tail.replace((message) => bySeq.get(message.seq) ?? message);
      added.sort((a, b) => a.seq - b.seq);
      // The kept events hold the messages before the change; subscribers that lack them read the store.
      this.events.clear();
    }
    this.tail.push(added);
    this.events.push([...changes.map((message) => messageEvent(message, before.lastRev)), ...readsMoved(before, head)]);
    // A page of the store may hold an added message before its change.
    if (changes.some(({ rev, addedRev }) => rev > addedRev)) this.changedAt = head.lastRev;
    this.head = head;
    this.#notify();
  }

  /** Wakes the subscribers, and keeps no entries that all of them have read. */
  #notify(): void {
    for (const subscriber of this.#subscribers) subscriber.notify();
    for (const { current } of this.#subscribers) if (!current) return;
    this.tail.clear();
    this.events.clear();
  }
}
