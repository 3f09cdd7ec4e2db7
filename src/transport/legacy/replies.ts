import { setImmediate } from 'node:timers/promises';
import { type DocumentNode, GraphQLError, parse } from 'graphql';
import { badInput, ChatError } from '../../chat/rules/errors.ts';
import { checkKey } from '../../chat/rules/validation.ts';
import {
  type ConversationId,
  conversationId,
  type EmailAddress,
  FIRST_MEMBERS,
  horizonOf,
  messageId,
  parseEmail,
} from '../../model.ts';
import {
  type ChatData,
  type ConversationData,
  conversation,
  type Frame,
  type FrameType,
  frameType,
  MESSAGE_FIELDS,
  type MessageData,
  messageOf,
  parseFrame,
  rowOf,
} from './frames.ts';
import type { LegacyParams } from './params.ts';

/** A client connected to the legacy endpoint. */
export interface LegacyClient extends Pick<LegacyParams, 'email' | 'spelling'> {
  /** Messages in a page of `RECEIVE`. */
  readonly pageSize: number;
  /** Maximum bytes of an answer; a list omits its longest rows to fit. */
  readonly maxBytes: number;
  /** Runs one of the documents below. @throws GraphQLError the first error of the result */
  run<Data>(document: DocumentNode, variables: Record<string, unknown>): Promise<Data>;
}

/** The live messages of a conversation: those after `afterSeq`. */
export interface Follow {
  readonly conversationId: ConversationId;
  readonly afterSeq: number;
  /** The members of each frame that name the conversation. */
  readonly key: object;
}

/** The answer to a frame, and the live messages that continue it. */
export interface Reply {
  readonly frame: object;
  readonly follow?: Follow;
}

const MESSAGE = MESSAGE_FIELDS.join(' ');
const CHAT_LIST = parse(`query ChatList($archived: Boolean!, $after: String) {
  chatList(first: 100, after: $after, filter: { archived: $archived }) {
    nodes {
      id pinned configId createdAt memberCount members(first: ${FIRST_MEMBERS}) { email joinedAt }
      subject party unreadCount lastMessage { kind text } lastActivityAt
    }
    pageInfo { hasNextPage endCursor }
  }
}`);
const MEMBERS = parse('query Members($id: ID!) { conversation(by: { id: $id }) { members { email joinedAt } } }');
const SEND = parse(`mutation Send($input: SendMessagesInput!) {
  sendMessages(input: $input) {
    messages { ${MESSAGE} }
    conversation { configId createdAt members { email joinedAt } }
  }
}`);
const LOOK = parse(`query Look($by: ConversationRef!) {
  conversation(by: $by) { id lastSeq configId createdAt members { email joinedAt } }
}`);
const EXISTS = parse('query Exists($by: ConversationRef!) { conversation(by: $by) { id } }');
const RECEIVE = parse(`mutation Receive($read: MarkReadInput!, $first: Int!, $after: String) {
  markRead(input: $read) {
    conversation {
      configId createdAt members { email joinedAt } subject party
      messages(first: $first, after: $after) { nodes { ${MESSAGE} } }
    }
  }
}`);
/** The subscription to live messages; its events are for `liveFrame`. */
export const FOLLOW = parse(`subscription Follow($conversationId: ID!, $afterSeq: Int) {
  messageAdded(conversationId: $conversationId, afterSeq: $afterSeq) { ${MESSAGE} }
}`);

/** Maximum rows of `CHAT_LIST`. */
const MAX_CHATS = 1000;
/** Maximum conversations read from each chat list; beyond this many pinned ones, some rows may be missing. */
const MAX_READ = 2 * MAX_CHATS;

type FoundData = Pick<ConversationData, 'configId' | 'createdAt' | 'members'> & { id: ConversationId; lastSeq: number };

const REPLIES: { readonly [T in FrameType]: (frame: Frame<T>, client: LegacyClient) => Promise<Reply> } = {
  async CHAT_LIST({ email }, client) {
    if (email != null) requireOwn(client, 'email', email);
    const data = await rowsThatFit(client, await newestChats(client));
    return {
      frame: { type: 'CHAT_LIST', data, unread_message: data.reduce((sum, chat) => sum + chat.unread_msgs, 0) },
    };
  },

  async SEND(frame, client) {
    for (const { sender } of frame.message) if (sender != null) requireOwn(client, 'sender', sender);
    const { client_id: clientId, subject, party } = frame;
    const messages = frame.message.map(({ sender: _, ...message }, index) => ({
      ...message,
      clientId: clientId == null ? null : `${clientId}:${index}`,
    }));
    const { sendMessages } = await client.run<{
      sendMessages: { messages: MessageData[]; conversation: ConversationData };
    }>(SEND, {
      input: { to: await refOf(client, frame), messages, subject, party },
    });
    const message = sendMessages.messages.map((stored) => messageOf(client, stored));
    return { frame: { type: 'SEND', data: [{ ...conversation(client, sendMessages.conversation), message }] } };
  },

  async RECEIVE(request, client) {
    const { conversation: found } = await client.run<{ conversation: FoundData | null }>(LOOK, {
      by: await refOf(client, request),
    });
    const page = request.page ?? 1;
    const to = found ? found.lastSeq - (page - 1) * client.pageSize : 0;
    if (!found) return { frame: { type: 'RECEIVE', data: [] } };
    const follow = { conversationId: found.id, afterSeq: found.lastSeq, key: conversation(client, found) };
    if (to < 1) return { frame: { type: 'RECEIVE', data: [] }, follow };
    const from = Math.max(1, to - client.pageSize + 1);
    const { markRead } = await client.run<{
      markRead: { conversation: ConversationData & { messages: { nodes: MessageData[] } } };
    }>(RECEIVE, {
      read: { conversationId: found.id, seq: to },
      first: to - from + 1,
      after: from === 1 ? null : messageId({ conversationId: found.id, seq: from - 1 }),
    });
    const { subject, party, messages } = markRead.conversation;
    const pages = Math.ceil(found.lastSeq / client.pageSize);
    const message = messages.nodes.map((stored) => messageOf(client, stored));
    const data = [{ ...conversation(client, markRead.conversation), subject, party, page, pages, message }];
    return { frame: { type: 'RECEIVE', data }, follow };
  },
};

