import {
  type Conversation,
  type ConversationId,
  conversationId,
  type EmailAddress,
  horizonOf,
  type Instant,
  type ListedConversation,
  type Member,
  type Message,
  parseId,
  unreadOf,
  type Viewer,
} from '../model.ts';
import type { Metrics } from '../observability/metrics.ts';
import {
  type ChatListFilter,
  type ChatListPage,
  type ChatListPosition,
  type SearchSlice,
  type Store,
  StoreUnavailable,
} from '../store/store.ts';
import { createConversations } from './conversations.ts';
import { createChatListFeeds } from './live/chat-list-feed.ts';
import type { Backpressure, EventStream } from './live/event-stream.ts';
import type { ConversationEvent } from './live/events.ts';
import { createFeeds } from './live/feeds.ts';
import { createAppender } from './log/appender.ts';
import { createKnownStates } from './log/known-states.ts';
import type { Draft } from './log/send.ts';
import { type ConversationView, type MessageView, memberOf, viewIn } from './message-view.ts';
import { createRateLimit } from './rate-limit.ts';
import { may, type Operation, requireAccess } from './rules/access.ts';
import { badInput, outcomeUnknown } from './rules/errors.ts';
import { checkKey, checkMessageText, checkOptional, conversationOf, requireId } from './rules/validation.ts';
import { createSearch, type Found, searchTerms, weightOfSearch } from './search.ts';
import { singleFlight } from './single-flight.ts';
import { createTypingTracker } from './typing.ts';

/** How often feeds look for what no wake-up told them of, in milliseconds. */
const SLOW_POLL_MS = 1000;
/** Searches that a user may make a minute, and at once. */
const SEARCHES = { perMinute: 60, burst: 20 } as const;
/** Changes of their own view that a user may make a minute, and at once. */
const VIEWS = { perMinute: 120, burst: 20 } as const;

/** A conversation as a client names it, not yet checked: exactly one of the two. */
export type ConversationRef =
  | { readonly id: string; readonly key?: null | undefined }
  | {
      readonly id?: null | undefined;
      readonly key: { readonly configId: string; readonly members: readonly EmailAddress[] };
    };

export interface SendInput {
  readonly to: ConversationRef;
  /** 1 to 100. */
  readonly messages: readonly {
    readonly text: string;
    readonly clientId?: string | null | undefined;
    readonly replyToSeq?: number | null | undefined;
  }[];
  readonly subject?: string | null | undefined;
  readonly party?: string | null | undefined;
}

export interface SentView {
  readonly messages: readonly MessageView[];
  readonly conversation: Conversation;
  readonly deduplicated: boolean;
}

export interface ChatOptions {
  readonly store: Store;
  /** Wall clock, milliseconds since 1970. */
  readonly clock: () => Instant;
  /** Messages a minute a user; 0 is no limit, on searches and changes of views neither. */
  readonly messagesPerMinute: number;
  readonly messageBurst: number;
  readonly metrics: Metrics;
  /** Told of failures nobody waits for. */
  readonly onError: (error: unknown) => void;
}

export type Chat = ReturnType<typeof createChat>;

