import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { handleProtocols } from 'graphql-ws';
import { WebSocketServer } from 'ws';
import { createChat } from './chat/chat.ts';
import type { Config } from './config.ts';
import type { Instant } from './model.ts';
import { createMetrics, type Logger } from './observe.ts';
import { createSchema } from './operations/schema.ts';
import type { Store } from './store/store.ts';
import { createGate } from './transport/gate.ts';
import { createGraphqlWs } from './transport/graphql-ws.ts';
import { createShim, readParams } from './transport/legacy/shim.ts';
import { originAllowed } from './transport/origin.ts';
import { createPages } from './transport/pages.ts';
import { createSockets } from './transport/sockets.ts';
import { createHttp } from './transport/yoga.ts';

/** How long the store may take to show that it is ready, in milliseconds. */
const READY_MS = 4000;

/** How long sends under way may take at a stop, in milliseconds; then they are left unacknowledged. */
const DRAIN_MS = 4000;

export interface ServerOptions {
  readonly config: Config;
  readonly store: Store;
  readonly logger: Logger;
  /** Wall clock, milliseconds since 1970. */
  readonly clock?: () => Instant;
}

export interface Server {
  /** Begins to accept connections; resolves to the base URL, `http://HOST:PORT`. */
  listen(): Promise<string>;
  /** Live subscriptions. */
  subscriptions(): number;
  /** Drains: finishes the sends under way, closes every socket with 1001. The store is left open. Idempotent. */
  close(): Promise<void>;
}

/** Puts HTTP, graphql-ws and the legacy shim on one port. */
export function createServer({ config, store, logger, clock = Date.now }: ServerOptions): Server {
  const { limits } = config;
  const metrics = createMetrics();
  const onError = (error: unknown) => logger.error({ err: error }, 'background work failed');
  const { messagesPerMinute, messageBurst } = limits;
  const chat = createChat({ store, clock, messagesPerMinute, messageBurst, metrics, onError });
  metrics.countSubscriptions(chat.followers);
  const gate = createGate({ schema: createSchema(), limits, introspection: config.introspection, logger, metrics });
  const sockets = createSockets(limits, metrics);
  const graphqlHttp = createHttp({ gate, chat, limits, graphiql: config.introspection });
  const openGraphqlWs = createGraphqlWs({ gate, chat, limits, logger, metrics });
  const openShim = createShim({ gate, chat, pageSize: config.legacyPageSize, idleMs: config.legacyIdleMs, metrics });

  const servePage = createPages('dev');

  const webSockets = { noServer: true, maxPayload: limits.frameBytes, perMessageDeflate: false };
  const graphqlWss = new WebSocketServer({ ...webSockets, handleProtocols: (protocols) => handleProtocols(protocols) });
  // The shim answers invalid UTF-8 with an error frame, so it looks for it itself.
  const shimWss = new WebSocketServer({ ...webSockets, skipUTF8Validation: true });

  let draining = false;
  let closed: Promise<void> | null = null;

  const http = createHttpServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      onError(error);
      if (!response.headersSent) end(response, 500, 'Internal server error\n');
      else response.destroy();
    });
  });
  http.on('upgrade', upgrade);

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = locate(request);
    if (!URL.canParse(`http://${request.headers.host ?? 'none'}`)) return end(response, 400, 'Host is malformed\n');
    if (pathname === '/healthz') return end(response, 200, 'ok\n');
    if (pathname === '/readyz') return end(response, ...(await readiness()));
    if (!originAllowed(request.headers.origin, request.headers.host, config.allowedOrigins)) {
      return end(response, 403, 'Origin not allowed\n');
    }
    if (pathname === '/graphql') return void (await graphqlHttp(request, response));
    if (pathname === '/metrics') {
      const { contentType, body } = await metrics.scrape();
      return end(response, 200, body, contentType);
    }
    if (servePage(request, response, pathname)) return;
    end(response, 404, 'Not found\n');
  }

  async function readiness(): Promise<[number, string]> {
    if (draining) return [503, 'draining\n'];
    try {
      await Promise.race([chat.ping(), late(READY_MS)]);
      return [200, 'ready\n'];
    } catch {
      return [503, 'the store does not answer\n'];
    }
  }

  function upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    stream.on('error', () => stream.destroy());
    const { pathname, search } = locate(request);
    if (draining) return refuse(stream, 503, 'Service Unavailable');
    if (!originAllowed(request.headers.origin, request.headers.host, config.allowedOrigins))
      return refuse(stream, 403, 'Forbidden');
    if (pathname === '/graphql') {
      graphqlWss.handleUpgrade(request, stream, head, (ws) => openGraphqlWs(ws, sockets.add(ws, stream, 'graphql-ws')));
    } else if (pathname === '/conversation/ws') {
      const params = readParams(search);
      if (!params) return refuse(stream, 400, 'Bad Request');
      shimWss.handleUpgrade(request, stream, head, (ws) => openShim(ws, sockets.add(ws, stream, 'legacy'), params));
    } else refuse(stream, 404, 'Not Found');
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
        await Promise.race([chat.drain(), setTimeout(DRAIN_MS, undefined, { ref: false })]);
        // The answers to those sends leave before the sockets close.
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

/** Rejects after so many milliseconds, without keeping the process. */
async function late(milliseconds: number): Promise<never> {
  await setTimeout(milliseconds, undefined, { ref: false });
  throw new Error(`no answer within ${milliseconds} ms`);
}

/** Splits the request target (RFC 9112, section 3.2.1) without decoding it. */
function locate(request: IncomingMessage): { pathname: string; search: string } {
  const [pathname = '', search = ''] = (request.url ?? '').split(/\?(.*)/s);
  return { pathname, search };
}

function end(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' }).end(body);
}

function refuse(stream: Duplex, status: number, reason: string): void {
  // Without this a client that keeps its half open would hold the socket.
  stream.once('finish', () => stream.destroy());
  stream.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
