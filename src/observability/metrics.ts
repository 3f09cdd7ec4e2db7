import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export type Transport = 'graphql-ws' | 'legacy';

/** The metrics of the server. Counters and histograms are recorded; gauges call a function at each scrape. */
export interface Metrics {
  /** Messages of one send that became durable; milliseconds from its check to its acknowledgement. */
  sent(messages: number, milliseconds: number): void;
  /** Messages of one batch that was written. */
  appended(messages: number): void;
  /** An event was handed to a subscriber's socket. */
  delivered(): void;
  /** An operation was answered; milliseconds from its start to its result. */
  answered(operation: 'query' | 'mutation' | 'subscription', milliseconds: number): void;
  connected(transport: Transport): void;
  disconnected(transport: Transport): void;
  /** A log line was dropped. */
  droppedLogLine(): void;
  /** The store fails, or works again; a new process has a store that works. */
  setStoreAvailable(available: boolean): void;
  /** Gauge of subscriptions; `count` is called at each scrape. */
  countSubscriptions(count: () => number): void;
  /** Gauge of messages that are not in the search index yet; `count` is called at each scrape. */
  countSearchLag(count: () => number): void;
  /** Gauges of the record; `state` is called at each scrape. */
  countRecord(state: () => RecordGauges): void;
  /** The Prometheus text exposition format and its content type. */
  scrape(): Promise<{ contentType: string; body: string }>;
}

/** State of the record: see `RegistrarState`. */
interface RecordGauges {
  readonly lagSeconds: number;
  readonly unsigned: number;
  readonly unsignedSeconds: number;
  readonly forked: boolean;
  readonly faulty: number;
}

/** Metrics of the process: their observers cannot be removed, so all servers of a process share them. */
const ofProcess = new Registry();
collectDefaultMetrics({ register: ofProcess });

/** @param exposing makes the function that renders the scraped text of a registry */
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
  const storeAvailable = new Gauge({
    name: 'kredichat_store_available',
    help: 'Processes whose store works; as many as kredichat_workers if there is no outage.',
    registers,
  });
  storeAvailable.set(1);
  const createGauge = (name: string, help: string, count: () => number) => {
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
    setStoreAvailable: (available) => storeAvailable.set(Number(available)),
    countSubscriptions: (count) => createGauge('kredichat_subscriptions', 'Subscriptions now registered.', count),
    countSearchLag: (count) =>
      createGauge('kredichat_search_lag_messages', 'Messages written that are not in the search index yet.', count),
    countRecord(state) {
      const gauges: Readonly<Record<keyof RecordGauges, readonly [name: string, help: string]>> = {
        lagSeconds: ['register_lag_seconds', 'How long changes have been waiting to be registered.'],
        unsigned: ['register_unsigned_leaves', 'Leaves of the register that no checkpoint covers.'],
        unsignedSeconds: ['register_unsigned_seconds', 'How long leaves have been waiting to be signed.'],
        forked: ['record_forked', '1 while signing is refused: the register is not what was published.'],
        faulty: ['record_faulty_conversations', 'Conversations that cannot be registered.'],
      };
      for (const [key, [name, help]] of Object.entries(gauges))
        createGauge(`kredichat_${name}`, help, () => Number(state()[key as keyof RecordGauges]));
    },
    async scrape() {
      return { contentType: registry.contentType, body: await expose() };
    },
  };
}
