import { backoffMs } from '../connection/backoff.ts';
import type { Connection } from '../connection/connection.ts';
import { coalesceWithRetry } from '../connection/retry.ts';
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
import { type Outbox, type Outgoing, queueKeyOf } from '../outbox.ts';
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

/** The largest position there can be: the nearest message is the newest. */
const END = 2 ** 31 - 1;

/** Opens a conversation, and follows it. */
export function openConversation(options: ConversationOptions): ConversationView {
  const { connection, outbox, ref, viewer, viewEvents, clock, pageSize, at } = options;
  const state = createObservable<ConversationState>({
    ...{ phase: 'loading', conversation: null, messages: [], outgoing: [] },
    ...{ hasOlder: false, hasNewer: false, firstUnread: null, error: null },
  });
  const update = (change: Partial<ConversationState>) => state.set({ ...state.get(), ...change });
  const window = createMessageWindow();
  const typists = createTypingTracker();
  let snapshot: Snapshot | null = null;
  const loading: { older?: Promise<void>; newer?: Promise<void> } = {};
  let me = '';
  let id = ref.id;
  let closed = false;
  let retry: ReturnType<typeof setTimeout> | undefined;
  const retryPage: { older?: ReturnType<typeof setTimeout>; newer?: ReturnType<typeof setTimeout> } = {};
  let failures = 0;
  let stopFollowing = () => {};
  /** Members who were seen to write or read. */
  const activeMembers = new Set<string>();
  /** Client ids of the viewer's messages that are known to be stored: they are on their way no longer. */
  const storedIds = new Set<string>();
  /** Of those, the ones that `messages` does not reach yet. */
  let notYetLoaded: readonly { outgoing: Outgoing; seq: number }[] = [];

  /** Shows what is known, together with other changes. */
  function publish(change: Partial<ConversationState> = {}): void {
    const messages = window.shown();
    const [oldest, newest] = [messages[0]?.seq ?? 1, messages.at(-1)?.seq ?? 0];
    notYetLoaded = notYetLoaded.filter(({ seq }) => seq > newest);
    const conversation = snapshot?.conversation ?? null;
    const hasNewer = newest < Math.max(conversation?.lastSeq ?? 0, window.lastSeq());
    const outgoing = [...notYetLoaded.map((one) => one.outgoing), ...pending()];
    update({ ...change, conversation, messages, outgoing, hasOlder: oldest > 1, hasNewer });
  }

  function recordStored(messages: readonly Message[]): void {
    for (const { sender, clientId } of messages) if (clientId !== null && sender === me) storedIds.add(clientId);
  }

  function pending(): Outgoing[] {
    const queueKeys = new Set([queueKeyOf(ref), id]);
    return outbox.get().filter(({ to, clientId }) => queueKeys.has(queueKeyOf(to)) && !storedIds.has(clientId));
  }

  /** Loads the page around a position, and shows it. */
  async function open(position: MessagePosition): Promise<void> {
    clearTimeout(retry);
    try {
      me = await viewer();
      await window.load(async () => {
        const answer = await connection.run(OpenConversationDocument, { by: ref, at: position, size: pageSize });
        if (closed) return;
        failures = 0;
        // A first message that was stored meanwhile opened it.
        if (!answer.conversation && notYetLoaded.length > 0) return open(position);
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
        recordStored(page.nodes);
        publish({ phase: 'ready', firstUnread: unread, error: null });
        if (opening) followFrom(conversation);
      });
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return;
      update({ error });
      if (error.transient || error.code === 'UNAUTHENTICATED')
        retry = setTimeout(open, backoffMs(failures++), position);
    }
  }

  /** The viewer is not in it, or not any more: nothing of what was said stays here. */
  function markGone(error: KredichatError | null): void {
    stopFollowing();
    typists.clear();
    window.clear();
    publish({ phase: 'gone', error });
    if (id !== undefined) viewEvents.removed(id);
  }

  /** What has come and is not shown yet: what comes in one go is shown in one go. */
  let batch: ConversationEvent[] = [];

  function followFrom({ id: conversationId, lastRev }: Conversation): void {
    stopFollowing = followEvents(connection, conversationId, lastRev, {
      interrupted: typists.clear,
      next(event) {
        if (event.__typename === 'Typing') return typists.note(event.member, event.typing);
        if (batch.push(event) > 1) return;
        setTimeout(() => {
          const events = batch;
          batch = [];
          if (!closed && state.get().phase === 'ready') applyEvents(events);
        });
      },
      end: markGone,
    });
  }

  /** Whether a member's role may have become known: it does when they first write or read, and no event tells of it. */
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
    // In order of `rev` one that was edited comes after what was said later.
    added.sort((a, b) => a.seq - b.seq);
    for (const range of consecutive(added)) window.add(range);
    // After that: one that has just been added may have changed already.
    for (const message of changed) window.change(message);
    recordStored(added);
    publish();
    for (const { kind, sender } of added) {
      typists.note(sender, false);
      if (mayHaveRole(sender) || kind === 'SYSTEM') outdated = true;
    }
    if (outdated) refetch();
  }

  /** A SYSTEM message tells that status, labels, assignee or members have changed, for people: so the conversation is read again. */
  const refetch = coalesceWithRetry(
    async () => {
      if (id === undefined || state.get().phase !== 'ready') return;
      const { conversation } = await connection.run(ConversationDocument, { by: { id } });
      if (!closed && state.get().phase === 'ready')
        conversation ? applySnapshot(applyFetched(snapshot, conversation)) : markGone(null);
    },
    () => closed,
  );

  /** Takes in what the server said of the conversation. */
  function applySnapshot(next: Snapshot): void {
    snapshot = next;
    if (snapshot.conversation.membership.leftAt === null) publish();
    else markGone(null);
  }

  /** Loads one page at one end of what is shown. */
  function load(direction: 'older' | 'newer'): Promise<void> {
    loading[direction] ??= window
      .load(() => loadPage(direction))
      .then((grew) => {
        delete loading[direction];
        // Listeners that want another page, as on a high screen, can ask for it now.
        if (grew) publish();
      });
    return loading[direction];
  }

  /** Resolves with whether there were messages in the page. */
  async function loadPage(direction: 'older' | 'newer'): Promise<boolean> {
    const { hasOlder, hasNewer } = state.get();
    const older = direction === 'older';
    const cursor = window.cursorAt(direction);
    if (id === undefined || cursor === undefined || !(older ? hasOlder : hasNewer)) return false;
    clearTimeout(retryPage[direction]);
    try {
      const place = older ? { last: pageSize, before: cursor } : { first: pageSize, after: cursor };
      const answer = await connection.run(MessagesDocument, { id, ...place });
      if (closed || !answer.conversation || state.get().phase !== 'ready') return false;
      window.addPage(answer.conversation.messages);
      recordStored(answer.conversation.messages.nodes);
      failures = 0;
      publish({ error: null });
      return answer.conversation.messages.nodes.length > 0;
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return false;
      update({ error });
      if (error.transient)
        retryPage[direction] = setTimeout(load, error.retryAfterMs ?? backoffMs(failures++), direction);
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
      storedIds.add(outgoing.clientId);
      notYetLoaded = [...notYetLoaded, { outgoing, seq: message.seq }];
      const { phase } = state.get();
      if (phase === 'ready') applyEvents([{ __typename: 'MessageAdded', rev: message.rev, message }]);
      else publish();
      // It opened the conversation.
      if (phase === 'new') void open({ seq: message.seq });
    }),
    viewEvents.listen({
      changed(conversation) {
        if (conversation.id !== id) return;
        const { phase } = state.get();
        // Whether others came or left, a SYSTEM message tells.
        if (phase === 'ready' && snapshot) applySnapshot(applyListed(snapshot, conversation));
        // Somebody let the viewer in again.
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
      clearTimeout(retry);
      clearTimeout(retryPage.older);
      clearTimeout(retryPage.newer);
      readMarker.stop();
      stopFollowing();
      typists.clear();
      for (const stop of stops) stop();
    },
  };

  /** By id as soon as it is known: members who came later are in it, and not in the key. */
  function target(): ConversationRef {
    return id === undefined ? ref : { id };
  }
}
