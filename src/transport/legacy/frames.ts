import { z } from 'zod';
import { badInput } from '../../chat/rules/errors.ts';
import { codePoints } from '../../chat/rules/text-length.ts';
import type { Message } from '../../graphql/generated/resolvers.ts';
import { type ConversationId, type EmailAddress, parseEmail } from '../../model.ts';
import type { LegacyParams } from './params.ts';

/** The client's address, and its spelling of it, which every frame to the client uses. */
type Client = Pick<LegacyParams, 'email' | 'spelling'>;

const address = z.string().transform((text, context) => {
  const email = parseEmail(text);
  if (!email) context.addIssue('must be an email address');
  return email ?? z.NEVER;
});

/** A list that is validated up to its first mistake: collecting all of them could take longer than any other frame. */
function listOf<T>(element: z.ZodType<T>) {
  return z.custom<readonly unknown[]>(Array.isArray, 'must be a list').transform((list, context) => {
    const elements: T[] = [];
    for (let i = 0; i < list.length; i++) {
      const { data, error } = element.safeParse(list[i]);
      const [issue] = error?.issues ?? [];
      if (issue) {
        context.addIssue({ code: 'custom', message: issue.message, path: [i, ...issue.path] });
        return z.NEVER;
      }
      elements.push(data as T);
    }
    return elements;
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
      .refine((id) => id !== '' && codePoints(id) <= 60, 'must be 1 to 60 code points')
      .nullish(),
  }),
  RECEIVE: z.object({ ...key, page: pageNumber.nullish() }),
};

export type FrameType = keyof typeof FRAMES;
export type Frame<T extends FrameType> = z.infer<(typeof FRAMES)[T]>;

/** Parses a frame of this type. @throws ChatError BAD_USER_INPUT with the first mistake */
export function parseFrame<T extends FrameType>(type: T, frame: unknown): Frame<T> {
  const parsed = FRAMES[type].safeParse(frame);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw badInput(`${issue?.path.join('.') || 'The frame'}: ${issue?.message}`);
  }
  return parsed.data as Frame<T>;
}

/** The type that the answer to a frame carries; `ERROR` if the frame has none of the three types. */
export function frameType(frame: unknown): FrameType | 'ERROR' {
  const type = typeof frame === 'object' && frame !== null && 'type' in frame ? frame.type : undefined;
  return typeof type === 'string' && Object.hasOwn(FRAMES, type) ? (type as FrameType) : 'ERROR';
}

/** The answer to a frame that failed. */
export function errorFrame(type: FrameType | 'ERROR', { code, message }: { code: string; message: string }): object {
  return { type, error: { code, message }, data: [], ...(type === 'CHAT_LIST' && { unread_message: 0 }) };
}

/** The fields of a message that frames are made of, all scalar. */
export const MESSAGE_FIELDS = ['kind', 'text', 'sender', 'sentAt', 'readBy'] as const;
export interface MessageData extends Pick<Message, Exclude<(typeof MESSAGE_FIELDS)[number], 'sentAt'>> {
  sentAt: string;
}
export interface ConversationData {
  configId: string;
  createdAt: string;
  members: { email: EmailAddress; joinedAt: string }[];
  subject: string | null;
  party: string | null;
}
export interface ChatData extends ConversationData {
  id: ConversationId;
  pinned: boolean;
  memberCount: number;
  unreadCount: number;
  lastMessage: Pick<MessageData, 'kind' | 'text'> | null;
  lastActivityAt: string;
}

/** The frame of a new message. */
export function liveFrame(client: Client, conversation: object, message: MessageData): object {
  return { type: 'MESSAGE', ...conversation, message: [messageOf(client, message)] };
}

/** A row of `CHAT_LIST`. */
export function rowOf(client: Client, chat: ChatData) {
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

/**
 * The key of a conversation: its `config_id` and the members that joined when it was opened. A list with the members
 * added later would be the key of another conversation.
 */
export function conversation(
  client: Client,
  { configId, createdAt, members }: Pick<ConversationData, 'configId' | 'createdAt' | 'members'>,
) {
  const keyMembers = members.filter(({ joinedAt }) => joinedAt === createdAt);
  return { config_id: configId, members: keyMembers.map(({ email }) => spell(client, email)) };
}

/** `kind` marks the server's messages: their texts could be a member's. */
export function messageOf(client: Client, { kind, text, sender, sentAt, readBy }: MessageData) {
  return {
    text,
    sender: spell(client, sender),
    time: time(sentAt),
    is_read: readBy.map((email) => spell(client, email)),
    ...(kind === 'SYSTEM' && { kind }),
  };
}

function spell(client: Client, email: EmailAddress): string {
  return email === client.email ? client.spelling : email;
}

/** `2024-02-05T18:58:32.921000`: UTC with six digits and no zone letter. */
function time(instant: string): string {
  return instant.replace('Z', '000');
}
