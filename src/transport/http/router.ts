import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import type { Chat } from '../../chat/chat.ts';
import type { Config } from '../../config.ts';
import type { Audit } from '../../observability/audit.ts';
import type { Metrics } from '../../observability/metrics.ts';
import type { OriginCheck } from '../admission/origin.ts';
import type { RemoteAddresses } from '../admission/remote-address.ts';
import type { Target } from '../upgrade.ts';
import type { createHttp } from './graphql-http.ts';
import { respond } from './http-connection.ts';
import { createStaticFiles } from './static-files.ts';

/** Time limit of the store's ping for `/readyz`, in milliseconds. */
const READY_MS = 4000;

const ALL_METHODS = 'GET, HEAD, POST, OPTIONS';

/** Allowed methods of each endpoint; other paths allow GET and HEAD. */
const METHODS: ReadonlyMap<string, string> = new Map([
  ['/graphql', ALL_METHODS],
  ...['/healthz', '/readyz', '/metrics'].map((path) => [path, 'GET, HEAD'] as const),
]);

/** Answers a request by its target. */
export type Router = (request: IncomingMessage, response: ServerResponse, target: Target) => Promise<void>;

export interface RouterOptions {
  readonly config: Pick<Config, 'auth' | 'basePath'>;
  readonly chat: Pick<Chat, 'ping'>;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly remoteAddresses: RemoteAddresses;
  readonly isAllowedOrigin: OriginCheck;
  readonly graphqlHttp: ReturnType<typeof createHttp>;
  readonly draining: () => boolean;
}

/** Serves the HTTP endpoints: probes, GraphQL, metrics, and the files of the page. */
export function createRouter(options: RouterOptions): Router {
  const { config, chat, audit, metrics, remoteAddresses, isAllowedOrigin, graphqlHttp, draining } = options;
  const { basePath } = config;
  const serveStaticFile = createStaticFiles(config.auth.mode);

  async function readiness(): Promise<[number, string]> {
    if (draining()) return [503, 'draining\n'];
    try {
      await Promise.race([chat.ping(), late(READY_MS)]);
      return [200, 'ready\n'];
    } catch {
      return [503, 'the store takes no writes: the log names the cause\n'];
    }
  }

  return async (request, response, { pathname, search }) => {
    if (pathname === '*' && request.method === 'OPTIONS') {
      return void response.writeHead(204, { allow: ALL_METHODS }).end();
    }
    const allow = METHODS.get(pathname);
    if (allow && !allow.split(', ').includes(request.method ?? '')) return refuseMethod(response, allow);
    if (pathname === '/healthz') return respond(response, 200, 'ok\n');
    if (pathname === '/readyz') return respond(response, ...(await readiness()));
    const address = remoteAddresses.addressOf(request);
    if (!isAllowedOrigin(request)) {
      const reason = `origin ${request.headers.origin?.slice(0, 200)}`;
      audit({ user: null, address, transport: 'http' }, { action: 'connect', outcome: 'FORBIDDEN', reason });
      response.setHeader('vary', 'Origin');
      return respond(response, 403, 'Origin not allowed\n');
    }
    if (pathname === '/graphql') return void (await graphqlHttp(request, response, search, address));
    if (pathname === '/metrics') {
      const { contentType, body } = await metrics.scrape();
      return respond(response, 200, body, contentType);
    }
    if (serveStaticFile(request, response, pathname)) return;
    if (pathname !== '' && pathname === basePath) {
      // The page's URLs are relative, and so is this redirect: a proxy may add a prefix.
      response.setHeader('location', `${pathname.slice(pathname.lastIndexOf('/') + 1)}/${search && `?${search}`}`);
      return respond(response, 307, 'The page is at the same path with a slash at its end\n');
    }
    respond(response, 404, 'Not found\n');
  };
}

/** Rejects after a time limit, in milliseconds; the timer does not keep the process alive. */
async function late(milliseconds: number): Promise<never> {
  await setTimeout(milliseconds, undefined, { ref: false });
  throw new Error(`no answer within ${milliseconds} ms`);
}

function refuseMethod(response: ServerResponse, allow: string): void {
  response.setHeader('allow', allow);
  respond(response, 405, 'Method not allowed\n');
}
