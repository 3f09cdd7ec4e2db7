import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { createChat } from './chat/chat.ts';
import type { Config } from './config.ts';
import { createExecutor } from './execution/executor.ts';
import { createSchema } from './graphql/schema.ts';
import type { Instant } from './model.ts';
import { createAudit } from './observability/audit.ts';
import type { Logger } from './observability/logger.ts';
import { createMetrics, type Metrics } from './observability/metrics.ts';
import { traceCalls } from './observability/tracing.ts';
import { ephemeralKeys, type RecordKeys } from './record/keys.ts';
import { createPublisher } from './record/publisher.ts';
import { createRegistrar } from './record/registrar.ts';
import type { Store } from './store/store.ts';
import { createAuthenticate } from './transport/admission/authenticate.ts';
import { createOriginCheck } from './transport/admission/origin.ts';
import { createQuotas } from './transport/admission/quota.ts';
import { createRemoteAddresses } from './transport/admission/remote-address.ts';
import { createGraphqlWs } from './transport/graphql-ws/graphql-ws.ts';
import { createHttp } from './transport/http/graphql-http.ts';
import { createHttpServer } from './transport/http/http-server.ts';
import { createRouter } from './transport/http/router.ts';
import { createShim } from './transport/legacy/shim.ts';
import { createUpgrade } from './transport/upgrade.ts';
import { createSockets } from './transport/websocket/sockets.ts';

/**
 * How long `close` waits for pending sends after the last turn, in milliseconds; then they stay unacknowledged. Sockets
 * have 2 s more to answer their close, then come `REQUEST_MS` and the store (up to 3 s): less than a stop may take.
 */
const DRAIN_MS = 2500;
/** How long `close` then waits for HTTP requests that are not complete, in milliseconds. */
const REQUEST_MS = 1000;

export interface ServerOptions {
  readonly config: Config;
  readonly store: Store;
  readonly logger: Logger;
  readonly metrics?: Metrics;
  /** Keys of the record; default: new ones, for a store in memory. */
  readonly keys?: RecordKeys;
  /** Wall clock, milliseconds since 1970. */
  readonly clock?: () => Instant;
}

export interface Server {
  /** Begins to accept connections; resolves to the base URL, `http://HOST:PORT`. */
  listen(): Promise<string>;
  /** Live subscriptions. */
  subscriptions(): number;
  /**
   * Drains: is not ready, and serves for `drainDelayMs`; then answers pending operations, and closes every socket with
   * 1001, over `drainSpreadMs`. The store stays open. Idempotent.
   */
  close(): Promise<void>;
}

/** Serves HTTP, graphql-ws and the legacy shim on one port. */
export function createServer(options: ServerOptions): Server {
  const { config, logger, metrics = createMetrics(), clock = Date.now } = options;
  const { keys = ephemeralKeys(config.record.origin) } = options;
  const { limits, introspection } = config;
  const { messagesPerMinute, messageBurst } = limits;
  const onError = (error: unknown) => logger.error({ err: error }, 'background work failed');
  const store = traceCalls('store', options.store, ['watch', 'close', 'searchLag', 'ping']);
  let draining = false;
  let closing = false;
  let closed: Promise<void> | null = null;

  const chat = createChat({ store, clock, keys, messagesPerMinute, messageBurst, metrics, onError });
  const registrar = createRegistrar({
    ...{ store, keys, clock, onError },
    publisher: config.record.publish === null ? null : createPublisher(config.record.publish),
    onFork: ({ message }) =>
      logger.error(`the record is not signed: ${message}; see \`kredichat record fork\` in docs/RECORD.md`),
  });
  metrics.countRecord(registrar.state);
  metrics.countSubscriptions(chat.followers);
  metrics.countSearchLag(store.searchLag);
  const executor = createExecutor({ schema: createSchema(), limits, introspection, logger, metrics });
  const sockets = createSockets(limits, metrics);
  const shared = {
    ...{ config, limits, chat, executor, sockets, logger, metrics, onError },
    audit: createAudit(logger),
    remoteAddresses: createRemoteAddresses(config),
    isAllowedOrigin: createOriginCheck(config),
    authenticate: createAuthenticate(config.auth, limits.authenticationMs),
    quotas: createQuotas(limits),
    draining: () => draining,
    closing: () => closing,
  };
  const graphqlHttp = createHttp({ ...shared, graphiql: introspection });
  const openGraphqlWs = createGraphqlWs(shared);
  const openShim = createShim({ ...shared, pageSize: config.legacyPageSize, idleMs: config.legacyIdleMs });
  const upgrade = createUpgrade({ ...shared, openGraphqlWs, openShim });
  const http = createHttpServer({ ...shared, upgrade, route: createRouter({ ...shared, graphqlHttp }) });

  return {
    async listen() {
      await new Promise<void>((resolve, reject) => {
        http.once('error', reject);
        http.listen(config.port, config.host, resolve);
      });
      const { port } = http.address() as AddressInfo;
      const host = config.host.includes(':') ? `[${config.host}]` : config.host;
      return `http://${host}:${port}`;
    },
    subscriptions: chat.followers,
    close() {
      draining = true;
      closed ??= (async () => {
        if (config.drainDelayMs > 0) await setTimeout(config.drainDelayMs);
        closing = true;
        const late = setTimeout(config.drainSpreadMs + DRAIN_MS, undefined, { ref: false });
        const down = new Promise((resolve) => http.close(resolve));
        await sockets.close(config.drainSpreadMs, late);
        await Promise.race([executor.settled(), late]);
        http.closeIdleConnections();
        await Promise.race([down, setTimeout(REQUEST_MS, undefined, { ref: false })]);
        http.closeAllConnections();
        await down;
        chat.close();
        await registrar.close();
      })();
      return closed;
    },
  };
}
