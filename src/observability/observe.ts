import { once } from 'node:events';
import { constants, fstatSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type DestinationStream, type Logger, pino } from 'pino';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import sonicBoom from 'sonic-boom';

export type { Logger } from 'pino';

/** Bytes of lines that wait for stdout; lines beyond them are dropped. */
const BUFFERED_BYTES = 8_388_608;
/** From a failed write to the next attempt, in milliseconds. */
const REWRITE_MS = 1000;
/** How long a stop waits for lines that are not written yet, in milliseconds. */
const FLUSH_MS = 500;

/**
 * Structured log lines, one JSON object each, so that no input can begin a line of its own. They never hold
 * message text, credentials or query strings: of an error, only what is listed here.
 */
export function createLogger(level: string, output: DestinationStream): Logger {
  return pino({ level, serializers: { err: describeError } }, output);
}

export interface Output extends DestinationStream {
  /** Writes what waits, for a short time at most. Later lines are discarded. */
  close(): Promise<void>;
}

/**
 * The standard output as a destination that neither blocks nor fails: lines wait in a bounded buffer while it takes
 * none (full disk, reader that does not read), and go on when it does. `dropped` is called for each line beyond it.
 */
export function openOutput(dropped: () => void): Output {
  // With a minimum length of 0 its flush() would do nothing.
  const stdout = new sonicBoom.SonicBoom({ fd: openStdout(), sync: false, maxLength: BUFFERED_BYTES, minLength: 1 });
  let closed = false;
  let retrying = false;
  stdout.on('error', async () => {
    if (retrying) return;
    retrying = true;
    await delay(REWRITE_MS, undefined, { ref: false });
    retrying = false;
    if (!closed) stdout.flush();
  });
  stdout.on('drop', dropped);
  return {
    write(line) {
      if (!closed) stdout.write(line);
    },
    async close() {
      if (closed) return;
      closed = true;
      const written = once(stdout, 'close').catch(() => {});
      stdout.end();
      await Promise.race([written, delay(FLUSH_MS, undefined, { ref: false })]);
    },
  };
}

/** A descriptor of the standard output on which no write waits: a waiting one would hold up the end of the process. */
function openStdout(): number {
  if (fstatSync(1).isFile()) return 1;
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    // Pipes and terminals are opened anew: the mode of descriptor 1 is shared with other processes.
    return openSync('/dev/stdout', O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    // A socket cannot be opened. Node.js makes it non-blocking for its own stream.
    process.stdout.on('error', () => {});
    return 1;
  }
}

function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack, cause } = error;
  const code = 'code' in error ? { code: error.code } : {};
  return { name, message, ...code, stack, ...(cause !== undefined && { cause: describeError(cause) }) };
}

/** What was decided about somebody who wants something. */
export interface Decision {
  /** The operation, or the step of letting somebody in. */
  readonly what: string;
  /** The conversation it is about; absent where there is none, or what was named is none. */
  readonly on?: string | undefined;
  /** `allowed`, or the code of the refusal. */
  readonly outcome: string;
  /** Why not, where the code does not say it. */
  readonly why?: string;
}

/** Where a decision was asked for, and by whom. */
export interface Asker {
  /** The address as it is known; null before anybody has shown a credential. */
  readonly who: string | null;
  /** The client's network address. */
  readonly from: string;
  readonly over: Transport | 'http';
}

/** Writes one line a decision: to `info` what was allowed, to `warn` what was not. */
export type Audit = (asker: Asker, decision: Decision) => void;

export function createAudit(logger: Logger): Audit {
  return ({ who, from, over }, { what, on, outcome, why }) => {
    const line = { audit: what, who, from, over, on, outcome, why };
    if (outcome === 'allowed') logger.info(line);
    else logger.warn(line);
  };
}

export type Transport = 'graphql-ws' | 'legacy';

/** What the server counts. Counters and histograms are told; gauges ask. */
export interface Metrics {
  /** A send of this many messages became durable; milliseconds from its check to its acknowledgement. */
  sent(messages: number, milliseconds: number): void;
  /** A batch of this many messages was written as one. */
  appended(messages: number): void;
  /** An event was handed to a subscriber's socket. */
  delivered(): void;
  /** An operation was answered; milliseconds from its parse to its result. */
  answered(operation: 'query' | 'mutation' | 'subscription' | 'invalid', milliseconds: number): void;
  connected(transport: Transport): void;
  disconnected(transport: Transport): void;
  /** A line of the log was not written. */
  droppedLogLine(): void;
  /** `count` is asked at each scrape. */
  countSubscriptions(count: () => number): void;
  /** The same, for messages that are not in the search index yet. */
  countSearchLag(count: () => number): void;
  /** The Prometheus text exposition format and its content type. */
  scrape(): Promise<{ contentType: string; body: string }>;
}

/** Figures of the process: their observers are never given back, so all servers of a process share them. */
const ofProcess = new Registry();
collectDefaultMetrics({ register: ofProcess });

/** `exposing` makes what gives the text that is scraped. */
export function createMetrics(exposing = (registry: Registry) => () => registry.metrics()): Metrics {
  const registry = Registry.merge([ofProcess]);
  const expose = exposing(registry);
  const registers = [registry];
  new Gauge({ name: 'kredichat_workers', help: 'Processes that these numbers are of.', registers }).set(1);
  const seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
  const sends = new Counter({ name: 'kredichat_messages_sent_total', help: 'Messages stored.', registers });
  const sendSeconds = new Histogram({
    name: 'kredichat_send_duration_seconds',
    help: 'From a send to its durable acknowledgement.',
    buckets: seconds,
    registers,
  });
  const batches = new Histogram({
    name: 'kredichat_append_batch_messages',
    help: 'Messages written as one batch.',
    registers,
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
  });
  const deliveries = new Counter({
    name: 'kredichat_deliveries_total',
    help: 'Events handed to subscribers.',
    registers,
  });
  const operations = new Histogram({
    name: 'kredichat_operation_duration_seconds',
    help: 'From an operation to its result.',
    buckets: seconds,
    registers,
    labelNames: ['operation'],
  });
  const connections = new Gauge({
    name: 'kredichat_connections',
    help: 'Open WebSockets.',
    labelNames: ['transport'],
    registers,
  });
  const droppedLines = new Counter({
    name: 'kredichat_log_lines_dropped_total',
    help: 'Log lines dropped because the standard output takes none.',
    registers,
  });
  const ask = (name: string, help: string, count: () => number) => {
    new Gauge({
      ...{ name, help, registers },
      collect() {
        this.set(count());
      },
    });
  };
  return {
    sent(messages, milliseconds) {
      sends.inc(messages);
      sendSeconds.observe(milliseconds / 1000);
    },
    appended: (messages) => batches.observe(messages),
    delivered: () => deliveries.inc(),
    answered: (operation, milliseconds) => operations.observe({ operation }, milliseconds / 1000),
    connected: (transport) => connections.inc({ transport }),
    disconnected: (transport) => connections.dec({ transport }),
    droppedLogLine: () => droppedLines.inc(),
    countSubscriptions: (count) => ask('kredichat_subscriptions', 'Subscriptions now registered.', count),
    countSearchLag: (count) =>
      ask('kredichat_search_lag_messages', 'Messages written that are not in the search index yet.', count),
    async scrape() {
      return { contentType: registry.contentType, body: await expose() };
    },
  };
}
