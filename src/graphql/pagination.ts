import type { Snapshot } from '../chat/as-of.ts';
import type { Chat } from '../chat/chat.ts';
import type { AnyMessageView, ConversationView } from '../chat/message-view.ts';
import { badInput } from '../chat/rules/errors.ts';
import { type ListedConversation, messageId, parseId, type Viewer } from '../model.ts';
import type { ChatListFilter, ChatListPosition, ChatListPage as Page, SearchPosition } from '../store/store.ts';
import { type Context, signedIn } from './context.ts';
import type {
  ConversationMessagesArgs,
  ConversationSnapshotMessagesArgs,
  PageInfo,
  QueryChatListArgs,
  QuerySearchMessagesArgs,
} from './generated/resolvers.ts';

/** A page of a log or of search hits. */
export interface MessagePage {
  readonly messages: readonly AnyMessageView[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  /** The cursor of a message of the page. */
  readonly cursorOf: (message: AnyMessageView) => string;
}

/** A page of the chat list with its filter, for fields that concern the whole list. */
export interface ChatListPage extends Page {
  readonly filter: ChatListFilter;
}

/** The page for `Conversation.messages`. Numbers are dense, so a page is a range of them. */
export async function messagePage(
  context: Context,
  conversation: ConversationView,
  args: ConversationMessagesArgs,
): Promise<MessagePage> {
  const { lastSeq } = conversation;
  const [from, to] = await range(context, conversation, args);
  const messages = await context.chat.messages(conversation, from, to);
  return { messages, hasNextPage: to < lastSeq, hasPreviousPage: from > 1, cursorOf: messageId };
}

/** The page for `ConversationSnapshot.messages`. */
export async function snapshotPage(
  chat: Chat,
  snapshot: Snapshot,
  args: ConversationSnapshotMessagesArgs,
): Promise<MessagePage> {
  const [from, to] = rangeFromEnd(snapshot, args);
  const messages = await chat.messagesAsOf(snapshot, from, to);
  return { messages, hasNextPage: to < snapshot.lastSeq, hasPreviousPage: from > 1, cursorOf: messageId };
}

async function range(
  context: Context,
  conversation: ConversationView,
  args: ConversationMessagesArgs,
): Promise<[number, number]> {
  const { around, ...ends } = args;
  if (around == null) return rangeFromEnd(conversation, ends);
  const { first, ...beside } = ends;
  refuseBeside(beside, 'around');
  const size = pageSize('first', first ?? 50);
  const from = (await middle(context, conversation, around)) - Math.floor(size / 2);
  return [Math.max(1, from), Math.min(conversation.lastSeq, from + size - 1)];
}

/** A log, or the beginning of one. */
type Log = Pick<ConversationView, 'id' | 'lastSeq'>;

/** The numbers of a page that starts or ends at an end of the log, or at a cursor. */
function rangeFromEnd(log: Log, { first, after, last, before }: ConversationSnapshotMessagesArgs): [number, number] {
  const { lastSeq } = log;
  if (first != null) {
    refuseBeside({ last, before }, 'first');
    const from = after == null ? 1 : seqOf('after', after, log) + 1;
    return [from, Math.min(lastSeq, from + pageSize('first', first) - 1)];
  }
  refuseBeside({ after }, 'last');
  if (before != null && last == null) throw badInput('`before` requires `last`.');
  const to = before == null ? lastSeq : seqOf('before', before, log) - 1;
  return [Math.max(1, to - pageSize('last', last ?? 50) + 1), to];
}

async function middle(
  context: Context,
  conversation: ConversationView,
  { seq, time, firstUnread }: NonNullable<ConversationMessagesArgs['around']>,
): Promise<number> {
  if (seq != null) return Math.min(Math.max(seq, 1), conversation.lastSeq);
  if (firstUnread === false) throw badInput('`firstUnread` must be true; got false.');
  const { chat } = context;
  const found = await (time != null
    ? chat.firstSince(conversation, time)
    : chat.firstUnread(conversation, signedIn(context)));
  return Math.min(found ?? conversation.lastSeq, conversation.lastSeq);
}

function refuseBeside(args: Record<string, unknown>, beside: string): void {
  for (const [name, value] of Object.entries(args)) {
    if (value != null) throw badInput(`\`${name}\` cannot be combined with \`${beside}\`.`);
  }
}

function pageSize(name: string, size: number): number {
  if (size < 1 || size > 100) throw badInput(`\`${name}\` must be between 1 and 100; got ${size}.`);
  return size;
}

function seqOf(name: string, cursor: string, { id, lastSeq }: Log): number {
  const position = parseId(cursor);
  if (position?.conversationId !== id || position.seq === null || position.seq > lastSeq) {
    throw badInput(`\`${name}\` must be a cursor of this conversation.`);
  }
  return position.seq;
}

export function messagePageInfo({ messages, hasNextPage, hasPreviousPage, cursorOf }: MessagePage): PageInfo {
  const [start, end] = [messages[0], messages.at(-1)];
  return {
    hasNextPage,
    hasPreviousPage,
    startCursor: start ? cursorOf(start) : null,
    endCursor: end ? cursorOf(end) : null,
  };
}

/** The page for `Query.searchMessages`. */
export async function searchPage(chat: Chat, viewer: Viewer, args: QuerySearchMessagesArgs): Promise<MessagePage> {
  const first = pageSize('first', args.first ?? 20);
  const after = args.after == null ? null : searchPositionOf(args.after);
  const { hits, ...page } = await chat.searchMessages(viewer, args.query, args.in ?? null, { first, after });
  const positions = new Map<AnyMessageView, SearchPosition>(hits.map(({ message, position }) => [message, position]));
  const cursorOf = (message: AnyMessageView): string => {
    const { score = 0, sentAt = 0 } = positions.get(message) ?? {};
    return Buffer.from(`${score}:${sentAt}:${messageId(message)}`).toString('base64url');
  };
  return { messages: hits.map(({ message }) => message), ...page, cursorOf };
}

/** The position of a search cursor; there need not be a hit at it. */
function searchPositionOf(cursor: string): SearchPosition {
  const match = /^(\d{1,9}):(\d{1,16}):(.+)$/.exec(Buffer.from(cursor, 'base64url').toString());
  const message = match && parseId(match[3] ?? '');
  if (!message || message.seq === null) throw badInput('`after` must be a cursor of a search.');
  const { conversationId, seq } = message;
  return { score: Number(match[1]), sentAt: Number(match[2]), conversationId, seq };
}

/** The page for `Query.chatList`. */
export async function chatListPage(chat: Chat, viewer: Viewer, args: QueryChatListArgs): Promise<ChatListPage> {
  const first = pageSize('first', args.first ?? 20);
  const after = args.after == null ? null : positionOf(args.after);
  const { configId = null, status = null, label = null, unreadOnly, archived } = args.filter ?? {};
  const filter = { configId, status, label, unreadOnly: unreadOnly === true, archived: archived === true };
  return { ...(await chat.chatList(viewer, filter, { first, after })), filter };
}

export function chatListCursor({ id, lastActivityAt, reader: { pinned } }: ListedConversation): string {
  return Buffer.from(`${Number(pinned)}:${lastActivityAt}:${id}`).toString('base64url');
}

export function chatListPageInfo({ conversations, hasNextPage, hasPreviousPage }: ChatListPage): PageInfo {
  const [start, end] = [conversations[0], conversations.at(-1)];
  return {
    hasNextPage,
    hasPreviousPage,
    startCursor: start ? chatListCursor(start) : null,
    endCursor: end ? chatListCursor(end) : null,
  };
}

/** The position of a chat list cursor; there need not be a conversation at it, as the viewer may have left it. */
function positionOf(cursor: string): ChatListPosition {
  const match = /^([01]):(\d{1,15}):(.+)$/.exec(Buffer.from(cursor, 'base64url').toString());
  const conversation = match && parseId(match[3] ?? '');
  if (!conversation || conversation.seq !== null) throw badInput('`after` must be a cursor of a chat list.');
  return { pinned: match[1] === '1', lastActivityAt: Number(match[2]), id: conversation.conversationId };
}