/** The rules of the chat. Every function checks that the viewer may do it; errors are `ChatError`s. */
export function createChat({ store, clock, messagesPerMinute, messageBurst, metrics, onError }: ChatOptions) {
  const knownStates = createKnownStates(store);
  const feeds = createFeeds(store, knownStates, onError);
  const chatLists = createChatListFeeds(store, knownStates, clock, onError);
  const doubt = (id: ConversationId) => {
    knownStates.forget(id);
    feeds.doubt(id);
    chatLists.doubt(id);
  };
  const appender = createAppender(store, knownStates, clock, metrics, doubt);
  /** Nobody knows what became of a change that failed. */
  const doubting = (id: ConversationId) => (error: unknown) => {
    doubt(id);
    throw error;
  };
  const typingTracker = createTypingTracker(store, feeds.typing, onError);
  const search = createSearch(store);
  const takeMessages = createRateLimit(messagesPerMinute, messageBurst, () => performance.now());
  const limit = ({ perMinute, burst }: { readonly perMinute: number; readonly burst: number }) =>
    createRateLimit(messagesPerMinute && perMinute, burst, () => performance.now());
  const takeSearch = limit(SEARCHES);
  const takeView = limit(VIEWS);
  /** Asks the store for a write, after which reads see all that was told before. Callers at the same time share one. */
  const catchUp = singleFlight(() => store.ping());

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

  /** The conversation as the viewer may see it, after the sends in flight here: so that whoever reads after a send sees it. */
  async function read(operation: Operation, id: ConversationId, viewer: Viewer): Promise<Conversation | null> {
    const seen = (conversation: Conversation | null) =>
      conversation && may(operation, viewer, conversation) ? conversation : null;
    const conversation = seen(await store.conversation(id, viewer.email));
    const underWay = appender.underWay(id);
    // Nobody else waits for them: how long it takes would tell that there is something.
    const concerned = conversation ?? (!knownStates.known(id) && underWay?.openers.includes(viewer.email));
    if (!underWay || !concerned) return conversation;
    await underWay.last;
    return seen(await store.conversation(id, viewer.email));
  }

  /** The same for whoever names a position in it: one that is beyond the end may be known from another instance. */
  async function readTo(
    operation: Operation,
    id: ConversationId | null,
    viewer: Viewer,
    isBeyond: (conversation: Conversation) => boolean,
  ): Promise<Conversation> {
    let conversation = requireAccess(operation, viewer, id && (await read(operation, id, viewer)));
    if (isBeyond(conversation)) {
      await catchUp();
      conversation = requireAccess(operation, viewer, await read(operation, conversation.id, viewer));
    }
    return conversation;
  }

  /** The conversation after a write. A read that fails here does not say that nothing was written. */
  async function readAfterWrite(operation: Operation, id: ConversationId, viewer: Viewer): Promise<Conversation> {
    const conversation = await store.conversation(id, viewer.email).catch((error: unknown) => {
      throw error instanceof StoreUnavailable ? outcomeUnknown() : error;
    });
    return requireAccess(operation, viewer, conversation);
  }

  /** Makes sure that somebody may write before the write waits for others: how long that takes is not for everybody. */
  async function admit(operation: Operation, id: ConversationId, viewer: Viewer, opens = false): Promise<void> {
    const known = knownStates.known(id);
    if (known && may(operation, viewer, known)) return;
    let conversation = await readOnce(id, viewer.email);
    // Null is either no conversation or one of others: members of the key may open the first alone.
    if (opens) conversation ??= await readOnce(id);
    if (conversation || !opens) requireAccess(operation, viewer, conversation);
  }

  /** Reads that are asked for at the same time are one, so that sends go on in the order in which they came. */
  const reads = new Map<string, Promise<Conversation | null>>();
  function readOnce(id: ConversationId, reader?: EmailAddress): Promise<Conversation | null> {
    const key = `${id} ${reader ?? ''}`;
    const reading = reads.get(key);
    if (reading) return reading;
    const started = knownStates.read(id, reader);
    reads.set(key, started);
    const done = () => void reads.delete(key);
    started.then(done, done);
    return started;
  }

  /** The first message of a range that was not dated by a clock that was wrong. */
  async function firstPlausible(id: ConversationId, from: number, to: number): Promise<Message | undefined> {
    const horizon = horizonOf(clock());
    for (let [next, size] = [from, 1]; next <= to; next += size, size = Math.min(size * 2, 100)) {
      const messages = await store.messages(id, next, Math.min(to, next + size - 1));
      const found = messages.find(({ sentAt }) => sentAt <= horizon);
      if (found) return found;
    }
    return undefined;
  }

  function keyOf(viewer: Viewer, key: NonNullable<ConversationRef['key']>) {
    const checked = checkKey(key.configId, key.members);
    if (!checked.members.includes(viewer.email)) throw badInput('members do not include you.');
    return checked;
  }

  function idOf(viewer: Viewer, ref: ConversationRef): ConversationId | null {
    return ref.key ? conversationId(keyOf(viewer, ref.key)) : conversationOf(ref.id);
  }

  const conversations = createConversations({
    store,
    typingTracker,
    read,
    readAfterWrite,
    write: appender.write,
    doubting,
    admit,
    take: (viewer) => takeMessages(viewer.email, 1),
    takeView: (viewer) => takeView(viewer.email, 1),
  });

  return {
    /** The conversation, or null where the viewer may see none of that name. */
    async conversation(viewer: Viewer, ref: ConversationRef): Promise<Conversation | null> {
      const id = idOf(viewer, ref);
      return id && read('conversation', id, viewer);
    },

    /** The conversation or message with this id, or null where the viewer may see none. */
    async node(viewer: Viewer, id: string): Promise<Conversation | MessageView | null> {
      const parsed = parseId(id);
      const conversation = parsed && (await read('node', parsed.conversationId, viewer));
      if (!conversation || parsed.seq === null) return conversation;
      return (await this.messages(conversation, parsed.seq, parsed.seq))[0] ?? null;
    },

    /** The messages `from` to `to` of a conversation the viewer was found to be in. */
    async messages<C extends ConversationView>(conversation: C, from: number, to: number): Promise<MessageView<C>[]> {
      if (from > to) return [];
      return (await store.messages(conversation.id, from, to)).map(viewIn(conversation));
    },

    /**
     * Number of the first message stored at `time` or later; null when there is none. Times never go back within a log,
     * but for those that were given by a clock that was wrong: they are passed over.
     */
    async firstSince({ id, lastSeq }: ConversationView, time: Instant): Promise<number | null> {
      let found: number | null = null;
      for (let [from, to] = [1, lastSeq + 1]; from < to; ) {
        const middle = Math.floor((from + to) / 2);
        const message = await firstPlausible(id, middle, to - 1);
        if (message && message.sentAt < time) from = message.seq + 1;
        else {
          if (message) found = message.seq;
          to = middle;
        }
      }
      return found;
    },
    /** Number of the viewer's first unread message; null for none. */
    async firstUnread(conversation: ConversationView, viewer: Viewer): Promise<number | null> {
      const member = memberOf(conversation, viewer.email);
      if (!member || !may('conversation', viewer, conversation)) return null;
      const { readSeq } = member;
      const unread = unreadOf(conversation, member);
      // Where all that follows is unread, or none of it, nothing is to be looked for.
      if (unread === conversation.lastSeq - readSeq) return unread > 0 ? readSeq + 1 : null;
      return unread > 0 ? store.firstUnread(conversation.id, viewer.email) : null;
    },
    /** How many messages the viewer has not read; none of a conversation that they left. */
    unreadCount(conversation: ConversationView, viewer: Viewer): number {
      const member = memberOf(conversation, viewer.email);
      return member && may('conversation', viewer, conversation) ? unreadOf(conversation, member) : 0;
    },
    /** The newest message; null for none. */
    async lastMessage<C extends ConversationView>(conversation: C): Promise<MessageView<C> | null> {
      const { lastSeq, lastMessage } = conversation;
      if (lastMessage) return { ...lastMessage, conversation };
      return (await this.messages(conversation, lastSeq, lastSeq))[0] ?? null;
    },

    /** How many members the conversation has, those who left included. */
    memberCount(conversation: ConversationView): number | Promise<number> {
      if ('members' in conversation) return conversation.members.size;
      return conversation.hasMoreMembers ? store.memberCount(conversation.id) : conversation.firstMembers.length;
    },

    /** The members of a listed conversation; of one that the viewer has left since, the viewer alone. */
    async members({ id, reader }: ListedConversation, viewer: Viewer): Promise<ReadonlyMap<EmailAddress, Member>> {
      const conversation = await store.conversation(id, viewer.email);
      if (conversation && may('chatList', viewer, conversation)) return conversation.members;
      return new Map([[reader.email, reader]]);
    },

    chatList(
      viewer: Viewer,
      filter: ChatListFilter,
      page: { first: number; after: ChatListPosition | null },
    ): Promise<ChatListPage> {
      return store.chatList(viewer.email, filter, { ...page, horizon: horizonOf(clock()) });
    },
    unreadTotal: (viewer: Viewer, filter: ChatListFilter) => store.unreadTotal(viewer.email, filter),

    /** Stores the messages contiguously, all or none; resolves once they are durable. */
    async send(viewer: Viewer, { to, messages, subject, party }: SendInput): Promise<SentView> {
      const started = performance.now();
      if (messages.length < 1 || messages.length > 100)
        throw badInput(`messages are to be 1 to 100; they are ${messages.length}.`);
      const drafts = messages.map(
        ({ text, clientId, replyToSeq }): Draft => ({
          text: checkMessageText(text),
          clientId: checkOptional('clientId', clientId, 1, 64),
          replyToSeq: replyToSeq ?? null,
        }),
      );
      const ids = drafts.flatMap(({ clientId }) => clientId ?? []);
      if (new Set(ids).size < ids.length) throw badInput('A clientId is given twice in one batch.');
      const about = { subject: checkOptional('subject', subject, 0, 200), party: checkOptional('party', party, 0, 64) };
      const key = to.key && keyOf(viewer, to.key);
      const id = key ? conversationId(key) : requireId(to.id ?? '');
      await admit('sendMessage', id, viewer, key != null);
      takeMessages(viewer.email, drafts.length);
      const sent = await appender.write({
        kind: 'send',
        conversation: id,
        viewer,
        opening: key ? { ...key, ...about } : null,
        drafts,
      });
      if (!sent.deduplicated) metrics.sent(drafts.length, performance.now() - started);
      return { ...sent, messages: sent.messages.map((message) => ({ ...message, conversation: sent.conversation })) };
    },

    /** Moves the viewer's read position forward to `seq`, and remembers the role that their credential names. */
    async markRead(viewer: Viewer, conversation: string, seq: number): Promise<Conversation> {
      const id = conversationOf(conversation);
      const known = () => {
        const state = id && knownStates.known(id);
        return state && may('markRead', viewer, state) && seq <= state.lastSeq ? state : null;
      };
      const before = known() ?? (await readTo('markRead', id, viewer, ({ lastSeq }) => seq > lastSeq));
      checkPosition('seq', seq, before.lastSeq);
      const { readSeq = 0, role = null } = before.members.get(viewer.email) ?? {};
      const tellsRole = viewer.role !== null && viewer.role !== role;
      if (seq <= readSeq && !tellsRole) return before;
      const moved = await store
        .advanceReadPosition(before.id, viewer.email, Math.max(seq, readSeq), viewer.role, before)
        .catch(doubting(before.id));
      // Another request may have moved it at the same time, or what is known is not the newest: then it is read.
      const after = moved ? known() : null;
      const isTold = (after?.members.get(viewer.email)?.readSeq ?? 0) >= seq;
      return after && isTold ? after : readAfterWrite('markRead', before.id, viewer);
    },

    ...conversations,

    /** A page of the messages that hold all words of the query, in one of the viewer's conversations or in all. */
    async searchMessages(viewer: Viewer, query: string, where: string | null, page: SearchSlice): Promise<Found> {
      const conversation = where === null ? null : requireId(where);
      const terms = searchTerms(query);
      takeSearch(viewer.email, weightOfSearch(terms));
      if (conversation) requireAccess('searchMessages', viewer, await read('searchMessages', conversation, viewer));
      return search(viewer, terms, conversation, page);
    },

    /** Every message after `afterSeq` once, in order, then live; without it, from now. Ends when the viewer leaves. */
    async follow(
      viewer: Viewer,
      conversation: string,
      afterSeq: number | null,
      backpressure: Backpressure,
    ): Promise<EventStream<MessageView>> {
      const id = requireId(conversation);
      return feeds.follow(id, viewer, backpressure, async () => {
        const { lastSeq, lastRev } = await readTo('messageAdded', id, viewer, (head) => (afterSeq ?? 0) > head.lastSeq);
        return { position: checkPosition('afterSeq', afterSeq ?? lastSeq, lastSeq), lastRev };
      });
    },

    /**
     * Everything that happens in a conversation: what changed after `afterRev`, each message once, and where everybody has read
     * to; then that the replay is over, and what follows. Without it, from now. Ends when the viewer leaves.
     */
    async followEvents(
      viewer: Viewer,
      conversation: string,
      afterRev: number | null,
      backpressure: Backpressure,
    ): Promise<EventStream<ConversationEvent>> {
      const id = requireId(conversation);
      return feeds.followEvents(id, viewer, backpressure, afterRev !== null, async () => {
        const { lastRev } = await readTo('conversationEvents', id, viewer, (head) => (afterRev ?? 0) > head.lastRev);
        return { position: checkPosition('afterRev', afterRev ?? lastRev, lastRev), lastRev };
      });
    },

    /** The present state of each of the viewer's conversations whenever it changes. */
    followChatList: (viewer: Viewer, backpressure: Backpressure) => chatLists.follow(viewer, backpressure),

    /** Followers now registered in feeds. */
    followers: () => feeds.size() + chatLists.size(),

    /** Resolves when a send would succeed now; rejects otherwise. */
    ping: catchUp,

    /** Stops listening to the store. */
    close(): void {
      clearInterval(slowPoll);
      unwatch();
      typingTracker.close();
    },
  };
}

function checkPosition(name: string, position: number, last: number): number {
  if (position < 0 || position > last) throw badInput(`${name} is to be 0 to ${last}, the newest; it is ${position}.`);
  return position;
}
