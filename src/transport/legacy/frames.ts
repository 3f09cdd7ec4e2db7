import { setImmediate } from 'node:timers/promises';
import { type DocumentNode, GraphQLError, parse } from 'graphql';
import { z } from 'zod';
import { badInput, ChatError } from '../../chat/rules/errors.ts';
import { checkKey, codePoints } from '../../chat/rules/validation.ts';
import {
  type ConversationId,
  conversationId,
  type EmailAddress,
  FIRST_MEMBERS,
  horizonOf,
  messageId,
  parseEmail,
} from '../../model.ts';

/** Somebody connected to the legacy endpoint. */
export interface LegacyClient {
  readonly email: EmailAddress;
  /** The address as the client spells it: it comes back in this spelling everywhere. */
  readonly spelling: string;
  /** Messages in a page of `RECEIVE`. */
  readonly pageSize: number;
  /** Bytes of an answer at most: of a list, the longest rows are left out until it fits. */
  readonly maxBytes: number;
  /** Runs one of the documents below. @throws ChatError with the first error's code */
  run<Data>(document: DocumentNode, variables: Record<string, unknown>): Promise<Data>;
}

/** Where live messages go on from, and what every frame of them begins with. */
export interface Follow {
  readonly conversationId: ConversationId;
  readonly afterSeq: number;
  readonly head: object;
}

/** What a frame is answered with, and where to go on from if the client asked for live messages. */
export interface Reply {
  readonly frame: object;
  readonly follow?: Follow;
}

const address = z.string().transform((text, context) => {
  const email = parseEmail(text);
  if (!email) context.addIssue('is no e-mail address');
  return email ?? z.NEVER;
});
/** A list that is read up to its first mistake: to tell all of them would take longer than all else a frame may ask for. */
function listOf<T>(element: z.ZodType<T>) {
  return z.custom<readonly unknown[]>(Array.isArray, 'is to be a list').transform((list, context) => {
    const read: T[] = [];
    for (let i = 0; i < list.length; i++) {
      const { data, error } = element.safeParse(list[i]);
      const [issue] = error?.issues ?? [];
      if (issue) {
        context.addIssue({ code: 'custom', message: issue.message, path: [i, ...issue.path] });
        return z.NEVER;
      }
      read.push(data as T);
    }
    return read;
  });
}
const key = { config_id: z.string(), members: listOf(address) };
const pageNumber = z.union([
  z.int().min(1),
  z
    .string()
    .regex(/^0*[1-9]\d*$/)
    .transform(Number),
]);

