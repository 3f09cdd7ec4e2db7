import type { Load } from './clients.ts';

/** How long and how often things are measured. */
export interface Effort {
  readonly rounds: number;
  /** Before the first round of a measurement, for each server. */
  readonly warmUpMs: number;
  /** Of load, per server and round. */
  readonly measureMs: number;
  /** The same where messages come at a fixed pace: percentiles want more of them. */
  readonly pacedMs: number;
  /** The same where only one subscriber gets them. */
  readonly pacedAloneMs: number;
  /** Messages in the conversation whose history is read. */
  readonly historyMessages: number;
}

/** What `npm run bench` does. */
export const FULL: Effort = {
  ...{ rounds: 3, warmUpMs: 1000, measureMs: 1800, pacedMs: 3000, pacedAloneMs: 15_000 },
  historyMessages: 20_000,
};

/** What `npm run bench -- --quick` does: enough to see that everything works. */
export const QUICK: Effort = {
  ...{ rounds: 1, warmUpMs: 300, measureMs: 500, pacedMs: 1000, pacedAloneMs: 3000 },
  historyMessages: 5000,
};

/** What `--only` can name; which of them there are depends on the store. */
export type Part = 'sends' | 'fanout' | 'history' | 'delivery';

/** A table of the output. */
export interface Measurement {
  readonly part: Part;
  readonly title: string;
  readonly load: Load;
  /** The values of the load's result that are shown. */
  readonly columns: readonly { readonly value: string; readonly title: string; readonly digits: number }[];
  /** Which of the effort's times it takes; `measureMs` unless it says. */
  readonly lasts?: 'measureMs' | 'pacedMs' | 'pacedAloneMs';
}

const SEND_CONNECTIONS = 50;
const SEND_WINDOW = 4;
const FAN_OUT_SUBSCRIBERS = [100, 500];
const FAN_OUT_WINDOW = 8;
const PACED_SUBSCRIBERS = 100;
const PACED_PER_SECOND = 20;
const PAGE_SIZE = 50;
const PAGE_WINDOW = 8;

const p50 = { value: 'p50', title: 'p50 ms', digits: 2 };
const p99 = { value: 'p99', title: 'p99 ms', digits: 2 };

const SENDS: Measurement = {
  part: 'sends',
  title: `Sends: ${SEND_CONNECTIONS} connections, a conversation each, ${SEND_WINDOW} outstanding sends per connection`,
  load: { kind: 'sends', connections: SEND_CONNECTIONS, window: SEND_WINDOW },
  columns: [{ value: 'rate', title: 'acked sends/s', digits: 0 }, p50, p99],
};

/** Everything that is measured, in this order. */
export const MEASUREMENTS: readonly Measurement[] = [
  SENDS,
  ...FAN_OUT_SUBSCRIBERS.map(
    (subscribers): Measurement => ({
      part: 'fanout',
      title: `Fan-out: ${subscribers} subscribers of one conversation, one sender, ${FAN_OUT_WINDOW} outstanding sends`,
      load: { kind: 'fanOut', subscribers, window: FAN_OUT_WINDOW },
      columns: [{ value: 'rate', title: 'deliveries/s', digits: 0 }],
    }),
  ),
  {
    part: 'fanout',
    title: `Delivery latency: ${PACED_SUBSCRIBERS} subscribers of one conversation, ${PACED_PER_SECOND} messages per second`,
    load: { kind: 'paced', subscribers: PACED_SUBSCRIBERS, perSecond: PACED_PER_SECOND },
    columns: [p50, p99],
    lasts: 'pacedMs',
  },
  ...[false, true].map(
    (deep): Measurement => ({
      part: 'history',
      title: `History: ${deep ? `${PAGE_SIZE} messages from the middle` : `the newest ${PAGE_SIZE} messages`}, ${PAGE_WINDOW} requests in flight on one connection`,
      load: { kind: 'history', size: PAGE_SIZE, deep, window: PAGE_WINDOW },
      columns: [{ value: 'rate', title: 'pages/s', digits: 0 }, p50, p99],
    }),
  ),
];

/** The same for `--store mongo`. */
export const MONGO_MEASUREMENTS: readonly Measurement[] = [
  SENDS,
  {
    part: 'delivery',
    title: `Delivery across instances: one subscriber, ${PACED_PER_SECOND} messages per second; two instances: sent to one, received from the other`,
    load: { kind: 'paced', subscribers: 1, perSecond: PACED_PER_SECOND },
    columns: [p50, p99],
    lasts: 'pacedAloneMs',
  },
];
