import { readFileSync } from 'node:fs';
import type { Load } from './clients.ts';

/** How long and how often things are measured; times are per server and round, in milliseconds. */
export interface Effort {
  readonly rounds: number;
  /** Before the first round of a measurement; 0 is none. */
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** The same where messages come at a fixed pace: percentiles want more of them. */
  readonly pacedMs: number;
  /** The same where only one subscriber gets them. */
  readonly pacedAloneMs: number;
  /** The same where nothing is done: as long as it is from one heartbeat to the next. */
  readonly idleMs: number;
  /** Messages in the conversation whose history is read. */
  readonly historyMessages: number;
}

/** What `npm run bench` does. */
export const FULL: Effort = {
  ...{ rounds: 3, warmUpMs: 1000, measureMs: 1800, pacedMs: 6000, pacedAloneMs: 15_000, idleMs: 12_000 },
  historyMessages: 200_000,
};

/** What `npm run bench -- --quick` does: enough to see that everything works. */
export const QUICK: Effort = {
  ...{ rounds: 1, warmUpMs: 0, measureMs: 500, pacedMs: 1000, pacedAloneMs: 3000, idleMs: 1000 },
  historyMessages: 20_000,
};

/** What `--only` can name; which of them there are depends on the store. */
export type Part = 'sends' | 'fanout' | 'history' | 'idle' | 'delivery';

/** What Kredichat is to be like. A goal that is missed is only reported. */
interface Goal {
  /** A value of the load's result. */
  readonly value: string;
  /** The server that the value is divided by; null where it is a ratio itself. */
  readonly beside: string | null;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** A column of a table. */
interface Column {
  /** The value of the load's result that it shows. */
  readonly value: string;
  readonly title: string;
  readonly digits: number;
}

/** A table of the output. */
export interface Measurement {
  readonly part: Part;
  readonly title: string;
  readonly load: Load;
  readonly columns: readonly Column[];
  readonly goals?: readonly Goal[];
  /** Which of the effort's times it takes; `measureMs` unless it says. */
  readonly lasts?: 'measureMs' | 'pacedMs' | 'pacedAloneMs' | 'idleMs';
  /** True for what a server does differently the second time: it has one round and no warm-up. */
  readonly once?: boolean;
}

const SEND_CONNECTIONS = 50;
const SEND_WINDOW = 4;
const FAN_OUT_SUBSCRIBERS = [100, 500, 1000];
const FAN_OUT_WINDOW = 8;
const PACED_SUBSCRIBERS = [100, 500];
const PACED_PER_SECOND = 20;
const PAGE_SIZE = 50;
const PAGE_WINDOW = 8;
const IDLE_SUBSCRIBERS = 100;
const IDLE_CONVERSATIONS = 50;
/** As many of them as the limit of open files allows; a process needs some files for itself. */
const idleConversations = Math.min(IDLE_CONVERSATIONS, Math.floor((openFiles() - 200) / IDLE_SUBSCRIBERS));

/** The subscribers whose fan-out has goals. */
const GOAL_SUBSCRIBERS = 500;

const p50: Column = { value: 'p50', title: 'p50 ms', digits: 2 };
const p99: Column = { value: 'p99', title: 'p99 ms', digits: 2 };

function sends(...goals: readonly Goal[]): Measurement {
  return {
    part: 'sends',
    title: `Sends: ${SEND_CONNECTIONS} connections, a conversation each, ${SEND_WINDOW} outstanding sends per connection`,
    load: { kind: 'sends', connections: SEND_CONNECTIONS, window: SEND_WINDOW },
    columns: [{ value: 'rate', title: 'acked sends/s', digits: 0 }, p50, p99],
    goals,
  };
}

function fanOut(subscribers: number): Measurement {
  return {
    part: 'fanout',
    title: `Fan-out: ${subscribers} subscribers of one conversation, one sender, ${FAN_OUT_WINDOW} outstanding sends`,
    load: { kind: 'fanOut', subscribers, window: FAN_OUT_WINDOW },
    columns: [{ value: 'rate', title: 'deliveries/s', digits: 0 }],
    goals:
      subscribers === GOAL_SUBSCRIBERS
        ? [
            { value: 'rate', beside: 'bare ws', atLeast: 3 },
            { value: 'rate', beside: 'joined ws', atLeast: 0.5 },
            { value: 'rate', beside: 'textbook GraphQL', atLeast: 10 },
          ]
        : [],
  };
}

function paced(subscribers: number): Measurement {
  return {
    part: 'fanout',
    title: `Delivery latency: ${subscribers} subscribers of one conversation, ${PACED_PER_SECOND} messages per second`,
    load: { kind: 'paced', subscribers, perSecond: PACED_PER_SECOND },
    columns: [p50, p99],
    goals: [{ value: 'p99', beside: 'bare ws', atMost: 1.5 }],
    lasts: 'pacedMs',
  };
}

/** Everything that is measured, in this order. */
export const MEASUREMENTS: readonly Measurement[] = [
  sends({ value: 'rate', beside: 'bare ws', atLeast: 0.5 }),
  ...FAN_OUT_SUBSCRIBERS.map(fanOut),
  ...PACED_SUBSCRIBERS.map(paced),
  {
    part: 'history',
    title: `History: the newest ${PAGE_SIZE} messages, and ${PAGE_SIZE} from the middle; ${PAGE_WINDOW} requests in flight on one connection`,
    load: { kind: 'history', size: PAGE_SIZE, window: PAGE_WINDOW },
    columns: [
      { value: 'newest', title: 'newest pages/s', digits: 0 },
      { value: 'deep', title: 'deep pages/s', digits: 0 },
      { value: 'deepToNewest', title: 'deep/newest ms', digits: 2 },
    ],
    goals: [
      { value: 'deepToNewest', beside: null, atMost: 1.2 },
      { value: 'newest', beside: 'textbook GraphQL', atLeast: 3 },
    ],
  },
  {
    part: 'idle',
    title: `Idle: ${idleConversations * IDLE_SUBSCRIBERS} connections, subscribed to ${idleConversations} conversations${idleConversations < IDLE_CONVERSATIONS ? ': the limit of open files allows no more' : ''}; CPU is of heartbeats`,
    load: { kind: 'idle', conversations: idleConversations, subscribers: IDLE_SUBSCRIBERS },
    columns: [{ value: 'kilobytes', title: 'kB/connection', digits: 1 }],
    goals: [{ value: 'kilobytes', beside: 'bare ws', atMost: 1.6 }],
    lasts: 'idleMs',
    once: true,
  },
];

/** The same for `--store mongo`. */
export const MONGO_MEASUREMENTS: readonly Measurement[] = [
  sends({ value: 'rate', beside: 'textbook GraphQL', atLeast: 5 }),
  {
    part: 'delivery',
    title: `Delivery across instances: one subscriber, ${PACED_PER_SECOND} messages per second; two instances: sent to one, received from the other`,
    load: { kind: 'paced', subscribers: 1, perSecond: PACED_PER_SECOND },
    columns: [p50, p99],
    lasts: 'pacedAloneMs',
  },
];

/** How many files a process may have open; its connections are among them. */
function openFiles(): number {
  if (process.platform !== 'linux') return Number.POSITIVE_INFINITY;
  const limits = readFileSync('/proc/self/limits', 'utf8');
  // What is not a number is no limit.
  return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
}