/** Answers one frame, parsed as JSON. @throws ChatError */
export async function reply(frame: unknown, client: LegacyClient): Promise<Reply> {
  const type = frameType(frame);
  if (type === 'ERROR') throw badInput('`type` must be CHAT_LIST, SEND or RECEIVE.');
  return replyTo(type, frame, client);
}

function replyTo<T extends FrameType>(type: T, frame: unknown, client: LegacyClient): Promise<Reply> {
  return REPLIES[type](parseFrame(type, frame), client);
}

/**
 * The conversation that a frame names. Its key has the listed members and the client, even if the client is not listed.
 * If that conversation does not exist, the key may have the listed members alone, as in `CHAT_LIST` for a client that
 * was added later. `SEND` and `RECEIVE` do the same reads, so that they keep their order.
 */
async function refOf(
  client: LegacyClient,
  { config_id: configId, members }: { config_id: string; members: readonly EmailAddress[] },
) {
  const withClient = { key: { configId, members: [client.email, ...members] } };
  if (members.includes(client.email) || new Set(members).size < 2) return withClient;
  const listed = { id: conversationId(checkKey(configId, members)) };
  const exists = async (by: object) =>
    (await client.run<{ conversation: object | null }>(EXISTS, { by })).conversation !== null;
  return (await exists(withClient)) || !(await exists(listed)) ? withClient : listed;
}

/**
 * The rows of a list, in its order, up to `maxBytes`: the rows with the most members are omitted, before their members
 * are read.
 */
async function rowsThatFit(client: LegacyClient, chats: readonly ChatData[]) {
  const rows = new Map<ConversationId, ReturnType<typeof rowOf>>();
  // For the rest of the frame.
  let bytes = 100;
  for (const chat of chats.toSorted((a, b) => a.memberCount - b.memberCount)) {
    const members = hasKey(chat) ? chat.members : await allMembers(client, chat.id);
    if (!members) continue;
    const row = rowOf(client, { ...chat, members });
    bytes += Buffer.byteLength(JSON.stringify(row)) + 1;
    if (bytes > client.maxBytes) break;
    rows.set(chat.id, row);
  }
  return chats.flatMap(({ id }) => rows.get(id) ?? []);
}

/** Whether the first members include all of the key: members added later come after them. */
function hasKey({ createdAt, memberCount, members }: ChatData): boolean {
  return members.length === memberCount || members.at(-1)?.joinedAt !== createdAt;
}

/** Null if the client has left meanwhile, or the list alone exceeds the answer limit. Yields to other work first. */
async function allMembers(client: LegacyClient, id: ConversationId): Promise<ConversationData['members'] | null> {
  await setImmediate();
  try {
    const { conversation } = await client.run<{ conversation: ConversationData | null }>(MEMBERS, { id });
    return conversation?.members ?? null;
  } catch (error) {
    if (error instanceof GraphQLError && error.extensions.code === 'BAD_USER_INPUT') return null;
    throw error;
  }
}

/** The conversations of the client, archived or not, most recent activity first. */
async function newestChats(client: LegacyClient): Promise<ChatData[]> {
  const lists = [await chatList(client, false), await chatList(client, true)];
  // A conversation archived or unarchived between the reads is in both.
  const chats = new Map(lists.flat().map((chat) => [chat.id, chat]));
  // Times beyond the horizon come from a wrong clock and sort last, as in each of the two lists.
  const horizon = new Date(horizonOf(Date.now())).toISOString();
  const activity = ({ lastActivityAt }: ChatData) => (lastActivityAt > horizon ? '' : lastActivityAt);
  const before = (a: ChatData, b: ChatData) => (activity(a) === activity(b) ? a.id < b.id : activity(a) > activity(b));
  return [...chats.values()].sort((a, b) => (before(a, b) ? -1 : 1)).slice(0, MAX_CHATS);
}

/** The start of a chat list, with its newest `MAX_CHATS`: pinned conversations come first, whatever their age. */
async function chatList(client: LegacyClient, archived: boolean): Promise<ChatData[]> {
  const chats: ChatData[] = [];
  let after: string | null = null;
  do {
    const {
      chatList,
    }: { chatList: { nodes: ChatData[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } } } =
      await client.run(CHAT_LIST, { archived, after });
    await setImmediate();
    chats.push(...chatList.nodes);
    after = chatList.pageInfo.hasNextPage ? chatList.pageInfo.endCursor : null;
  } while (after !== null && chats.length < MAX_READ && chats.filter(({ pinned }) => !pinned).length < MAX_CHATS);
  return chats;
}

function requireOwn(client: LegacyClient, name: string, value: string): void {
  if (parseEmail(value) !== client.email)
    throw new ChatError('FORBIDDEN', `\`${name}\` must be the connected address.`);
}