const FRAMES = {
  CHAT_LIST: z.object({ email: z.string().nullish() }),
  SEND: z.object({
    ...key,
    subject: z.string().nullish(),
    party: z.union([z.string(), z.int().transform(String)]).nullish(),
    message: listOf(z.object({ text: z.string(), sender: z.string().nullish() })),
    client_id: z
      .string()
      .refine((id) => id !== '' && codePoints(id) <= 60, 'is to be 1 to 60 code points')
      .nullish(),
  }),
  RECEIVE: z.object({ ...key, page: pageNumber.nullish() }),
};
type FrameType = keyof typeof FRAMES;
type Frame<T extends FrameType> = z.infer<(typeof FRAMES)[T]>;

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
    messages { kind text sender sentAt readBy }
    conversation { configId createdAt members { email joinedAt } }
  }
}`);
const LOOK = parse(
  `query Look($by: ConversationRef!) { conversation(by: $by) { id lastSeq configId createdAt members { email joinedAt } } }`,
);
const EXISTS = parse('query Exists($by: ConversationRef!) { conversation(by: $by) { id } }');
const RECEIVE = parse(`mutation Receive($read: MarkReadInput!, $first: Int!, $after: String) {
  markRead(input: $read) {
    conversation {
      configId createdAt members { email joinedAt } subject party
      messages(first: $first, after: $after) { nodes { kind text sender sentAt readBy } }
    }
  }
}`);
/** The subscription that carries live messages; its events are for `messageFrame`. */
export const FOLLOW = parse(`subscription Follow($conversationId: ID!, $afterSeq: Int) {
  messageAdded(conversationId: $conversationId, afterSeq: $afterSeq) { kind text sender sentAt readBy }
}`);

/** A legacy client sees this many conversations at most. */
const MAX_CHATS = 1000;
/** Conversations of a list that are read for that at most: of more that are pinned than would be seen, some may be missed. */
const MAX_READ = 2 * MAX_CHATS;

interface MessageData {
  kind: 'TEXT' | 'SYSTEM';
  text: string;
  sender: EmailAddress;
  sentAt: string;
  readBy: EmailAddress[];
}
interface ConversationData {
  configId: string;
  createdAt: string;
  members: { email: EmailAddress; joinedAt: string }[];
  subject: string | null;
  party: string | null;
}
type FoundData = Pick<ConversationData, 'configId' | 'createdAt' | 'members'> & { id: ConversationId; lastSeq: number };
interface ChatData extends ConversationData {
  id: ConversationId;
  pinned: boolean;
  memberCount: number;
  unreadCount: number;
  lastMessage: Pick<MessageData, 'kind' | 'text'> | null;
  lastActivityAt: string;
}

const REPLIES: { readonly [T in FrameType]: (frame: Frame<T>, client: LegacyClient) => Promise<Reply> } = {
  async CHAT_LIST({ email }, client) {
    if (email != null) own(client, 'email', email);
    const data = await rowsThatFit(client, await newestChats(client));
    return {
      frame: { type: 'CHAT_LIST', data, unread_message: data.reduce((sum, chat) => sum + chat.unread_msgs, 0) },
    };
  },

  async SEND(frame, client) {
    for (const { sender } of frame.message) if (sender != null) own(client, 'sender', sender);
    const { client_id: clientId, subject, party } = frame;
    const messages = frame.message.map(({ text }, index) => ({
      text,
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
    const follow = { conversationId: found.id, afterSeq: found.lastSeq, head: conversation(client, found) };
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

/** The frame for a new message in a conversation that is followed. */
export function messageFrame(
  client: LegacyClient,
  { head }: Follow,
  { messageAdded }: { messageAdded: MessageData },
): object {
  return { type: 'MESSAGE', ...head, message: [messageOf(client, messageAdded)] };
}

/** The type of a frame as its answer names it; `ERROR` for what is none of the three. */
export function frameType(frame: unknown): FrameType | 'ERROR' {
  const type = typeof frame === 'object' && frame !== null && 'type' in frame ? frame.type : undefined;
  return typeof type === 'string' && Object.hasOwn(FRAMES, type) ? (type as FrameType) : 'ERROR';
}

/** Answers one parsed frame. @throws ChatError */
export async function reply(frame: unknown, client: LegacyClient): Promise<Reply> {
  const type = frameType(frame);
  if (type === 'ERROR') throw badInput('type is to be CHAT_LIST, SEND or RECEIVE.');
  return answer(type, frame, client);
}

function answer<T extends FrameType>(type: T, frame: unknown, client: LegacyClient): Promise<Reply> {
  const parsed = FRAMES[type].safeParse(frame);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw badInput(`${issue?.path.join('.') || 'The frame'}: ${issue?.message}`);
  }
  return REPLIES[type](parsed.data as Frame<T>, client);
}

/** The answer to a frame that failed. */
export function errorFrame(type: FrameType | 'ERROR', { code, message }: { code: string; message: string }): object {
  return { type, error: { code, message }, data: [], ...(type === 'CHAT_LIST' && { unread_message: 0 }) };
}

/**
 * The conversation that a frame is about. Clients name the others, with or without themselves: it is with all of them.
 * Only where there is none, it may be one whose key they are not in, as they were added later: that is how they find it in
 * `CHAT_LIST`. `SEND` and `RECEIVE` look for it alike, so that they stay in the order in which they came.
 */
async function refOf(
  client: LegacyClient,
  { config_id: configId, members }: { config_id: string; members: readonly EmailAddress[] },
) {
  const whole = { key: { configId, members: [client.email, ...members] } };
  if (members.includes(client.email) || new Set(members).size < 2) return whole;
  const listed = { id: conversationId(checkKey(configId, members)) };
  const exists = async (by: object) =>
    (await client.run<{ conversation: object | null }>(EXISTS, { by })).conversation !== null;
  return (await exists(whole)) || !(await exists(listed)) ? whole : listed;
}

/**
 * The rows of a list, in its order. What they take is bounded: the rows with the longest lists of members are left out,
 * before these are read.
 */
async function rowsThatFit(client: LegacyClient, chats: readonly ChatData[]) {
  const rows = new Map<ConversationId, ReturnType<typeof rowOf>>();
  // The rest of the frame.
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

function rowOf(client: LegacyClient, chat: ChatData) {
  return {
    ...conversation(client, chat),
    subject: chat.subject,
    party: chat.party,
    unread_msgs: chat.unreadCount,
    last_message: [...(chat.lastMessage?.text.slice(0, 400) ?? '')].slice(0, 200).join(''),
    ...(chat.lastMessage?.kind === 'SYSTEM' && { last_message_kind: 'SYSTEM' }),
    updated_at: time(chat.lastActivityAt),
  };
}

/** Whether the first members are all that are in the key: those who came later stand behind them. */
function hasKey({ createdAt, memberCount, members }: ChatData): boolean {
  return members.length === memberCount || members.at(-1)?.joinedAt !== createdAt;
}

/** Null where the client has left meanwhile, or they alone take too long an answer. Other work runs in between. */
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
  // One that was archived, or brought back, meanwhile is in both.
  const chats = new Map(lists.flat().map((chat) => [chat.id, chat]));
  // Last those of which the time was given by a clock that was wrong, as in each of the two.
  const horizon = new Date(horizonOf(Date.now())).toISOString();
  const activity = ({ lastActivityAt }: ChatData) => (lastActivityAt > horizon ? '' : lastActivityAt);
  const before = (a: ChatData, b: ChatData) => (activity(a) === activity(b) ? a.id < b.id : activity(a) > activity(b));
  return [...chats.values()].sort((a, b) => (before(a, b) ? -1 : 1)).slice(0, MAX_CHATS);
}

/** The part of a chat list that the newest of all are in: those that are pinned come first in it, whatever their age. */
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

function own(client: LegacyClient, name: string, value: string): void {
  if (parseEmail(value) !== client.email) throw new ChatError('FORBIDDEN', `${name} is not the connected address.`);
}

/**
 * A conversation as clients name it when they ask for it: with the members of its key, who joined as it was opened. Others
 * came later, and were they listed, it would be another conversation's name.
 */
function conversation(
  client: LegacyClient,
  { configId, createdAt, members }: Pick<ConversationData, 'configId' | 'createdAt' | 'members'>,
) {
  const named = members.filter(({ joinedAt }) => joinedAt === createdAt);
  return { config_id: configId, members: named.map(({ email }) => spell(client, email)) };
}

/** `kind` tells the server's messages apart, as no text can. */
function messageOf(client: LegacyClient, { kind, text, sender, sentAt, readBy }: MessageData) {
  return {
    text,
    sender: spell(client, sender),
    time: time(sentAt),
    is_read: readBy.map((email) => spell(client, email)),
    ...(kind === 'SYSTEM' && { kind }),
  };
}

function spell(client: LegacyClient, email: EmailAddress): string {
  return email === client.email ? client.spelling : email;
}

/** `2024-02-05T18:58:32.921000`: UTC with six digits and no zone letter. */
function time(instant: string): string {
  return instant.replace('Z', '000');
}
