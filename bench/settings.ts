import type { Load } from './clients.ts';
import type { ServerName } from './servers.ts';

/** What Kredichat is to be like. A goal that is missed is only reported. */
interface Goal {
  /** A value of the load's result. */
  readonly value: string;
  /** The server that the value is divided by; absent where the value itself is to be so. */
  readonly beside?: ServerName;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** A column of a table. */
interface Column {
  /** The value of the load's result that it shows. */
  readonly value: string;
  readonly title: string;
  readonly digits: number;
  /** Whether the ratio of the last server's to each other's stands beside it. */
  readonly compared: boolean;
}

/** A table of the output. */
export interface Measurement {
  /** What `--only` can name; one part has the same servers. */
  readonly part: string;
  readonly title: string;
  readonly load: Load;
  /** What the CPU times are for one of. */
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

const SENDS = { kind: 'sends', connections: 50, window: 4, history: 300 } as const;
const LASTING = { kind: 'lasting', connections: 10, window: 4, history: 300, long: 10_000 } as const;
const RATES = [100, 200, 400, 700, 1000, 1400, 2000, 2800];
/** Of MongoDB, on which an instance serves less. */
const MONGO_RATES = [20, 50, 100, 200, 300, 400, 500, 700, 1000, 1400];
const INBOX = { kind: 'inbox', users: 1000, history: 60, opensPerSecond: 30, rates: RATES, reported: 1000 } as const;

/** Everything that is measured, in this order; `quick` is enough to see that everything works, and to compare roughly. */
export function measurements(store: 'sqlite' | 'mongo', quick: boolean): readonly Measurement[] {
  const often = quick ? { rounds: 1, warmUpMs: 500 } : { rounds: 3, warmUpMs: 1000 };
  const once = { rounds: 1, warmUpMs: 0 };

  const sends = (servers: readonly ServerName[], goal: Goal): Measurement => ({
    ...{ part: 'sends', per: 'send', load: SENDS, servers, ...often, ms: quick ? 5000 : 20_000, referenceMs: 5000 },
    title: `Sends: ${SENDS.connections} users, each with a conversation of ${SENDS.history} messages that one other follows, ${SENDS.window} outstanding`,
    columns: [column('rate', 'sends/s', 0, true), p50, p99, column('lag', 'not indexed', 0)],
    goals: [goal],
  });
  const inbox = (rates: readonly number[], servers: readonly ServerName[], goals: readonly Goal[]): Measurement => ({
    ...{ part: 'inbox', per: 'message', load: { ...INBOX, rates }, servers, ...once, ms: quick ? 3000 : 6000 },
    title: `Inbox: ${INBOX.users} users with list and conversation open, ${INBOX.opensPerSecond} opens/s; messages/s at p99 < 100 ms`,
    columns: [
      ...[
        column('held', 'messages/s', 0),
        p50,
        p99,
        column('openp50', 'open p50', 1),
        column('openp99', 'open p99', 1),
      ],
      ...[column('rate', 'CPU at', 0), column('rss', 'RSS MB', 0)],
    ],
    goals,
  });

  if (store === 'mongo') {
    return [
      sends(['textbook', 'Kredichat'], { value: 'rate', beside: 'textbook', atLeast: 4 }),
      inbox(MONGO_RATES, ['two instances', 'Kredichat'], [{ value: 'held', atLeast: 700 }]),
    ];
  }
  return [
    sends(['bare ws', 'textbook', 'Kredichat'], { value: 'rate', beside: 'bare ws', atLeast: 0.35 }),
    {
      ...{ part: 'sends', per: 'send', servers: ['Kredichat'], ...once, ms: quick ? 5000 : 12_000 },
      load: { ...LASTING, turns: quick ? 2 : 5 },
      title: `Long conversations: the same with ${LASTING.connections} users, and with ${LASTING.long} messages in each`,
      columns: [column('short', 'sends/s', 0), column('long', 'sends/s, long', 0), column('ratio', 'long/short', 2)],
      goals: [{ value: 'ratio', atLeast: 0.95 }],
    },
    inbox(
      RATES,
      ['Kredichat'],
      [
        { value: 'held', atLeast: 1500 },
        { value: 'cpuUs', atMost: 500 },
        { value: 'rss', atMost: 250 },
      ],
    ),
  ];
}
