import { createCell, type Readable } from './cell.ts';
import type { Connection } from './connection.ts';
import { asError, type KredichatError, type KredichatErrorCode } from './errors.ts';
import { followMessages } from './follow.ts';
import {
  type ConversationFieldsFragment as Conversation,
  ConversationDocument,
  type ConversationRef,
  type MessageFieldsFragment as Message,
  type MessagePosition,
  MessagesDocument,
  OpenConversationDocument,
  type PageFieldsFragment,
} from './generated/operations.ts';
import { jitter } from './jitter.ts';
import { laneOf, type NewMessage, type Outbox, type Outgoing } from './outbox.ts';
import { createReading } from './reading.ts';
import { addRun, type Runs, runWith } from './runs.ts';

/** What a conversation looks like from here, whole. */
export interface ConversationState {
  /**
   * `loading` until the first answer; `new` when there is none with this key yet, the first message opens it; `gone` when
   * the viewer is not in one with this name, or not any more.
   */
  readonly phase: 'loading' | 'ready' | 'new' | 'gone';
  /** Everything but its messages; null before `ready`. */
  readonly conversation: Conversation | null;
  /** Part of the log, ascending by `seq`, without a hole. */
  readonly messages: readonly Message[];
  /** The viewer's messages on their way here; when stored they become part of `messages`. */
  readonly outgoing: readonly Outgoing[];
  /** Whether the log goes on before `messages`, and after. */
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
  /** The first message that was unread when it was opened; null when there was none. */
  readonly firstUnread: number | null;
  /** What ended it, or kept the last page from being loaded. */
  readonly error: KredichatError | null;
}

/** One open conversation: its messages, loaded page by page and live, in one list. */
export interface ConversationView extends Readable<ConversationState> {
  /** Loads the page before `messages`, or after. Resolves when it is there; one at a time. */
  loadOlder(): Promise<void>;
  loadNewer(): Promise<void>;
  /** Shows the end of the log, where `messages` does not reach it. */
  jumpToEnd(): Promise<void>;
  /** Puts a message into the outbox. `about` is used when it opens the conversation. */
  send(text: string, about?: Pick<NewMessage, 'subject' | 'party'>): Outgoing;
  /** Says that the viewer has read up to here. Sent when there is a connection; going back changes nothing. */
  markRead(seq: number): void;
  close(): void;
}

export interface ConversationOptions {
  readonly connection: Connection;
  readonly outbox: Outbox;
  readonly ref: ConversationRef;
  readonly viewer: () => Promise<string>;
  /** Messages in a page, 1 to 100. */
  readonly pageSize: number;
}

/** How soon it is looked who has read, while that is not everybody, in milliseconds. */
const READERS_MS = 2000;

/** The largest position there can be: the nearest message is the newest. */
const END = 2 ** 31 - 1;

