import { jitter } from '../connection/backoff.ts';
import type { Connection } from '../connection/connection.ts';
import { repeated } from '../connection/retry.ts';
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
import { createCell } from '../observable.ts';
import { laneOf, type Outbox, type Outgoing } from '../outbox.ts';
import type { News } from '../view-events.ts';
import { createDeeds } from './actions.ts';
import { type Facts, firstUnread, withAnswer, withListed, withMessage, withRead } from './conversation-reducer.ts';
import type { ConversationState, ConversationView } from './conversation-state.ts';
import { type ConversationEvent, followEvents } from './events.ts';
import { createLog } from './message-window.ts';
import { consecutive } from './ranges.ts';
import { createReading } from './read-marker.ts';
import { createTypingHint, createTypists } from './typing.ts';

export interface ConversationOptions {
  readonly connection: Connection;
  readonly outbox: Outbox;
  readonly ref: ConversationRef;
  readonly viewer: () => Promise<string>;
  readonly news: News;
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
  const { connection, outbox, ref, viewer, news, clock, pageSize, at } = options;
  const state = createCell<ConversationState>({
    ...{ phase: 'loading', conversation: null, messages: [], outgoing: [] },
    ...{ hasOlder: false, hasNewer: false, firstUnread: null, error: null },
  });
  const update = (change: Partial<ConversationState>) => state.set({ ...state.get(), ...change });
  const log = createLog();
  const typists = createTypists();
  let facts: Facts | null = null;
  const loading: { older?: Promise<void>; newer?: Promise<void> } = {};
  let me = '';
  let id = ref.id;
  let closed = false;
  let retry: ReturnType<typeof setTimeout> | undefined;
  const retryPage: { older?: ReturnType<typeof setTimeout>; newer?: ReturnType<typeof setTimeout> } = {};
  let failures = 0;
  let stopFollowing = () => {};
  /** Members who were seen to write or read. */
  const met = new Set<string>();
  /** Client ids of the viewer's messages that are known to be stored: they are on their way no longer. */
  const settled = new Set<string>();
  /** Of those, the ones that `messages` does not reach yet. */
  let ahead: readonly { outgoing: Outgoing; seq: number }[] = [];

  /** Shows what is known, together with other changes. */
  function show(change: Partial<ConversationState> = {}): void {
    const messages = log.shown();
    const [oldest, newest] = [messages[0]?.seq ?? 1, messages.at(-1)?.seq ?? 0];
    ahead = ahead.filter(({ seq }) => seq > newest);
    const conversation = facts?.conversation ?? null;
    const hasNewer = newest < Math.max(conversation?.lastSeq ?? 0, log.lastSeq());
    const outgoing = [...ahead.map((one) => one.outgoing), ...underWay()];
    update({ ...change, conversation, messages, outgoing, hasOlder: oldest > 1, hasNewer });
  }

  function settle(messages: readonly Message[]): void {
    for (const { sender, clientId } of messages) if (clientId !== null && sender === me) settled.add(clientId);
  }

  function underWay(): Outgoing[] {
    const lanes = new Set([laneOf(ref), id]);
    return outbox.get().filter(({ to, clientId }) => lanes.has(laneOf(to)) && !settled.has(clientId));
  }

  /** Loads the page around a position, and shows it. */
  async function open(position: MessagePosition): Promise<void> {
    clearTimeout(retry);
    try {
      me = await viewer();
      await log.load(async () => {
        const answer = await connection.run(OpenConversationDocument, { by: ref, at: position, size: pageSize });
        if (closed) return;
        failures = 0;
        // A first message that was stored meanwhile opened it.
        if (!answer.conversation && ahead.length > 0) return open(position);
        if (!answer.conversation) return ref.key ? update({ phase: 'new', error: null }) : leave(null);
        const { messages: page, ...conversation } = answer.conversation;
        const opening = state.get().phase !== 'ready';
        const unread = opening ? firstUnread(conversation, page.nodes, me) : state.get().firstUnread;
        const [oldest, newest] = [page.nodes[0]?.seq ?? 0, page.nodes.at(-1)?.seq ?? 0];
        const wanted = position.seq ?? ((opening && unread) || newest);
        log.show(Math.min(Math.max(wanted, oldest), newest));
        id = conversation.id;
        facts = withAnswer(facts, conversation);
        log.addPage(page);
        settle(page.nodes);
        show({ phase: 'ready', firstUnread: unread, error: null });
        if (opening) followFrom(conversation);
      });
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return;
      update({ error });
      if (error.passing || error.code === 'UNAUTHENTICATED') retry = setTimeout(open, jitter(failures++), position);
    }
  }

  /** The viewer is not in it, or not any more: nothing of what was said stays here. */
  function leave(error: KredichatError | null): void {
    stopFollowing();
    typists.clear();
    log.clear();
    show({ phase: 'gone', error });
    if (id !== undefined) news.gone(id);
  }

  /** What has come and is not shown yet: what comes in one go is shown in one go. */
  let arrived: ConversationEvent[] = [];

  function followFrom({ id: conversationId, lastRev }: Conversation): void {
    stopFollowing = followEvents(connection, conversationId, lastRev, {
      interrupted: typists.clear,
      next(event) {
        if (event.__typename === 'Typing') return typists.note(event.member, event.typing);
        if (arrived.push(event) > 1) return;
        setTimeout(() => {
          const events = arrived;
          arrived = [];
          if (!closed && state.get().phase === 'ready') take(events);
        });
      },
      end: leave,
    });
  }

