import type { ConversationId, Instant, Rev, Seq, Viewer } from '../model.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { RecordKeys } from '../record/keys.ts';
import type { Store } from '../store/store.ts';
import { createSnapshots } from './as-of.ts';
import { createCommands } from './commands.ts';
import { createChatListFeeds } from './live/chat-list-feed.ts';
import type { Backpressure, EventStream } from './live/event-stream.ts';
import type { ConversationEvent } from './live/events.ts';
import { createFeeds } from './live/feeds.ts';
import { createAppender } from './log/appender.ts';
import { createKnownStates } from './log/known-states.ts';
import { createMembership } from './membership.ts';
import type { MessageView } from './message-view.ts';
import { createQueries } from './queries.ts';
import { createRateLimits } from './rate-limit.ts';
import { createRecordQueries } from './record.ts';
import { checkPosition, requireId } from './rules/validation.ts';
import { createSearch } from './search.ts';
import { createTypingTracker } from './typing.ts';
import { createVisibility } from './visibility.ts';

/** How often feeds look for changes that no wake-up announced, in milliseconds. */
const SLOW_POLL_MS = 1000;

export interface ChatOptions {
  readonly store: Store;
  /** Wall clock, milliseconds since 1970. */
  readonly clock: () => Instant;
  readonly keys: RecordKeys;
  /** Messages a minute for each user; 0 for no limit, on searches and changes of views neither. */
  readonly messagesPerMinute: number;
  readonly messageBurst: number;
  readonly metrics: Metrics;
  /** Called with failures that no caller waits for. */
  readonly onError: (error: unknown) => void;
}

export type Chat = ReturnType<typeof createChat>;

/** The rules of the chat. Every function checks that the viewer may do it; errors are `ChatError`s. */
export function createChat(options: ChatOptions) {
  const { store, clock, keys, messagesPerMinute, messageBurst, metrics, onError } = options;
  const knownStates = createKnownStates(store);
  const feeds = createFeeds(store, knownStates, onError);
  const chatLists = createChatListFeeds(store, knownStates, clock, onError);
  /** A write may have happened or not: nothing known of the conversation is relied on. */
  const onDoubt = (id: ConversationId) => {
    knownStates.forget(id);
    feeds.doubt(id);
    chatLists.doubt(id);
  };
  const appender = createAppender(store, knownStates, clock, metrics, onDoubt, keys);
  const typingTracker = createTypingTracker(store, feeds.typing, onError);
  const limits = createRateLimits(messagesPerMinute, messageBurst);
  const visibility = createVisibility(store, knownStates, appender);

  const queries = createQueries(store, visibility, clock);

  const unwatch = store.watch((wakeUp) => {
    if (wakeUp?.kind === 'typing') typingTracker.wake(wakeUp);
    else if (wakeUp) {
      const state = knownStates.wake(wakeUp);
      feeds.wake(wakeUp, state);
      void chatLists.wake(wakeUp, state);
    } else {
      knownStates.forgetAll();
      feeds.wakeAll();
      void chatLists.wakeTops();
    }
  });
  const slowPoll = setInterval(() => {
    feeds.poll();
    void chatLists.poll();
  }, SLOW_POLL_MS);
  slowPoll.unref();

  return {
    ...queries,
    ...createSnapshots(store, visibility, queries),
    ...createRecordQueries(store, visibility, keys),
    ...createCommands(visibility, appender, limits, metrics),
    ...createMembership({ store, clock, knownStates, visibility, typingTracker, limits, onDoubt }),
    searchMessages: createSearch(store, visibility, limits),

    /** Every message after `afterSeq` once, in order, then live; without it, from now. Ends when the viewer leaves. */
    async follow(
      viewer: Viewer,
      conversation: string,
      afterSeq: Seq | null,
      backpressure: Backpressure,
    ): Promise<EventStream<MessageView>> {
      const id = requireId(conversation);
      return feeds.follow(id, viewer, backpressure, async () => {
        const { lastSeq, lastRev } = await visibility.readTo(
          'messageAdded',
          id,
          viewer,
          (head) => (afterSeq ?? 0) > head.lastSeq,
        );
        return { position: checkPosition('afterSeq', afterSeq ?? lastSeq, lastSeq), lastRev };
      });
    },

    /**
     * A replay of the changes after `afterRev`, each message once, and of read positions; its end; then live events.
     * Without `afterRev`, from now. Ends when the viewer leaves.
     */
    async followEvents(
      viewer: Viewer,
      conversation: string,
      afterRev: Rev | null,
      backpressure: Backpressure,
    ): Promise<EventStream<ConversationEvent>> {
      const id = requireId(conversation);
      return feeds.followEvents(id, viewer, backpressure, afterRev !== null, async () => {
        const { lastRev } = await visibility.readTo(
          'conversationEvents',
          id,
          viewer,
          (head) => (afterRev ?? 0) > head.lastRev,
        );
        return { position: checkPosition('afterRev', afterRev ?? lastRev, lastRev), lastRev };
      });
    },

    /** The present state of each of the viewer's conversations whenever it changes. */
    followChatList: (viewer: Viewer, backpressure: Backpressure) => chatLists.follow(viewer, backpressure),

    /** Number of live subscriptions. */
    followers: () => feeds.size() + chatLists.size(),

    /** Resolves when a send would succeed now; rejects otherwise. */
    ping: visibility.catchUp,

    /** Stops listening to the store. */
    close(): void {
      clearInterval(slowPoll);
      unwatch();
      typingTracker.close();
    },
  };
}
