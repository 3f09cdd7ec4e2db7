import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Config } from '../../config.ts';
import type { Quotas } from '../admission/quota.ts';
import { connectedAddress, networkOf, type RemoteAddresses } from '../admission/remote-address.ts';
import { type createUpgrade, isWebSocketUpgrade, refuse, type Target } from '../upgrade.ts';
import { announceClose, answered, closeInSteps, respond, serveWithoutUpgrade } from './http-connection.ts';
import type { Router } from './router.ts';

/** Time limits for receiving a request, in milliseconds. */
const HTTP_TIMES = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5000 };

/**
 * A connection without traffic for this long during a request is closed, in milliseconds: also if the client does not
 * read the answer. Between requests `keepAliveMs` applies.
 */
const SILENT_MS = 30_000;

/** Headers of every answer; a page that loads resources sets its own policy. */
const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

export interface HttpServerOptions {
  readonly config: Pick<Config, 'basePath' | 'keepAliveMs' | 'limits'>;
  readonly remoteAddresses: RemoteAddresses;
  readonly quotas: Quotas;
  /** Answers a request with a well-formed `Host`. */
  readonly route: Router;
  readonly upgrade: ReturnType<typeof createUpgrade>;
  readonly draining: () => boolean;
  readonly closing: () => boolean;
  readonly onError: (error: unknown) => void;
}

/** Limits connections, and passes their requests one by one to the router or to upgrades. */
export function createHttpServer(options: HttpServerOptions): Server {
  const { config, remoteAddresses, quotas, route, upgrade, draining, closing, onError } = options;
  const { basePath, keepAliveMs, limits } = config;

  /** The newest request of each connection. */
  const newest = new WeakMap<Socket, ServerResponse>();

  const http = createServer({ ...HTTP_TIMES, keepAliveTimeout: keepAliveMs }, (request, response) => {
    const before = newest.get(request.socket);
    newest.set(request.socket, response);
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
    announceClose(request, response, limits.frameBytes, draining);
    answerAfter(before, request, response).catch((error: unknown) => {
      onError(error);
      if (!response.headersSent) respond(response, 500, 'Internal server error\n');
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
    const target = locate(request, basePath);
    if (!isWebSocketUpgrade(request, target)) {
      return void serveWithoutUpgrade(http, request, head, newest.get(socket)).then(() => socket.off('error', fail));
    }
    await answered(newest.get(socket));
    if (!socket.writable) return;
    if (closing()) return refuse(socket, 503);
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
    await answered(before);
    if (request.socket.destroyed) return;
    if (!hasValidHost(request)) return respond(response, 400, 'Host is malformed\n');
    await route(request, response, locate(request, basePath));
  }

  return http;
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
