import { readFileSync } from 'node:fs';
import type { Load } from './clients.ts';
import type { ServerName } from './servers.ts';

/** What Kredichat is to be like. A goal that is missed is only reported. */
interface Goal {
  /** Key in the load's result. */
  readonly value: string;
  /** The server that the value is divided by; absent where the value itself is to be so. */
  readonly beside?: ServerName;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** A column of a table. */
interface Column {
  /** Key in the load's result. */
  readonly value: string;
  readonly title: string;
  readonly digits: number;
  /** Whether the ratio of the last server's value to each other's is shown, too. */
  readonly compared: boolean;
}

/** A table of the output. */
export interface Measurement {
  /** Name for `--only`; the measurements of a part share their servers. */
  readonly part: string;
  readonly title: string;
  readonly load: Load;
  /** Unit of the CPU times. */
  readonly per: string;
  readonly columns: readonly Column[];
  readonly goals?: readonly Goal[];
  /** In this order; ratios are of the last one to the others. */
  readonly servers: readonly ServerName[];
  /** For how long each round puts the load on Kredichat and on a reference, in milliseconds. */
  readonly ms: number;
  readonly referenceMs?: number;
  readonly rounds: number;
  /** Before the first round, in milliseconds; 0 is none. */
  readonly warmUpMs: number;
}

const column = (value: string, title: string, digits: number, compared = false) => ({ value, title, digits, compared });
const p50 = column('p50', 'p50 ms', 1);
const p99 = column('p99', 'p99 ms', 1);

/** Open files of a process beside its connections. */
const OWN_FILES = 200;
const MAX_CONNECTIONS = openFiles() - OWN_FILES;

const ALL: readonly ServerName[] = ['bare ws', 'joined ws', 'textbook', 'Kredichat'];
const UNJOINED: readonly ServerName[] = ['bare ws', 'textbook', 'Kredichat'];
const ALONE: readonly ServerName[] = ['Kredichat'];

const WINDOW = 4;
const HISTORY = 300;
const RATES = [100, 200, 400, 700, 1000, 1500, 2000, 2800];
/** Of MongoDB, on which an instance serves less. */
const MONGO_RATES = [20, 50, 100, 200, 300, 400, 500, 700, 1000, 1400];
const INBOX = { kind: 'inbox', users: 1000, history: 60, opensPerSecond: 30, reported: 1000 } as const;
const PER_SECOND = 20;
/** Messages in a conversation of which a page is read. */
const PAGE_HISTORY = 60;

/**
 * Everything that is measured, in this order; `quick` is enough to see that everything works, and to compare roughly.
 */
export function measurements(store: 'sqlite' | 'mongo', quick: boolean): readonly Measurement[] {
  const often = quick ? { rounds: 1, warmUpMs: 500 } : { rounds: 3, warmUpMs: 1000 };
  const once = { rounds: 1, warmUpMs: 0 };
  const ms = quick ? 500 : 2000;

  const sends = (servers: readonly ServerName[], ...goals: readonly Goal[]): Measurement => ({
    ...{ part: 'sends', per: 'send', servers, ...often, ms: quick ? 5000 : 20_000, referenceMs: 5000 },
    load: { kind: 'sends', connections: 50, window: WINDOW, history: HISTORY },
    title:
      `Sends: 50 users, each in a conversation of ${HISTORY} messages ` +
      `that another user follows, ${WINDOW} outstanding`,
    columns: [column('rate', 'sends/s', 0, true), p50, p99, column('lag', 'not indexed', 0)],
    goals: [...goals, { value: 'rate', beside: 'without the record', atLeast: 0.95 }],
  });
  const inbox = (rates: readonly number[], servers: readonly ServerName[], ...goals: readonly Goal[]): Measurement => ({
    ...{ part: 'inbox', per: 'message', load: { ...INBOX, rates }, servers, ...once, ms: quick ? 3000 : 6000, goals },
    title:
      `Inbox: ${INBOX.users} users with list and conversation open, ${INBOX.opensPerSecond} opens/s; ` +
      `messages/s at p99 < 100 ms`,
    columns: [
      ...[column('held', 'messages/s', 0), p50, p99],
      ...[column('openp50', 'open p50', 1), column('openp99', 'open p99', 1)],
      ...[column('rate', 'CPU at', 0), column('rss', 'RSS MB', 0)],
    ],
  });
  const paced = (
    part: string,
    members: number,
    servers: readonly ServerName[],
    ...goals: readonly Goal[]
  ): Measurement => ({
    ...{ part, per: 'message', load: { kind: 'paced', members, perSecond: PER_SECOND }, servers, ...often, goals },
    ms: quick ? 2000 : 6000,
    title: `Delivery: ${PER_SECOND} messages a second to ${members === 1 ? 'one member' : `${members} members`}`,
    columns: [p50, { ...p99, compared: servers.length > 1 }],
  });
  const quiet = (users: number, conversationsEach: number, ...goals: readonly Goal[]): Measurement => ({
    ...{ part: 'quiet', per: 's', servers: ALONE, ...once, ms: quick ? 3000 : 10_000, goals },
    load: { kind: 'quiet', users, conversationsEach, perSecond: PER_SECOND },
    title:
      `Quiet: ${users * conversationsEach} conversations followed by ${users} users; ` +
      `then ${PER_SECOND} messages a second`,
    columns: [
      ...(store === 'mongo' ? [column('queries', 'operations/s', 1)] : []),
      ...[p50, p99, column('rss', 'RSS MB', 0)],
    ],
  });

  if (store === 'mongo') {
    return [
      sends(['textbook', 'without the record', 'Kredichat'], { value: 'rate', beside: 'textbook', atLeast: 4 }),
      inbox(
        MONGO_RATES,
        ['two instances', 'Kredichat'],
        { value: 'held', atLeast: 700 },
        { value: 'cpuUs', atMost: 900 },
        { value: 'mongodUs', atMost: 1500 },
      ),
      paced('delivery', 1, ['two instances', 'Kredichat']),
      quiet(500, 1, { value: 'queries', atMost: 5 }),
    ];
  }

  const fanOut = (members: number, ...goals: readonly Goal[]): Measurement => ({
    ...{ part: 'fanout', per: 'delivery', servers: ALL, ...often, ms, goals },
    load: { kind: 'fanOut', members, window: 8 },
    title: `Fan-out: ${members} members follow a conversation, one sends, 8 outstanding`,
    columns: [column('rate', 'deliveries/s', 0, true)],
  });
  const pages = (what: 'page' | 'open', servers: readonly ServerName[], title: string, goal: Goal): Measurement => ({
    ...{ part: 'reads', per: what, servers, ...often, ms, title, goals: [goal] },
    load: { kind: 'pages', conversations: quick ? 1000 : 1500, size: PAGE_HISTORY, what },
    columns: [column('rate', `${what}s/s`, 0, servers.length > 1), p50, p99],
  });
  const lists = (unread: boolean): Measurement => ({
    ...{ part: 'reads', per: 'list', servers: ALONE, ...often, ms },
    load: { kind: 'lists', conversations: 20, size: 500, unread },
    title: `Chat list: the first 20 conversations, ${unread ? 500 : 'no'} messages unread in each`,
    columns: [column('rate', 'lists/s', 0), p50, p99],
    goals: [{ value: 'mainUs', atMost: 1000 }],
  });
  const long = 10_000;
  const deep = quick ? 10_000 : 100_000;
  // Fewer where so many connections cannot be open.
  const returning = Math.min(quick ? 1000 : 5000, 2 * Math.floor(MAX_CONNECTIONS / 2));
  const idlers = Math.min(quick ? 10 : 50, Math.floor(MAX_CONNECTIONS / 101));
  return [
    sends(['bare ws', 'textbook', 'without the record', 'Kredichat'], {
      value: 'rate',
      beside: 'bare ws',
      atLeast: 0.35,
    }),
    {
      ...{ part: 'sends', per: 'send', servers: ALONE, ...once, ms: quick ? 5000 : 12_000 },
      load: { kind: 'lasting', connections: 10, window: WINDOW, history: HISTORY, long, turns: quick ? 2 : 5 },
      title: `Long conversations: the same with 10 users, with ${HISTORY} and with ${long} messages in each, in turn`,
      columns: [column('short', 'sends/s', 0), column('long', 'sends/s, long', 0), column('ratio', 'long/short', 2)],
      goals: [{ value: 'ratio', atLeast: 0.95 }],
    },
    inbox(
      RATES,
      ALONE,
      { value: 'held', atLeast: 1500 },
      { value: 'cpuUs', atMost: 500 },
      { value: 'rss', atMost: 250 },
    ),
    fanOut(500, { value: 'rate', beside: 'bare ws', atLeast: 4 }),
    fanOut(1000),
    paced('fanout', 100, ALL, { value: 'p99', beside: 'bare ws', atMost: 1.8 }),
    pages('page', UNJOINED, 'Pages: the newest 50 messages, of more conversations than are kept', {
      ...{ value: 'rate', beside: 'textbook', atLeast: 1.5 },
    }),
    pages('open', ALONE, 'Opens: the same with the conversation and its members', { value: 'mainUs', atMost: 300 }),
    {
      ...{ part: 'reads', per: 'page', servers: ALONE, ...often, ms: 2 * ms, load: { kind: 'deep', messages: deep } },
      title: `Deep pages: 50 messages at the end of ${deep}, and in the middle`,
      columns: [column('newest', 'newest/s', 0), column('deep', 'deep/s', 0), column('ratio', 'deep/newest ms', 2)],
      goals: [{ value: 'ratio', atMost: 1.2 }],
    },
    ...[lists(false), lists(true)],
    {
      ...{ part: 'storm', per: 'user', servers: ALONE, ...once, ms: 0 },
      load: { kind: 'storm', users: returning, atOnce: 200, missed: 2 },
      title: `Storm: ${returning} users come back, 200 at a time`,
      columns: [column('seconds', 'seconds', 1), p50, p99],
      goals: [{ value: 'seconds', atMost: returning / 1000 }],
    },
    {
      ...{ part: 'cold', per: 'operation', servers: ALONE, ...once, ms: 0 },
      load: { kind: 'cold', operations: 1000, users: 8 },
      title: 'Cold: the first 1000 operations of a process, of 8 users',
      columns: [p50, p99, column('max', 'max ms', 1)],
    },
    quiet(20, quick ? 200 : 1000),
    {
      ...{ part: 'idle', per: 's', servers: UNJOINED, ...once, ms: quick ? 1000 : 12_000 },
      load: { kind: 'idle', conversations: idlers, members: 100 },
      title: `Idle: ${idlers * 100} connections that follow ${idlers} conversations`,
      columns: [column('kilobytes', 'kB/connection', 1, true)],
      goals: [{ value: 'kilobytes', beside: 'bare ws', atMost: 1.5 }],
    },
  ];
}

/** How many files a process may have open; its connections are among them. */
function openFiles(): number {
  if (process.platform !== 'linux') return Number.POSITIVE_INFINITY;
  const limits = readFileSync('/proc/self/limits', 'utf8');
  // What is not a number is no limit.
  return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
}
