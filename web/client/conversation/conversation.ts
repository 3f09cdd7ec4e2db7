import type { Connection } from '../connection/connection.ts';
import { coalesceWithRetry, createRetryTimer } from '../connection/retry.ts';
import { asError, type KredichatError } from '../errors.ts';
import {
  ConversationDocument,
  type ConversationRef,
  type MessagePosition,
  OpenConversationDocument,
} from '../generated/operations.ts';
import type { Outbox } from '../outbox.ts';
import type { ViewEvents } from '../view-events.ts';
import { createActions } from './actions.ts';
import type { ConversationView } from './conversation-state.ts';
import { type ConversationEvent, followEvents } from './events.ts';
import { createLocalCopy } from './local-copy.ts';
import { createPageLoader } from './page-loader.ts';
import { createReadMarker } from './read-marker.ts';
import { createTypingReporter, createTypingTracker } from './typing.ts';

export interface ConversationOptions {
  readonly connection: Connection;
  readonly outbox: Outbox;
  readonly ref: ConversationRef;
  readonly viewer: () => Promise<string>;
  readonly viewEvents: ViewEvents;
  readonly clock: () => number;
  /** Messages in a page, 1 to 100. */
  readonly pageSize: number;
  /** The message to open it at; null for the first unread one. */
  readonly at: number | null;
}

/** The largest position there can be, which the server takes as that of the newest message. */
const END = 2 ** 31 - 1;

/** Opens a conversation and follows its events. */
export function openConversation(options: ConversationOptions): ConversationView {
  const { connection, outbox, ref, viewer, viewEvents, clock, pageSize, at } = options;
  const copy = createLocalCopy(outbox, ref);
  const older = createPageLoader(connection, copy, 'older', pageSize);
  const newer = createPageLoader(connection, copy, 'newer', pageSize);
  const readMarker = createReadMarker(connection, copy.id);
  const typists = createTypingTracker();
  const retryOpen = createRetryTimer();
  let closed = false;
  let stopFollowing = () => {};

  /** Loads the page around a position, and shows it. */
  async function open(position: MessagePosition): Promise<void> {
    retryOpen.cancel();
    try {
      const me = await viewer();
      await copy.load(async () => {
        const answer = await connection.run(OpenConversationDocument, { by: ref, at: position, size: pageSize });
        if (closed) return;
        retryOpen.reset();
        // A first message stored in the meantime has opened the conversation.
        if (!answer.conversation && copy.hasUnloaded()) return open(position);
        if (!answer.conversation) return ref.key ? copy.update({ phase: 'new', error: null }) : markGone(null);
        const { messages: page, ...conversation } = answer.conversation;
        const opening = !copy.isReady();
        copy.open(conversation, page, me, position.seq);
        if (opening) follow(conversation.id, conversation.lastRev);
      });
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return;
      copy.update({ error });
      if (error.transient || error.code === 'UNAUTHENTICATED') retryOpen.schedule(() => void open(position));
    }
  }

  /** Ends a conversation that the viewer is not, or no longer, a member of. */
  function markGone(error: KredichatError | null): void {
    stopFollowing();
    typists.clear();
    copy.markGone(error);
    const id = copy.id();
    if (id !== undefined) viewEvents.removed(id);
  }

  function follow(id: string, afterRev: number): void {
    stopFollowing = followEvents(connection, id, afterRev, {
      started: typists.clear,
      typing: typists.record,
      next: (events) => !closed && copy.isReady() && applyEvents(events),
      end: markGone,
    });
  }

  function applyEvents(events: readonly ConversationEvent[]): void {
    const outdated = copy.applyEvents(events);
    for (const event of events) if (event.__typename === 'MessageAdded') typists.record(event.message.sender, false);
    if (outdated) refetch();
  }

  /** Fetches the conversation again: the text of a SYSTEM message is for display and does not carry the new values. */
  const refetch = coalesceWithRetry(
    async () => {
      const id = copy.id();
      if (id === undefined || !copy.isReady()) return;
      const { conversation } = await connection.run(ConversationDocument, { by: { id } });
      if (!closed && copy.isReady() && !(conversation && copy.applyFetched(conversation))) markGone(null);
    },
    () => closed,
  );

  const actions = createActions(
    connection,
    copy.id,
    (message) => !closed && applyEvents([{ __typename: 'MessageChanged', rev: message.rev, message }]),
    (conversation) => {
      if (closed) return;
      if (!copy.applyFetched(conversation)) markGone(null);
      if (copy.isReady()) viewEvents.changed(conversation);
    },
  );
  const stops = [
    ...[retryOpen.cancel, older.close, newer.close, readMarker.stop, typists.clear],
    outbox.subscribe(() => copy.publish()),
    outbox.onSent((outgoing, message) => {
      if (!copy.recordStored(outgoing, message)) return;
      const { phase } = copy.get();
      if (phase === 'ready') applyEvents([{ __typename: 'MessageAdded', rev: message.rev, message }]);
      else copy.publish();
      // The message opened the conversation.
      if (phase === 'new') void open({ seq: message.seq });
    }),
    viewEvents.listen({
      changed(conversation) {
        if (conversation.id !== copy.id()) return;
        const { phase } = copy.get();
        // Changes of other members come as SYSTEM messages.
        if (phase === 'ready' && !copy.applyListed(conversation)) markGone(null);
        // The viewer was added again.
        if (phase === 'gone') void open({ firstUnread: true });
      },
      removed: () => {},
    }),
  ];
  copy.publish();
  void open(at === null ? { firstUnread: true } : { seq: at });

  return {
    ...actions,
    get: copy.get,
    subscribe: copy.subscribe,
    typists: { get: typists.get, subscribe: typists.subscribe },
    loadOlder: older.load,
    loadNewer: newer.load,
    jumpToEnd: () => open({ seq: END }),
    jumpTo: async (seq) => (copy.holds(seq) ? copy.show(seq) : open({ seq })),
    send: (text, options = {}) => outbox.send({ ...options, to: copy.ref(), text }),
    markRead: readMarker.upTo,
    typing: createTypingReporter(connection, copy.id, clock),
    close() {
      closed = true;
      stopFollowing();
      for (const stop of stops) stop();
    },
  };
}
