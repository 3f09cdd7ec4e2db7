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
  type Seq,
  unreadOf,
  type Viewer,
} from '../model.ts';
import type { ChatListFilter, ChatListPage, ChatListPosition, Store } from '../store/store.ts';
import { type ConversationView, type MessageView, memberOf, viewIn } from './message-view.ts';
import { may } from './rules/access.ts';
import { type ConversationRef, checkOwnKey, conversationOf } from './rules/validation.ts';
import type { Visibility } from './visibility.ts';

export type Queries = ReturnType<typeof createQueries>;

/** Reads of conversations, their messages and members, and of chat lists. */
export function createQueries(store: Store, visibility: Visibility, clock: () => Instant) {
  /** The messages `from` to `to` of a conversation that the viewer may see. */
  async function messages<C extends ConversationView>(conversation: C, from: Seq, to: Seq): Promise<MessageView<C>[]> {
    if (from > to) return [];
    return (await store.messages(conversation.id, from, to)).map(viewIn(conversation));
  }

  /** The first message of a range with a time not past the horizon. */
  async function firstPlausible(id: ConversationId, from: Seq, to: Seq): Promise<Message | undefined> {
    const horizon = horizonOf(clock());
    for (let [next, size] = [from, 1]; next <= to; next += size, size = Math.min(size * 2, 100)) {
      const page = await store.messages(id, next, Math.min(to, next + size - 1));
      const found = page.find(({ sentAt }) => sentAt <= horizon);
      if (found) return found;
    }
    return undefined;
  }

  return {
    messages,

    /** The conversation; null where the viewer may not see it, or there is none. */
    async conversation(viewer: Viewer, ref: ConversationRef): Promise<Conversation | null> {
      const id = ref.key ? conversationId(checkOwnKey(viewer, ref.key)) : conversationOf(ref.id);
      return id && visibility.read('conversation', id, viewer);
    },

    /** The conversation or message with this id; null where the viewer may not see it, or there is none. */
    async node(viewer: Viewer, id: string): Promise<Conversation | MessageView | null> {
      const parsed = parseId(id);
      const conversation = parsed && (await visibility.read('node', parsed.conversationId, viewer));
      if (!conversation || parsed.seq === null) return conversation;
      return (await messages(conversation, parsed.seq, parsed.seq))[0] ?? null;
    },

    /**
     * Number of the first message stored at `time` or later; null for none. Times within a log never decrease, except
     * for those past the horizon: they are skipped.
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
      const unread = unreadOf(conversation, member);
      if (unread <= 0) return null;
      const allUnread = unread === conversation.lastSeq - member.readSeq;
      return allUnread ? member.readSeq + 1 : store.firstUnread(conversation.id, viewer.email);
    },

    /** Number of messages that the viewer has not read; 0 for a conversation that the viewer left. */
    unreadCount(conversation: ConversationView, viewer: Viewer): number {
      const member = memberOf(conversation, viewer.email);
      return member && may('conversation', viewer, conversation) ? unreadOf(conversation, member) : 0;
    },

    /** The newest message; null for none. */
    async lastMessage<C extends ConversationView>(conversation: C): Promise<MessageView<C> | null> {
      const { lastSeq, lastMessage } = conversation;
      if (lastMessage) return { ...lastMessage, conversation };
      return (await messages(conversation, lastSeq, lastSeq))[0] ?? null;
    },

    /** Number of members, former ones included. */
    memberCount(conversation: ConversationView): number | Promise<number> {
      if ('members' in conversation) return conversation.members.size;
      return conversation.hasMoreMembers ? store.memberCount(conversation.id) : conversation.firstMembers.length;
    },

    /** The members of a listed conversation; the viewer alone, if the viewer has left since. */
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
  };
}
