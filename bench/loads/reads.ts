import type { Values } from '../clients.ts';
import type { Connection, Connections } from '../connection.ts';
import { openConversation } from '../conversations.ts';
import type { MakeFrame } from '../dialects.ts';
import { seqOf } from '../frames.ts';
import { percentiles, perOperation, startMeter } from '../meter.ts';
import { pageOperation } from '../page.ts';
import { concurrently, keepBusy } from '../requests.ts';

const PAGE_SIZE = 50;
/** Requests outstanding on the one connection that reads. */
const WINDOW = 8;
/** Conversations that are prepared at the same time. */
const AT_ONCE = 20;
const LIST_SIZE = 20;

const PAGE = {
  open: pageOperation('OpenNewest'),
  around: pageOperation('OpenConversation'),
  list: pageOperation('ChatList'),
  markRead: pageOperation('MarkRead'),
};

/** A user, and conversations of that user with another. */
interface Library {
  readonly reader: string;
  readonly conversations: readonly string[];
}

/** Libraries by server and name: each is made once for all rounds. */
const libraries = new Map<string, Library>();

/** Makes `count` conversations of `size` messages, which the reader has read, or not. */
async function prepare(connections: Connections, name: string, count: number, size: number, unread = false) {
  const key = `${connections.target.urls[0]} ${name}`;
  const known = libraries.get(key);
  if (known) return known;
  const [reader, sender] = [await connections.open(), await connections.open()];
  const conversations = await concurrently(count, AT_ONCE, async () => {
    const { id: conversation } = await openConversation(connections, sender, [reader.user], size);
    if (!unread && connections.target.dialect === 'kredichat') {
      await reader.ask((id) => PAGE.markRead(id, `"input":{"conversationId":"${conversation}","seq":${size}}`));
    }
    return conversation;
  });
  const library: Library = { reader: reader.user, conversations };
  libraries.set(key, library);
  return library;
}

/** The newest page of one conversation after the other: of more of them than a server may keep pages of. */
export interface Pages {
  readonly conversations: number;
  /** Messages in each. */
  readonly size: number;
  /** The page alone, or all that the page asks for when its user comes to a conversation. */
  readonly what: 'page' | 'open';
}

/** Values: rate (pages per second), p50, p99. */
export async function pages(
  connections: Connections,
  { conversations: count, size, what }: Pages,
  ms: number,
): Promise<Values> {
  const { reader, conversations } = await prepare(connections, 'pages', count, size);
  const connection = await connections.open(0, reader);
  let turns = 0;
  const makeFrame = (): MakeFrame => {
    const conversation = conversations[turns++ % conversations.length] ?? '';
    return what === 'page'
      ? (id) => connections.dialect.page(id, conversation, PAGE_SIZE)
      : (id) => PAGE.open(id, `"id":"${conversation}","size":${PAGE_SIZE}`);
  };
  // In `open` the newest message comes first: it is the conversation's last one, too.
  const first = what === 'page' ? size - PAGE_SIZE + 1 : size;
  return read(connections, connection, makeFrame, first, ms);
}

/** Pages around numbers at random, at the end of one long conversation and in its middle. */
export interface Deep {
  readonly messages: number;
}

/** Values: newest, deep (pages per second), ratio (of the times that a page takes). CPU times are of both. */
export async function deep(connections: Connections, { messages }: Deep, ms: number): Promise<Values> {
  const { reader, conversations } = await prepare(connections, 'deep', 1, messages);
  const connection = await connections.open(0, reader);
  const from = (lowest: number) => (): MakeFrame => {
    const seq = lowest + Math.floor(Math.random() * (messages / 20));
    return (id) => PAGE.around(id, `"by":{"id":"${conversations[0]}"},"at":{"seq":${seq}},"size":${PAGE_SIZE}`);
  };
  const newest = await read(connections, connection, from(messages * 0.94), messages, ms / 2);
  const middle = await read(connections, connection, from(messages * 0.5), messages, ms / 2);
  const [p50, deepP50] = [newest.p50 ?? Number.NaN, middle.p50 ?? Number.NaN];
  return { ...middle, newest: newest.rate ?? Number.NaN, deep: middle.rate ?? Number.NaN, ratio: deepP50 / p50 };
}

/** The first page of a chat list, of conversations in which nothing is unread, or everything. */
export interface Lists {
  readonly conversations: number;
  /** Messages in each. */
  readonly size: number;
  readonly unread: boolean;
}

/** Values: rate (lists per second), p50, p99. */
export async function lists(
  connections: Connections,
  { conversations: count, size, unread }: Lists,
  ms: number,
): Promise<Values> {
  const { reader } = await prepare(connections, `lists ${unread}`, count, size, unread);
  const connection = await connections.open(0, reader);
  return read(connections, connection, () => (id) => PAGE.list(id, `"first":${LIST_SIZE}`), size, ms);
}

/** Asks again and again; the first message of each answer is to be number `first`. */
async function read(
  { target, fail }: Connections,
  connection: Connection,
  makeFrame: () => MakeFrame,
  first: number,
  ms: number,
): Promise<Values> {
  const latencies: number[] = [];
  const stop = startMeter(target);
  const end = performance.now() + ms;
  await keepBusy(connection, WINDOW, {
    latencies,
    next() {
      if (performance.now() >= end) return null;
      return {
        makeFrame: makeFrame(),
        replied(bytes, start, end) {
          const seq = seqOf(bytes, start, end);
          if (seq !== first) fail(new Error(`an answer began with message ${seq}, not ${first}`));
        },
      };
    },
  });
  const usage = stop();
  return {
    ...perOperation(usage, latencies.length),
    rate: (latencies.length / usage.ms) * 1000,
    ...percentiles(latencies),
  };
}
