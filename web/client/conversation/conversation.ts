import type { Connection } from '../connection/connection.ts';
import { coalesceWithRetry, createRetryTimer } from '../connection/retry.ts';
import { asError, type KredichatError } from '../errors.ts';
import {
  type ConversationFieldsFragment as Conversation,
  ConversationDocument,
  type ConversationRef,
  type MessageFieldsFragment as Message,
  type MessagePosition,
  MessagesDocument,
  OpenConversationDocument,
} from '../generated/operations.ts';
import { createObservable } from '../observable.ts';
import { type Outbox, queueKeyOf } from '../outbox.ts';
import type { ViewEvents } from '../view-events.ts';
import { createActions } from './actions.ts';
import {
  applyFetched,
  applyListed,
  applyMessage,
  applyRead,
  firstUnread,
  type Snapshot,
} from './conversation-reducer.ts';
import type { ConversationState, ConversationView } from './conversation-state.ts';
import { type ConversationEvent, followEvents } from './events.ts';
import { createMessageWindow } from './message-window.ts';
import { createOutgoingTracker } from './outgoing.ts';
import { consecutive } from './ranges.ts';
import { createReadMarker } from './read-marker.ts';
import { createTypingHint, createTypingTracker } from './typing.ts';

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
  const state = createObservable<ConversationState>({
    ...{ phase: 'loading', conversation: null, messages: [], outgoing: [] },
    ...{ hasOlder: false, hasNewer: false, firstUnread: null, error: null },
  });
  const update = (change: Partial<ConversationState>) => state.set({ ...state.get(), ...change });
  const window = createMessageWindow();
  const outgoingTracker = createOutgoingTracker(outbox, ref);
  const typists = createTypingTracker();
  let snapshot: Snapshot | null = null;
  const loading: { older?: Promise<void>; newer?: Promise<void> } = {};
  const retryOpen = createRetryTimer();
  const retryPage = { older: createRetryTimer(), newer: createRetryTimer() };
  let me = '';
  let id = ref.id;
  let closed = false;
  let stopFollowing = () => {};
  /** Members seen to write or read. */
  const activeMembers = new Set<string>();

  /** Publishes the snapshot, the messages and the outgoing messages, together with other changes. */
  function publish(change: Partial<ConversationState> = {}): void {
    const messages = window.shown();
    const [oldest, newest] = [messages[0]?.seq ?? 1, messages.at(-1)?.seq ?? 0];
    const conversation = snapshot?.conversation ?? null;
    const hasNewer = newest < Math.max(conversation?.lastSeq ?? 0, window.lastSeq());
    const outgoing = outgoingTracker.after(newest, id);
    update({ ...change, conversation, messages, outgoing, hasOlder: oldest > 1, hasNewer });
  }

  /** Loads the page around a position, and shows it. */
  async function open(position: MessagePosition): Promise<void> {
    retryOpen.cancel();
    try {
      me = await viewer();
      await window.load(async () => {
        const answer = await connection.run(OpenConversationDocument, { by: ref, at: position, size: pageSize });
        if (closed) return;
        retryOpen.reset();
        // A first message stored in the meantime has opened the conversation.
        if (!answer.conversation && outgoingTracker.hasUnloaded()) return open(position);
        if (!answer.conversation) return ref.key ? update({ phase: 'new', error: null }) : markGone(null);
        const { messages: page, ...conversation } = answer.conversation;
        const opening = state.get().phase !== 'ready';
        const unread = opening ? firstUnread(conversation, page.nodes, me) : state.get().firstUnread;
        const [oldest, newest] = [page.nodes[0]?.seq ?? 0, page.nodes.at(-1)?.seq ?? 0];
        const wanted = position.seq ?? ((opening && unread) || newest);
        window.show(Math.min(Math.max(wanted, oldest), newest));
        id = conversation.id;
        snapshot = applyFetched(snapshot, conversation);
        window.addPage(page);
        outgoingTracker.recordLoaded(page.nodes, me);
        publish({ phase: 'ready', firstUnread: unread, error: null });
        if (opening) followFrom(conversation);
      });
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return;
      update({ error });
      if (error.transient || error.code === 'UNAUTHENTICATED') retryOpen.schedule(() => void open(position));
    }
  }

  /** Handles a conversation that the viewer is not, or no longer, a member of: drops all of its messages. */
  function markGone(error: KredichatError | null): void {
    stopFollowing();
    typists.clear();
    window.clear();
    publish({ phase: 'gone', error });
    if (id !== undefined) viewEvents.removed(id);
  }

  function followFrom({ id: conversationId, lastRev }: Conversation): void {
    stopFollowing = followEvents(connection, conversationId, lastRev, {
      started: typists.clear,
      typing: typists.note,
      next(events) {
        if (!closed && state.get().phase === 'ready') applyEvents(events);
      },
      end: markGone,
    });
  }

  /** Whether a member's role may have become known: that happens at the first write or read, without an event. */
  function mayHaveRole(email: string): boolean {
    if (activeMembers.has(email)) return false;
    activeMembers.add(email);
    return snapshot?.conversation.members.some((member) => member.email === email && member.role === null) === true;
  }

  function applyEvents(events: readonly ConversationEvent[]): void {
    const [added, changed]: [Message[], Message[]] = [[], []];
    let outdated = false;
    for (const event of events) {
      if (snapshot && event.__typename === 'ReadMoved') {
        outdated = (event.readSeq > 0 && mayHaveRole(event.member)) || outdated;
        snapshot = applyRead(snapshot, event.member, event.readSeq);
      }
      if (!('message' in event)) continue;
      if (snapshot) snapshot = applyMessage(snapshot, event.message);
      (event.__typename === 'MessageChanged' ? changed : added).push(event.message);
    }
    // Events come in order of `rev`, where an edited message stands after messages that were sent later.
    added.sort((a, b) => a.seq - b.seq);
    for (const range of consecutive(added)) window.add(range);
    // Changes follow additions, since an added message may have changed already.
    for (const message of changed) window.change(message);
    outgoingTracker.recordLoaded(added, me);
    publish();
    for (const { kind, sender } of added) {
      typists.note(sender, false);
      if (mayHaveRole(sender) || kind === 'SYSTEM') outdated = true;
    }
    if (outdated) refetch();
  }

  /** Fetches the conversation again: the text of a SYSTEM message is for display and does not carry the new values. */
  const refetch = coalesceWithRetry(
    async () => {
      if (id === undefined || state.get().phase !== 'ready') return;
      const { conversation } = await connection.run(ConversationDocument, { by: { id } });
      if (!closed && state.get().phase === 'ready')
        conversation ? applySnapshot(applyFetched(snapshot, conversation)) : markGone(null);
    },
    () => closed,
  );

  /** Applies a newer state of the conversation. */
  function applySnapshot(next: Snapshot): void {
    snapshot = next;
    if (snapshot.conversation.membership.leftAt === null) publish();
    else markGone(null);
  }

  /** Loads one page at one end of the shown messages. */
  function load(direction: 'older' | 'newer'): Promise<void> {
    loading[direction] ??= window
      .load(() => loadPage(direction))
      .then((grew) => {
        delete loading[direction];
        // Notifies listeners that need another page, as on a high screen.
        if (grew) publish();
      });
    return loading[direction];
  }

  /** Resolves with whether the page held messages. */
  async function loadPage(direction: 'older' | 'newer'): Promise<boolean> {
    const { hasOlder, hasNewer } = state.get();
    const older = direction === 'older';
    const cursor = window.cursorAt(direction);
    if (id === undefined || cursor === undefined || !(older ? hasOlder : hasNewer)) return false;
    retryPage[direction].cancel();
    try {
      const place = older ? { last: pageSize, before: cursor } : { first: pageSize, after: cursor };
      const answer = await connection.run(MessagesDocument, { id, ...place });
      if (closed || !answer.conversation || state.get().phase !== 'ready') return false;
      window.addPage(answer.conversation.messages);
      outgoingTracker.recordLoaded(answer.conversation.messages.nodes, me);
      retryPage[direction].reset();
      publish({ error: null });
      return answer.conversation.messages.nodes.length > 0;
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return false;
      update({ error });
      if (error.transient) retryPage[direction].schedule(() => void load(direction), error);
      return false;
    }
  }

  const readMarker = createReadMarker(connection, () => id);
  const actions = createActions(
    connection,
    () => id,
    (message) => !closed && applyEvents([{ __typename: 'MessageChanged', rev: message.rev, message }]),
    (conversation) => {
      if (closed) return;
      applySnapshot(applyFetched(snapshot, conversation));
      if (state.get().phase === 'ready') viewEvents.changed(conversation);
    },
  );
  const stops = [
    outbox.subscribe(() => publish()),
    outbox.onSent((outgoing, message) => {
      if (message.conversationId !== id && queueKeyOf(outgoing.to) !== queueKeyOf(ref)) return;
      id = message.conversationId;
      outgoingTracker.recordStored(outgoing, message.seq);
      const { phase } = state.get();
      if (phase === 'ready') applyEvents([{ __typename: 'MessageAdded', rev: message.rev, message }]);
      else publish();
      // The message opened the conversation.
      if (phase === 'new') void open({ seq: message.seq });
    }),
    viewEvents.listen({
      changed(conversation) {
        if (conversation.id !== id) return;
        const { phase } = state.get();
        // Changes of other members come as SYSTEM messages.
        if (phase === 'ready' && snapshot) applySnapshot(applyListed(snapshot, conversation));
        // The viewer was added again.
        if (phase === 'gone') void open({ firstUnread: true });
      },
      removed: () => {},
    }),
  ];
  publish();
  void open(at === null ? { firstUnread: true } : { seq: at });

  return {
    ...actions,
    get: state.get,
    subscribe: state.subscribe,
    typists: { get: typists.get, subscribe: typists.subscribe },
    loadOlder: () => load('older'),
    loadNewer: () => load('newer'),
    jumpToEnd: () => open({ seq: END }),
    async jumpTo(seq) {
      if (!window.holds(seq)) return open({ seq });
      window.show(seq);
      publish();
    },
    send: (text, about = {}) => outbox.send({ to: target(), text, ...about }),
    markRead: readMarker.upTo,
    typing: createTypingHint(connection, () => id, clock),
    close() {
      closed = true;
      retryOpen.cancel();
      retryPage.older.cancel();
      retryPage.newer.cancel();
      readMarker.stop();
      stopFollowing();
      typists.clear();
      for (const stop of stops) stop();
    },
  };

  /** The id as soon as it is known: the key lacks members that joined later. */
  function target(): ConversationRef {
    return id === undefined ? ref : { id };
  }
}