/** Opens a conversation at its first unread message, and follows it. */
export function openConversation({ connection, outbox, ref, viewer, pageSize }: ConversationOptions): ConversationView {
  const state = createCell<ConversationState>({
    ...{ phase: 'loading', conversation: null, messages: [], outgoing: [] },
    ...{ hasOlder: false, hasNewer: false, firstUnread: null, error: null },
  });
  const update = (change: Partial<ConversationState>) => state.set({ ...state.get(), ...change });
  let runs: Runs = [];
  /** A message in the run that is shown. */
  let anchor = 0;
  /** The server's cursors of the messages at the ends of pages. */
  const cursors = new Map<number, string>();
  const loading: { older?: Promise<void>; newer?: Promise<void> } = {};
  let me = '';
  let id = ref.id;
  let closed = false;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let stopFollowing = () => {};
  /** Client ids of the viewer's messages that are known to be stored: they are on their way no longer. */
  const settled = new Set<string>();
  /** Of those, the ones that `messages` does not reach yet. */
  let ahead: readonly { outgoing: Outgoing; seq: number }[] = [];

  /** Takes messages in, and shows what comes of it, together with other changes. */
  function show(added: readonly Message[] = [], change: Partial<ConversationState> = {}): void {
    runs = addRun(runs, added);
    for (const { sender, clientId } of added) if (clientId !== null && sender === me) settled.add(clientId);
    const messages = runWith(runs, anchor);
    const [oldest, newest] = [messages[0]?.seq ?? 1, messages.at(-1)?.seq ?? 0];
    ahead = ahead.filter(({ seq }) => seq > newest);
    const { conversation } = { ...state.get(), ...change };
    const lastSeq = Math.max(conversation?.lastSeq ?? 0, runs.at(-1)?.at(-1)?.seq ?? 0);
    const outgoing = [...ahead.map((one) => one.outgoing), ...underWay()];
    update({ ...change, messages, outgoing, hasOlder: oldest > 1, hasNewer: newest < lastSeq });
  }

  function underWay(): Outgoing[] {
    const lanes = new Set([laneOf(ref), id]);
    return outbox.get().filter(({ to, clientId }) => lanes.has(laneOf(to)) && !settled.has(clientId));
  }

  /** Loads the page around a position, and shows it. */
  async function open(at: MessagePosition): Promise<void> {
    try {
      me = await viewer();
      const answer = await connection.run(OpenConversationDocument, { by: ref, at, size: pageSize });
      if (closed) return;
      failures = 0;
      // A first message that was stored meanwhile opened it.
      if (!answer.conversation && ahead.length > 0) return open(at);
      if (!answer.conversation) return update({ phase: ref.key ? 'new' : 'gone', error: null });
      const { messages: page, ...conversation } = answer.conversation;
      const opening = state.get().phase !== 'ready';
      const unread = opening ? firstUnread(conversation, page.nodes, me) : state.get().firstUnread;
      anchor = (opening && unread) || (page.nodes.at(-1)?.seq ?? 0);
      id = conversation.id;
      showPage(page, { phase: 'ready', conversation, firstUnread: unread, error: null });
      if (opening) followFrom(conversation);
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return;
      update({ error });
      if (error.passing || error.code === 'UNAUTHENTICATED') retry = setTimeout(open, jitter(failures++), at);
    }
  }

  function showPage({ nodes, pageInfo }: PageFieldsFragment, change: Partial<ConversationState>): void {
    const [oldest, newest] = [nodes[0], nodes.at(-1)];
    if (oldest && pageInfo.startCursor) cursors.set(oldest.seq, pageInfo.startCursor);
    if (newest && pageInfo.endCursor) cursors.set(newest.seq, pageInfo.endCursor);
    show(nodes, change);
  }

  /** Live messages that are not shown yet: what comes in one go is shown in one go. */
  let arrived: Message[] = [];

  function followFrom({ id: conversationId, lastSeq }: Conversation): void {
    const stopMessages = followMessages(connection, conversationId, lastSeq, {
      next(message) {
        if (arrived.push(message) > 1) return;
        setTimeout(() => {
          const messages = arrived;
          arrived = [];
          if (!closed) show(messages);
        });
      },
      end: (error) => update({ phase: 'gone', error }),
    });
    const stopReaders = lookForReaders(conversationId);
    stopFollowing = () => {
      stopMessages();
      stopReaders();
    };
  }

  /** The read positions of others are not live in the schema yet: they are looked at, less often while nothing happens. */
  function lookForReaders(conversationId: string): () => void {
    let [wait, newest] = [READERS_MS, 0];
    let timer: ReturnType<typeof setTimeout>;
    const positions = () =>
      JSON.stringify(state.get().conversation?.members.map(({ email, readSeq }) => [email, readSeq]));
    const look = async () => {
      const { messages, conversation } = state.get();
      const seq = messages.at(-1)?.seq ?? 0;
      const pending = conversation?.members.some(({ readSeq, leftAt }) => leftAt === null && readSeq < seq);
      if (seq > newest) wait = READERS_MS;
      newest = seq;
      if (pending && connection.status.get().state === 'online') {
        const before = positions();
        const answer = await connection.run(ConversationDocument, { by: { id: conversationId } }).catch(() => null);
        if (closed) return;
        if (answer?.conversation) update({ conversation: answer.conversation });
        wait = positions() === before ? Math.min(wait * 2, 10 * READERS_MS) : READERS_MS;
      }
      timer = setTimeout(look, wait);
    };
    timer = setTimeout(look, wait);
    return () => clearTimeout(timer);
  }

  /** Loads one page at one end of what is shown. */
  function load(direction: 'older' | 'newer'): Promise<void> {
    loading[direction] ??= loadPage(direction).finally(() => {
      delete loading[direction];
    });
    return loading[direction];
  }

  async function loadPage(direction: 'older' | 'newer'): Promise<void> {
    const { conversation, messages, hasOlder, hasNewer } = state.get();
    const older = direction === 'older';
    const cursor = cursors.get(messages.at(older ? 0 : -1)?.seq ?? 0);
    if (!conversation || cursor === undefined || !(older ? hasOlder : hasNewer)) return;
    try {
      const place = older ? { last: pageSize, before: cursor } : { first: pageSize, after: cursor };
      const answer = await connection.run(MessagesDocument, { id: conversation.id, ...place });
      if (closed || !answer.conversation) return;
      showPage(answer.conversation.messages, { error: null });
    } catch (error) {
      if (!closed) update({ error: asError(error) });
    }
  }

  const reading = createReading(connection, () => id);
  const stops = [
    outbox.subscribe(() => show()),
    outbox.onSent((outgoing, message) => {
      if (message.conversationId !== id && laneOf(outgoing.to) !== laneOf(ref)) return;
      id = message.conversationId;
      settled.add(outgoing.clientId);
      ahead = [...ahead, { outgoing, seq: message.seq }];
      if (state.get().phase === 'ready') return show([message]);
      show();
      // It opened the conversation.
      if (state.get().phase === 'new') void open({ seq: message.seq });
    }),
  ];
  show();
  void open({ firstUnread: true });

  return {
    get: state.get,
    subscribe: state.subscribe,
    loadOlder: () => load('older'),
    loadNewer: () => load('newer'),
    jumpToEnd: () => open({ seq: END }),
    send: (text, about = {}) => outbox.send({ to: target(), text, ...about }),
    markRead: reading.upTo,
    close() {
      closed = true;
      clearTimeout(retry);
      reading.stop();
      stopFollowing();
      for (const stop of stops) stop();
    },
  };

  /** By id as soon as it is known: members who came later are in it, and not in the key. */
  function target(): ConversationRef {
    return id === undefined ? ref : { id };
  }
}

