import type { SendInput } from '../chat/commands.ts';
import type { ConversationEvent } from '../chat/live/events.ts';
import { type ConversationView, type MessageView, memberOf } from '../chat/message-view.ts';
import { badInput, notFound } from '../chat/rules/errors.ts';
import { type Conversation, type Member, messageId } from '../model.ts';
import { type Context, signedIn } from './context.ts';
import type { ConversationRef, Resolvers } from './generated/resolvers.ts';
import { withMembers } from './members.ts';
import {
  chatListCursor,
  chatListPage,
  chatListPageInfo,
  messagePage,
  messagePageInfo,
  searchPage,
  snapshotPage,
} from './pagination.ts';

export const resolvers: Resolvers = {
  Node: { __resolveType: (node) => ('seq' in node ? 'Message' : 'Conversation') },
  ConversationEvent: { __resolveType: ({ __typename }) => __typename },

  Query: {
    viewer: (_, _args, context) => signedIn(context),
    async node(_, { id }, context) {
      const node = await context.chat.node(signedIn(context), id);
      if (node) context.found?.('seq' in node ? node.conversation : node);
      return node;
    },
    async conversation(_, { by }, context) {
      const conversation = await context.chat.conversation(signedIn(context), conversationRef(by));
      if (conversation) context.found?.(conversation);
      return conversation;
    },
    chatList: (_, args, context) => chatListPage(context.chat, signedIn(context), args),
    recordCheckpoint: (_, _args, { chat }) => chat.recordCheckpoint(),
    recordKeys: (_, _args, { chat }) => chat.recordKeys(),
    conversationAsOf: (_, { id, at: { rev, time } }, context) =>
      context.chat.conversationAsOf(signedIn(context), id, rev == null ? { time: time ?? 0 } : { rev }),
    searchMessages: (_, args, context) => searchPage(context.chat, signedIn(context), args),
  },

  Mutation: {
    async sendMessage(_, { input: { to, subject, party, ...message } }, context) {
      const input: SendInput = { to: conversationRef(to), messages: [message], subject, party };
      const { messages, ...payload } = await context.chat.send(signedIn(context), input);
      const [stored] = messages;
      if (!stored) throw new Error('a send of one message stored none');
      return { message: stored, ...payload };
    },
    async sendMessages(_, { input: { to, ...input } }, context) {
      const { messages, ...payload } = await context.chat.send(signedIn(context), {
        to: conversationRef(to),
        ...input,
      });
      return { messages: [...messages], ...payload };
    },
    async markRead(_, { input: { conversationId, seq } }, context) {
      return { conversation: await context.chat.markRead(signedIn(context), conversationId, seq) };
    },
    async editMessage(_, { input: { conversationId, ...edit } }, context) {
      return { message: await context.chat.editMessage(signedIn(context), conversationId, edit) };
    },
    async redactMessage(_, { input: { conversationId, ...redaction } }, context) {
      return { message: await context.chat.redactMessage(signedIn(context), conversationId, redaction) };
    },
    async updateConversation(_, { input: { conversationId, ...update } }, context) {
      return { conversation: await context.chat.updateConversation(signedIn(context), conversationId, update) };
    },
    async updateView(_, { input: { conversationId, ...view } }, context) {
      return { conversation: await context.chat.updateView(signedIn(context), conversationId, view) };
    },
    async setTyping(_, { conversationId, typing }, context) {
      await context.chat.setTyping(signedIn(context), conversationId, typing);
      return true;
    },
  },

  Subscription: {
    messageAdded: {
      subscribe: (_, { conversationId, afterSeq }, context) =>
        context.chat.follow(signedIn(context), conversationId, afterSeq ?? null, context),
      resolve: (message: MessageView) => message,
    },
    conversationEvents: {
      subscribe: (_, { conversationId, afterRev }, context) =>
        context.chat.followEvents(signedIn(context), conversationId, afterRev ?? null, context),
      resolve: (event: ConversationEvent) => event,
    },
    chatListChanged: {
      subscribe: (_, _args, context) => context.chat.followChatList(signedIn(context), context),
      resolve: (conversation: Conversation) => conversation,
    },
  },

  Conversation: {
    members: (conversation, { first }, context) => firstOf(conversation, first ?? null, context),
    memberCount: (conversation, _args, { chat }) => chat.memberCount(conversation),
    membership: (conversation, _args, context) => own(conversation, context),
    labels: ({ labels }) => [...labels],
    lastMessage: (conversation, _args, { chat }) => chat.lastMessage(conversation),
    unreadCount: (conversation, _args, context) => context.chat.unreadCount(conversation, signedIn(context)),
    muted: (conversation, _args, context) => own(conversation, context).muted,
    pinned: (conversation, _args, context) => own(conversation, context).pinned,
    archived: (conversation, _args, context) => own(conversation, context).archived,
    messages: (conversation, args, context) => messagePage(context, conversation, args),
  },

  ConversationSnapshot: {
    labels: ({ labels }) => [...labels],
    members: ({ members }) => [...members],
    messages: (snapshot, args, { chat }) => snapshotPage(chat, snapshot, args),
  },

  Message: {
    id: messageId,
    replyTo: (message, _args, { chat }) => chat.replyTo(message),
    revisions: ({ revisions, addedRev }) => revisions.map((one) => ({ ...one, rev: one.rev || addedRev })),
    proof: (message, _args, context) => context.chat.proof(signedIn(context), message),
    changes: ({ record }) => [...(record?.changes ?? [])],
    readBy: ({ sender, seq, conversation }, _args, context) =>
      withMembers(conversation, context, (members) => {
        const others = [...members.values()].filter(({ email, readSeq }) => readSeq >= seq && email !== sender);
        return [sender, ...others.map(({ email }) => email).sort()];
      }),
  },

  MessageConnection: {
    edges: ({ messages, cursorOf }) => messages.map((node) => ({ cursor: cursorOf(node), node })),
    nodes: ({ messages }) => [...messages],
    pageInfo: messagePageInfo,
  },

  ChatList: {
    edges: ({ conversations }) => conversations.map((node) => ({ cursor: chatListCursor(node), node })),
    nodes: ({ conversations }) => [...conversations],
    pageInfo: chatListPageInfo,
    unreadTotal: ({ filter }, _args, context) => context.chat.unreadTotal(signedIn(context), filter),
  },
};

/** The input object as a union: GraphQL has checked that exactly one field is given (`@oneOf`). */
function conversationRef({ id, key }: ConversationRef): SendInput['to'] {
  return key ? { key } : { id: id ?? '' };
}

/** The viewer's own record. @throws ChatError NOT_FOUND if the viewer was never a member */
function own(conversation: ConversationView, context: Context): Member {
  const member = memberOf(conversation, signedIn(context).email);
  if (!member) throw notFound();
  return member;
}

/** The first `first` members, or all. @throws ChatError if `first` is less than 1 */
function firstOf(conversation: ConversationView, first: number | null, context: Context): Member[] | Promise<Member[]> {
  if (first !== null && first < 1) throw badInput(`\`first\` must be at least 1; got ${first}.`);
  const limit = first ?? Number.POSITIVE_INFINITY;
  if ('firstMembers' in conversation) {
    const { firstMembers, hasMoreMembers } = conversation;
    if (!hasMoreMembers || limit <= firstMembers.length) return firstMembers.slice(0, limit);
  }
  return withMembers(conversation, context, (members) => [...members.values()].slice(0, limit));
}