  /** Whether a member's role may have become known: it does when they first write or read, and no event tells of it. */
  function mayHaveRole(email: string): boolean {
    if (met.has(email)) return false;
    met.add(email);
    return facts?.conversation.members.some((member) => member.email === email && member.role === null) === true;
  }

  function take(events: readonly ConversationEvent[]): void {
    const [added, changed]: [Message[], Message[]] = [[], []];
    let outdated = false;
    for (const event of events) {
      if (facts && event.__typename === 'ReadMoved') {
        outdated = (event.readSeq > 0 && mayHaveRole(event.member)) || outdated;
        facts = withRead(facts, event.member, event.readSeq);
      }
      if (!('message' in event)) continue;
      if (facts) facts = withMessage(facts, event.message);
      (event.__typename === 'MessageChanged' ? changed : added).push(event.message);
    }
    // In order of `rev` one that was edited comes after what was said later.
    added.sort((a, b) => a.seq - b.seq);
    for (const run of consecutive(added)) log.add(run);
    // After that: one that has just been added may have changed already.
    for (const message of changed) log.change(message);
    settle(added);
    show();
    for (const { kind, sender } of added) {
      typists.note(sender, false);
      if (mayHaveRole(sender) || kind === 'SYSTEM') outdated = true;
    }
    if (outdated) look();
  }

  /** A SYSTEM message tells that status, labels, assignee or members have changed, for people: so the conversation is read again. */
  const look = repeated(
    async () => {
      if (id === undefined || state.get().phase !== 'ready') return;
      const { conversation } = await connection.run(ConversationDocument, { by: { id } });
      if (!closed && state.get().phase === 'ready') conversation ? know(withAnswer(facts, conversation)) : leave(null);
    },
    () => closed,
  );

  /** Takes in what the server said of the conversation. */
  function know(told: Facts): void {
    facts = told;
    if (facts.conversation.membership.leftAt === null) show();
    else leave(null);
  }

  /** Loads one page at one end of what is shown. */
  function load(direction: 'older' | 'newer'): Promise<void> {
    loading[direction] ??= log
      .load(() => loadPage(direction))
      .then((grew) => {
        delete loading[direction];
        // Listeners that want another page, as on a high screen, can ask for it now.
        if (grew) show();
      });
    return loading[direction];
  }

  /** Resolves with whether there were messages in the page. */
  async function loadPage(direction: 'older' | 'newer'): Promise<boolean> {
    const { hasOlder, hasNewer } = state.get();
    const older = direction === 'older';
    const cursor = log.cursorAt(direction);
    if (id === undefined || cursor === undefined || !(older ? hasOlder : hasNewer)) return false;
    clearTimeout(retryPage[direction]);
    try {
      const place = older ? { last: pageSize, before: cursor } : { first: pageSize, after: cursor };
      const answer = await connection.run(MessagesDocument, { id, ...place });
      if (closed || !answer.conversation || state.get().phase !== 'ready') return false;
      log.addPage(answer.conversation.messages);
      settle(answer.conversation.messages.nodes);
      failures = 0;
      show({ error: null });
      return answer.conversation.messages.nodes.length > 0;
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return false;
      update({ error });
      if (error.passing) retryPage[direction] = setTimeout(load, error.retryAfterMs ?? jitter(failures++), direction);
      return false;
    }
  }

  const reading = createReading(connection, () => id);
  const deeds = createDeeds(
    connection,
    () => id,
    (message) => !closed && take([{ __typename: 'MessageChanged', rev: message.rev, message }]),
    (conversation) => {
      if (closed) return;
      know(withAnswer(facts, conversation));
      if (state.get().phase === 'ready') news.changed(conversation);
    },
  );
  const stops = [
    outbox.subscribe(() => show()),
    outbox.onSent((outgoing, message) => {
      if (message.conversationId !== id && laneOf(outgoing.to) !== laneOf(ref)) return;
      id = message.conversationId;
      settled.add(outgoing.clientId);
      ahead = [...ahead, { outgoing, seq: message.seq }];
      const { phase } = state.get();
      if (phase === 'ready') take([{ __typename: 'MessageAdded', rev: message.rev, message }]);
      else show();
      // It opened the conversation.
      if (phase === 'new') void open({ seq: message.seq });
    }),
    news.listen({
      changed(conversation) {
        if (conversation.id !== id) return;
        const { phase } = state.get();
        // Whether others came or left, a SYSTEM message tells.
        if (phase === 'ready' && facts) know(withListed(facts, conversation));
        // Somebody let the viewer in again.
        if (phase === 'gone') void open({ firstUnread: true });
      },
      gone: () => {},
    }),
  ];
  show();
  void open(at === null ? { firstUnread: true } : { seq: at });

  return {
    ...deeds,
    get: state.get,
    subscribe: state.subscribe,
    typists: { get: typists.get, subscribe: typists.subscribe },
    loadOlder: () => load('older'),
    loadNewer: () => load('newer'),
    jumpToEnd: () => open({ seq: END }),
    async jumpTo(seq) {
      if (!log.holds(seq)) return open({ seq });
      log.show(seq);
      show();
    },
    send: (text, about = {}) => outbox.send({ to: target(), text, ...about }),
    markRead: reading.upTo,
    typing: createTypingHint(connection, () => id, clock),
    close() {
      closed = true;
      clearTimeout(retry);
      clearTimeout(retryPage.older);
      clearTimeout(retryPage.newer);
      reading.stop();
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