/** The first of a page's messages that the viewer has not read. */
function firstUnread({ members }: Conversation, page: readonly Message[], me: string): number | null {
  const readSeq = members.find(({ email }) => email === me)?.readSeq ?? 0;
  return page.find(({ seq, sender, kind }) => seq > readSeq && sender !== me && kind === 'TEXT')?.seq ?? null;
}

/** Members who have read a message, beside its sender. */
export function readersOf({ members }: Conversation, { seq, sender }: Pick<Message, 'seq' | 'sender'>): string[] {
  return members.filter(({ email, readSeq }) => email !== sender && readSeq >= seq).map(({ email }) => email);
}

/** How it stands with a message of the viewer's. */
export type Delivery =
  | { readonly state: 'queued' }
  | { readonly state: 'failed'; readonly code: KredichatErrorCode; readonly retry: boolean }
  | { readonly state: 'sent'; readonly seq: number }
  | { readonly state: 'read'; readonly seq: number; readonly by: readonly string[] };

/** How it stands with a message that was sent under this `clientId`; null when it is neither under way nor loaded. */
export function deliveryOf({ conversation, messages, outgoing }: ConversationState, clientId: string): Delivery | null {
  const item = outgoing.find((one) => one.clientId === clientId);
  if (item?.failure) return { state: 'failed', code: item.failure.code, retry: item.failure.retry };
  if (item) return { state: 'queued' };
  const message = messages.findLast((one) => one.clientId === clientId);
  if (!message || !conversation) return null;
  const by = readersOf(conversation, message);
  return by.length > 0 ? { state: 'read', seq: message.seq, by } : { state: 'sent', seq: message.seq };
}
