import type { Chat } from '../chat/chat.ts';
import { badInput } from '../chat/errors.ts';
import type { MessageView } from '../chat/feed.ts';
import { type Conversation, messageId, parseId, type Viewer } from '../model.ts';
import type { ChatListFilter, ChatListPosition, ChatListPage as Page } from '../store/store.ts';
import { type Context, signedIn } from './context.ts';
import type { ConversationMessagesArgs, PageInfo, QueryChatListArgs } from './generated/resolvers.ts';

/** The numbers `from` to `to` of a log that ends at `lastSeq`; empty where `from` is past `to`. */
export interface MessagePage {
  readonly messages: readonly MessageView[];
  readonly from: number;
  readonly to: number;
  readonly lastSeq: number;
}

/** A page of the chat list and what it was asked with, for the fields that look at the whole list. */
export interface ChatListPage extends Page {
  readonly filter: ChatListFilter;
}

/** Finds the page that `Conversation.messages` is asked for. Numbers are dense, so a page is a range of them. */
export async function messagePage(
  context: Context,
  conversation: Conversation,
  args: ConversationMessagesArgs,
): Promise<MessagePage> {
  const { lastSeq } = conversation;
  const [from, to] = await range(context, conversation, args);
  return { messages: await context.chat.messages(conversation, from, to), from, to, lastSeq };
}

async function range(
  context: Context,
  conversation: Conversation,
  args: ConversationMessagesArgs,
): Promise<[number, number]> {
  const { first, after, last, before, around } = args;
  const { lastSeq } = conversation;
  if (around != null) {
    refuse({ after, last, before }, 'around');
    const size = pageSize('first', first ?? 50);
    const from = (await middle(context, conversation, around)) - Math.floor(size / 2);
    return [Math.max(1, from), Math.min(lastSeq, from + size - 1)];
  }
  if (first != null) {
    refuse({ last, before }, 'first');
    const from = after == null ? 1 : seqOf('after', after, conversation) + 1;
    return [from, Math.min(lastSeq, from + pageSize('first', first) - 1)];
  }
  refuse({ after }, 'last');
  if (before != null && last == null) throw badInput('before goes with last.');
  const to = before == null ? lastSeq : seqOf('before', before, conversation) - 1;
  return [Math.max(1, to - pageSize('last', last ?? 50) + 1), to];
}

async function middle(
  context: Context,
  conversation: Conversation,
  { seq, time, firstUnread }: NonNullable<ConversationMessagesArgs['around']>,
): Promise<number> {
  if (seq != null) return Math.min(Math.max(seq, 1), conversation.lastSeq);
  if (firstUnread === false) throw badInput('firstUnread is to be true.');
  const { chat } = context;
  const found = await (time != null
    ? chat.firstSince(conversation, time)
    : chat.firstUnread(conversation, signedIn(context)));
  return Math.min(found ?? conversation.lastSeq, conversation.lastSeq);
}

function refuse(args: Record<string, unknown>, beside: string): void {
  for (const [name, value] of Object.entries(args)) {
    if (value != null) throw badInput(`${name} does not go with ${beside}.`);
  }
}

function pageSize(name: string, size: number): number {
  if (size < 1 || size > 100) throw badInput(`${name} is to be 1 to 100; it is ${size}.`);
  return size;
}

function seqOf(name: string, cursor: string, conversation: Conversation): number {
  const position = parseId(cursor);
  if (position?.conversationId !== conversation.id || position.seq === null || position.seq > conversation.lastSeq) {
    throw badInput(`${name} is no cursor of this conversation.`);
  }
  return position.seq;
}

export function messagePageInfo({ messages, from, to, lastSeq }: MessagePage): PageInfo {
  const [start, end] = [messages[0], messages.at(-1)];
  return {
    hasNextPage: to < lastSeq,
    hasPreviousPage: from > 1,
    startCursor: start ? messageId(start) : null,
    endCursor: end ? messageId(end) : null,
  };
}

/** Finds the page that `Query.chatList` is asked for. */
export async function chatListPage(chat: Chat, viewer: Viewer, args: QueryChatListArgs): Promise<ChatListPage> {
  const first = pageSize('first', args.first ?? 20);
  const after = args.after == null ? null : await positionOf(chat, viewer, args.after);
  const { configId = null, status = null, label = null, unreadOnly, archived } = args.filter ?? {};
  const filter = { configId, status, label, unreadOnly: unreadOnly === true, archived: archived === true };
  return { ...(await chat.chatList(viewer, filter, { first, after })), filter };
}

export function chatListCursor(conversation: Conversation, viewer: Viewer): string {
  const pinned = conversation.members.get(viewer.email)?.pinned ?? false;
  return Buffer.from(`${Number(pinned)}:${conversation.lastActivityAt}:${conversation.id}`).toString('base64url');
}

export function chatListPageInfo(
  { conversations, hasNextPage, hasPreviousPage }: ChatListPage,
  viewer: Viewer,
): PageInfo {
  const [start, end] = [conversations[0], conversations.at(-1)];
  return {
    hasNextPage,
    hasPreviousPage,
    startCursor: start ? chatListCursor(start, viewer) : null,
    endCursor: end ? chatListCursor(end, viewer) : null,
  };
}

/** Where a cursor of the chat list points: at a conversation of the viewer, wherever it has moved since. */
async function positionOf(chat: Chat, viewer: Viewer, cursor: string): Promise<ChatListPosition> {
  const match = /^([01]):(\d{1,15}):(c_.+)$/.exec(Buffer.from(cursor, 'base64url').toString());
  const conversation = match && (await chat.conversation(viewer, { id: match[3] ?? '' }));
  if (!conversation) throw badInput('after is no cursor of your chat list.');
  return { pinned: match[1] === '1', lastActivityAt: Number(match[2]), id: conversation.id };
}
