import { setTimeout as sleep } from 'node:timers/promises';
import { AT_ONCE, type Connection, type Connections } from './connection.ts';
import { type Outgoing, type Stream, WORDS } from './dialects.ts';
import { excerpt, seqOf, textNumberOf } from './frames.ts';
import { concurrently } from './requests.ts';

/** A conversation, and what was acknowledged in it. */
export interface Conversation {
  readonly id: string;
  /** The number of the newest message. */
  last: number;
  /** Sum of the numbers in the texts of acknowledged messages, since all followers receive: tells mixed-up texts. */
  sum: number;
}

/** A subscription to a conversation: each message must come once and in order. */
export interface Follower {
  readonly conversation: Conversation;
  /** The number of the newest message that came; 0 before the first. */
  last: number;
  /** See `Conversation.sum`; null where texts are not looked at. */
  sum: number | null;
}

/** Requests outstanding while a conversation is filled. */
const FILL_WINDOW = 4;
/** How often followers are given something to receive until all do, in milliseconds. */
const PROBE_MS = 20;
/** How long the last of the deliveries may take, in milliseconds. */
const DELIVERY_MS = 30_000;
const LOOK_MS = 2;
/** How long to look for deliveries that should not come, in milliseconds. */
const QUIET_MS = 50;

let conversations = 0;
let messages = 0;

/** A message unlike all others. Its text begins with its number. */
export function newMessage({ id }: Conversation): Outgoing & { readonly number: number } {
  const number = ++messages;
  return { conversation: id, number, text: `${number} ${WORDS}`, clientId: `bench-${number}` };
}

/** Takes in that a message is stored. */
export function stored(conversation: Conversation, number: number): void {
  conversation.last++;
  conversation.sum += number;
}

/** Opens a conversation with `size` messages; `sender` is one of the members. */
export async function openConversation(
  { dialect }: Connections,
  sender: Connection,
  others: readonly string[],
  size = 1,
): Promise<Conversation> {
  const name = `bench-${process.pid}-${++conversations}`;
  const id = await dialect.open(sender.ask, name, [sender.user, ...others], `1 ${WORDS}`);
  let made = 1;
  const fill = async () => {
    while (made < size) {
      const texts = Array.from(
        { length: Math.min(dialect.fillSize, size - made) },
        (_, n) => `${made + n + 1} ${WORDS}`,
      );
      made += texts.length;
      await sender.ask((frame) => dialect.fill(frame, id, texts));
    }
  };
  await Promise.all(Array.from({ length: FILL_WINDOW }, fill));
  return { id, last: size, sum: 0 };
}

/**
 * Follows a conversation from here on, and fails at the first delivery that is out of order. `delivered` gets the
 * number of each message; without it the texts are not looked at.
 */
export function follow(
  { dialect, fail }: Connections,
  connection: Connection,
  conversation: Conversation,
  delivered?: (number: number) => void,
  stream: Stream = 'events',
): Follower {
  const follower: Follower = { conversation, last: 0, sum: delivered ? 0 : null };
  connection.subscribe(
    (id) => dialect.subscribe(id, conversation.id, conversation.last, stream),
    (bytes, start, end) => {
      const seq = seqOf(bytes, start, end);
      if (seq === -1) return; // where the conversation stands, or how far a member has read
      if (follower.last !== 0 && seq !== follower.last + 1) {
        fail(new Error(`${connection.user} got after message ${follower.last} ${excerpt(bytes, start, end)}`));
      }
      follower.last = seq;
      if (follower.sum === null || !delivered) return;
      const number = textNumberOf(bytes, start, end);
      follower.sum += number;
      delivered(number);
    },
  );
  return follower;
}

/** A conversation in which the first member sends, and the other members subscribe. */
export interface Group {
  readonly sender: Connection;
  readonly conversation: Conversation;
  readonly followers: readonly Follower[];
}

interface GroupOptions {
  /** Messages in the conversation before. */
  readonly history?: number;
  readonly stream?: Stream;
  /** Gets the number of each message that is delivered. Without it the first follower alone looks at texts. */
  readonly delivered?: (number: number) => void;
}

/**
 * Opens a conversation of new users, and resolves when all but the first follow it. With two instances those are on the
 * second.
 */
export async function openGroup(
  connections: Connections,
  followers: number,
  { history, stream, delivered }: GroupOptions = {},
): Promise<Group> {
  const sender = await connections.open(0);
  const others = await connections.openMany(followers, 1);
  const users = others.map(({ user }) => user);
  const conversation = await openConversation(connections, sender, users, history);
  const following = others.map((other, index) =>
    follow(connections, other, conversation, delivered ?? (index === 0 ? () => {} : undefined), stream),
  );
  await probe(connections, sender, conversation, following);
  return { sender, conversation, followers: following };
}

/** Opens several groups, some at a time. */
export async function openGroups(
  connections: Connections,
  count: number,
  followers: number,
  history = 1,
): Promise<Group[]> {
  return concurrently(count, Math.ceil(AT_ONCE / followers), () => openGroup(connections, followers, { history }));
}

/** Sends a message, and resolves when it is stored. */
export async function say({ dialect }: Connections, sender: Connection, conversation: Conversation): Promise<void> {
  const message = newMessage(conversation);
  await sender.ask((id) => dialect.send(id, message));
  stored(conversation, message.number);
}

/** Sends until all followers of a conversation receive: the references do not acknowledge a subscription. */
async function probe(
  connections: Connections,
  sender: Connection,
  conversation: Conversation,
  followers: readonly Follower[],
): Promise<void> {
  do {
    await say(connections, sender, conversation);
    await sleep(PROBE_MS);
  } while (followers.some(({ last }) => last === 0));
  await received(followers);
  conversation.sum = 0;
  for (const follower of followers) if (follower.sum !== null) follower.sum = 0;
}

/** Resolves when all followers have all that is stored. */
export async function received(followers: readonly Follower[]): Promise<void> {
  const until = performance.now() + DELIVERY_MS;
  for (const follower of followers) {
    while (follower.last < follower.conversation.last) {
      if (performance.now() > until) {
        throw new Error(`of messages 1 to ${follower.conversation.last} only those to ${follower.last} were delivered`);
      }
      await sleep(LOOK_MS);
    }
  }
}

/** Throws when more came than was sent, or other texts; for use after `received`. */
export async function verify(followers: readonly Follower[]): Promise<void> {
  await sleep(QUIET_MS);
  for (const { last, sum, conversation } of followers) {
    if (last !== conversation.last) throw new Error('more was delivered than was sent');
    if (sum !== null && sum !== conversation.sum) throw new Error('messages were delivered with the texts of others');
  }
}
