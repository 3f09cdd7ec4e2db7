import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { createChat } from './chat/chat.ts';
import type { Config } from './config.ts';
import { createExecutor } from './execution/executor.ts';
import { createSchema } from './graphql/schema.ts';
import type { Instant } from './model.ts';
import { createAudit } from './observability/audit.ts';
import type { Logger } from './observability/logger.ts';
import { createMetrics, type Metrics } from './observability/metrics.ts';
import type { Store } from './store/store.ts';
import { createAuthenticate } from './transport/admission/authenticate.ts';
import { createOriginCheck } from './transport/admission/origin.ts';
import { createQuotas } from './transport/admission/quota.ts';
import { connectedAddress, createRemoteAddresses, networkOf } from './transport/admission/remote-address.ts';
import { createGraphqlWs } from './transport/graphql-ws/graphql-ws.ts';
import { createHttp } from './transport/http/graphql-http.ts';
import { announceClose, answered, closeInSteps, serveWithoutUpgrade } from './transport/http/http-connection.ts';
import { createStaticFiles } from './transport/http/static-files.ts';
import { createShim } from './transport/legacy/shim.ts';
import { createUpgrade, isWebSocketUpgrade, refuse, type Target } from './transport/upgrade.ts';
import { createSockets } from './transport/websocket/sockets.ts';

/** Time limit of the store's ping for `/readyz`, in milliseconds. */
const READY_MS = 4000;

/** How long `close` waits for pending sends, in milliseconds; then they stay unacknowledged. */
const DRAIN_MS = 4000;

/** Time limits for receiving a request, in milliseconds. */
const HTTP_TIMES = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5000 };

/**
 * A connection without traffic for this long during a request is closed, in milliseconds: also if the client does not
 * read the answer. Between requests `keepAliveMs` applies.
 */
const SILENT_MS = 30_000;

const ALL_METHODS = 'GET, HEAD, POST, OPTIONS';

/** Allowed methods of each endpoint; other paths allow GET and HEAD. */
const METHODS: ReadonlyMap<string, string> = new Map([
  ['/graphql', ALL_METHODS],
  ...['/healthz', '/readyz', '/metrics'].map((path) => [path, 'GET, HEAD'] as const),
]);

/** Headers of every answer; a page that loads resources sets its own policy. */
const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

export interface ServerOptions {
  readonly config: Config;
  readonly store: Store;
  readonly logger: Logger;
  readonly metrics?: Metrics;
  /** Wall clock, milliseconds since 1970. */
  readonly clock?: () => Instant;
}

export interface Server {
  /** Begins to accept connections; resolves to the base URL, `http://HOST:PORT`. */
  listen(): Promise<string>;
  /** Live subscriptions. */
  subscriptions(): number;
  /** Drains: finishes pending sends, closes every socket with 1001. The store stays open. Idempotent. */
  close(): Promise<void>;
}

/** Serves HTTP, graphql-ws and the legacy shim on one port. */
export function createServer(options: ServerOptions): Server {
  const { config, store, logger, metrics = createMetrics(), clock = Date.now } = options;
  const { limits } = config;
  const onError = (error: unknown) => logger.error({ err: error }, 'background work failed');
  const { messagesPerMinute, messageBurst } = limits;
  const chat = createChat({ store, clock, messagesPerMinute, messageBurst, metrics, onError });
  metrics.countSubscriptions(chat.followers);
  metrics.countSearchLag(store.searchLag);
  const executor = createExecutor({
    schema: createSchema(),
    limits,
    introspection: config.introspection,
    logger,
    metrics,
  });
  const sockets = createSockets(limits, metrics);
  const audit = createAudit(logger);
  const remoteAddresses = createRemoteAddresses(config);
  const isAllowedOrigin = createOriginCheck(config);
  const authenticate = createAuthenticate(config.auth, limits.authenticationMs);
  const quotas = createQuotas(limits);
  const shared = { executor, chat, authenticate, quotas, limits, audit, logger, metrics };
  const graphqlHttp = createHttp({ ...shared, graphiql: config.introspection });
  const openGraphqlWs = createGraphqlWs(shared);
  const openShim = createShim({ ...shared, pageSize: config.legacyPageSize, idleMs: config.legacyIdleMs });
  const serveStaticFile = createStaticFiles(config.auth.mode);
  const upgrade = createUpgrade({
    config,
    remoteAddresses,
    isAllowedOrigin,
    authenticate,
    quotas,
    sockets,
    audit,
    openGraphqlWs,
    openShim,
  });

  let draining = false;
  let closed: Promise<void> | null = null;

  /** The newest request of each connection. */
  const newest = new WeakMap<Socket, ServerResponse>();

  const http = createHttpServer({ ...HTTP_TIMES, keepAliveTimeout: config.keepAliveMs }, (request, response) => {
    const before = newest.get(request.socket);
    newest.set(request.socket, response);
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
    announceClose(request, response, limits.frameBytes, () => draining);
    answerAfter(before, request, response).catch((error: unknown) => {
      onError(error);
      if (!response.headersSent) end(response, 500, 'Internal server error\n');
      else response.destroy();
    });
  });
  http.setTimeout(SILENT_MS);
  // No limit on their number (bytes are limited): Node would drop further headers, maybe the length of the body.
  http.maxHeadersCount = 0;
  const known = new WeakSet<Socket>();
  http.on('connection', (socket) => {
    // serveWithoutUpgrade emits 'connection' again.
    if (known.has(socket)) return;
    known.add(socket);
    closeInSteps(socket);
    const address = connectedAddress(socket);
    if (remoteAddresses.isShared(address)) return;
    const network = networkOf(address);
    if (!quotas.addresses.take(network)) return socket.destroy();
    socket.once('close', () => quotas.addresses.give(network));
  });
  // Refuse a body that is too large before the client sends it.
  http.on('checkContinue', (request, response) => {
    if (Number(request.headers['content-length'] ?? 0) <= limits.frameBytes) response.writeContinue();
    http.emit('request', request, response);
  });
  // CONNECT is not supported: the server is no proxy.
  http.on('connect', async ({ socket }) => {
    socket.on('error', () => socket.destroy());
    await answered(newest.get(socket));
    refuse(socket, 501);
  });
  http.on('upgrade', async (request, _, head) => {
    const { socket } = request;
    const fail = () => socket.destroy();
    socket.on('error', fail);
    const target = locate(request, config.basePath);
    if (!isWebSocketUpgrade(request, target)) {
      return void serveWithoutUpgrade(http, request, head, newest.get(socket)).then(() => socket.off('error', fail));
    }
    await answered(newest.get(socket));
    if (!socket.writable) return;
    if (draining) return refuse(socket, 503);
    if (!hasValidHost(request)) return refuse(socket, 400);
    upgrade(request, socket, head, target).catch((error: unknown) => {
      onError(error);
      socket.destroy();
    });
  });

  /** Answers pipelined requests one by one: for a client that does not read, at most one answer is held in memory. */
  async function answerAfter(
    before: ServerResponse | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (before && !before.closed) await new Promise((resolve) => before.once('close', resolve));
    if (!request.socket.destroyed) await answer(request, response);
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, search } = locate(request, config.basePath);
    if (!hasValidHost(request)) return end(response, 400, 'Host is malformed\n');
    if (pathname === '*' && request.method === 'OPTIONS') {
      return void response.writeHead(204, { allow: ALL_METHODS }).end();
    }
    const allow = METHODS.get(pathname);
    if (allow && !allow.split(', ').includes(request.method ?? '')) return refuseMethod(response, allow);
    if (pathname === '/healthz') return end(response, 200, 'ok\n');
    if (pathname === '/readyz') return end(response, ...(await readiness()));
    const address = remoteAddresses.addressOf(request);
    if (!isAllowedOrigin(request)) {
      const reason = `origin ${request.headers.origin?.slice(0, 200)}`;
      audit({ user: null, address, transport: 'http' }, { action: 'connect', outcome: 'FORBIDDEN', reason });
      response.setHeader('vary', 'Origin');
      return end(response, 403, 'Origin not allowed\n');
    }
    if (pathname === '/graphql') return void (await graphqlHttp(request, response, search, address));
    if (pathname === '/metrics') {
      const { contentType, body } = await metrics.scrape();
      return end(response, 200, body, contentType);
    }
    if (serveStaticFile(request, response, pathname)) return;
    if (pathname !== '' && pathname === config.basePath) {
      // The page's URLs are relative, and so is this redirect: a proxy may add a prefix.
      response.setHeader('location', `${pathname.slice(pathname.lastIndexOf('/') + 1)}/${search && `?${search}`}`);
      return end(response, 307, 'The page is at the same path with a slash at its end\n');
    }
    end(response, 404, 'Not found\n');
  }

  async function readiness(): Promise<[number, string]> {
    if (draining) return [503, 'draining\n'];
    try {
      await Promise.race([chat.ping(), late(READY_MS)]);
      return [200, 'ready\n'];
    } catch {
      return [503, 'the store takes no writes: the log names the cause\n'];
    }
  }

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
        const down = new Promise((resolve) => http.close(resolve));
        const sent = sockets.stop().then(executor.settled);
        await Promise.race([sent, setTimeout(DRAIN_MS, undefined, { ref: false })]);
        // Let the answers to those sends leave before the sockets close.
        await setImmediate();
        await sockets.close();
        http.closeIdleConnections();
        await Promise.race([down, setTimeout(2000, undefined, { ref: false })]);
        http.closeAllConnections();
        await down;
        chat.close();
      })();
      return closed;
    },
  };
}

/** Rejects after a time limit, in milliseconds; the timer does not keep the process alive. */
async function late(milliseconds: number): Promise<never> {
  await setTimeout(milliseconds, undefined, { ref: false });
  throw new Error(`no answer within ${milliseconds} ms`);
}

/**
 * Splits the request target (RFC 9112, sections 3.2.1 and 3.2.2) without decoding it, and strips the base path.
 */
function locate({ url = '' }: IncomingMessage, basePath: string): Target {
  const [path = '', search = ''] = url.replace(/^https?:\/\/[^/?]*/i, '').split(/\?(.*)/s);
  return { pathname: path.startsWith(`${basePath}/`) ? path.slice(basePath.length) : path || '/', search };
}

/** True if there is at most one `Host`, and it is well-formed (RFC 9112, section 3.2). */
function hasValidHost({ headersDistinct: { host = ['none'] } }: IncomingMessage): boolean {
  return host.length === 1 && /^[^/\\?#@]+$/.test(`${host[0]}`) && URL.canParse(`http://${host[0]}`);
}

function refuseMethod(response: ServerResponse, allow: string): void {
  response.setHeader('allow', allow);
  end(response, 405, 'Method not allowed\n');
}

function end(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
}
