import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket as Connection } from 'node:net';
import { handleProtocols } from 'graphql-ws';
import { type WebSocket, WebSocketServer } from 'ws';
import { ChatError, ERROR_CODES } from '../chat/rules/errors.ts';
import type { Config } from '../config.ts';
import { parseEmail } from '../model.ts';
import type { Audit, AuditActor } from '../observability/audit.ts';
import type { Transport } from '../observability/metrics.ts';
import { type Authenticate, type Session, TOKEN_ENDED } from './admission/authenticate.ts';
import type { Quotas } from './admission/quota.ts';
import { connectedAddress, networkOf, type Peers } from './admission/remote-address.ts';
import { lingeringClose } from './http/http-connection.ts';
import { type LegacyParams, readParams } from './legacy/params.ts';
import type { LegacyConnection } from './legacy/shim.ts';
import type { Socket } from './websocket/socket.ts';
import type { createSockets } from './websocket/sockets.ts';

/** What a gateway says who a legacy client is with. */
const GATEWAY_HEADER = 'x-kredichat-email';

const TRANSPORTS: ReadonlyMap<string, Transport> = new Map([
  ['/graphql', 'graphql-ws'],
  ['/conversation/ws', 'legacy'],
]);

export interface UpgradeOptions {
  readonly config: Pick<Config, 'auth' | 'limits'>;
  readonly peers: Peers;
  readonly authenticate: Authenticate;
  readonly quotas: Quotas;
  readonly sockets: ReturnType<typeof createSockets>;
  readonly audit: Audit;
  readonly openGraphqlWs: (ws: WebSocket, socket: Socket, from: string) => void;
  readonly openShim: (socket: Socket, connection: LegacyConnection) => void;
}

/** A request target, split and not decoded. */
export interface Target {
  readonly pathname: string;
  readonly search: string;
}

/** Lets WebSockets in, or refuses them before anything is spoken on them. */
export function createUpgrade(options: UpgradeOptions) {
  const { config, peers, authenticate, quotas, sockets, audit, openGraphqlWs, openShim } = options;
  const shared = { noServer: true, maxPayload: config.limits.frameBytes, perMessageDeflate: false };
  const graphqlWss = new WebSocketServer({ ...shared, handleProtocols: (protocols) => handleProtocols(protocols) });
  // The shim answers invalid UTF-8 with an error frame, so it looks for it itself.
  const shimWss = new WebSocketServer({ ...shared, skipUTF8Validation: true });

  return async function upgrade(
    request: IncomingMessage,
    stream: Connection,
    head: Buffer,
    target: Target,
  ): Promise<void> {
    // ws takes no list of protocols.
    request.headers.upgrade = 'websocket';
    const from = peers.addressOf(request);
    const over = TRANSPORTS.get(target.pathname);
    if (!over) return refuse(stream, 404);
    const asker: AuditActor = { user: null, address: from, transport: over };
    if (!peers.mayConnect(request)) {
      audit(asker, {
        action: 'connect',
        outcome: 'FORBIDDEN',
        reason: `origin ${request.headers.origin?.slice(0, 200)}`,
      });
      return refuse(stream, 403);
    }
    const network = networkOf(from);
    // What is connected itself was counted when it was.
    if (from !== connectedAddress(request.socket) && !peers.isShared(from)) {
      if (!quotas.addresses.take(network)) {
        audit(asker, { action: 'connect', outcome: 'RATE_LIMITED', reason: 'sockets of the address' });
        return refuse(stream, 429);
      }
      stream.once('close', () => quotas.addresses.give(network));
    }
    const opened = (open: (ws: WebSocket, socket: Socket) => void) => (ws: WebSocket) =>
      open(ws, sockets.add(ws, stream, over));
    if (over === 'graphql-ws') {
      return graphqlWss.handleUpgrade(
        request,
        stream,
        head,
        opened((ws, socket) => openGraphqlWs(ws, socket, from)),
      );
    }
    const params = readParams(target.search, request.headers);
    if (!params) return refuse(stream, 400);
    let known = asker;
    try {
      const said = saidByGateway(request);
      const { viewer, endsAt } = said ?? (await identifyLegacy(params));
      known = { ...asker, user: viewer.email };
      if (viewer.email !== params.email) throw new ChatError('FORBIDDEN', 'email_id is another address.');
      // Whoever has gone meanwhile takes nothing.
      if (stream.destroyed) return;
      if (!quotas.sockets.take(viewer.email)) throw new ChatError('RATE_LIMITED', 'sockets');
      stream.once('close', () => quotas.sockets.give(viewer.email));
      const open = opened((_, socket) => {
        audit(known, { action: 'connect', outcome: 'allowed', ...(said && { reason: 'said by a gateway' }) });
        socket.endAt(endsAt, () => audit(known, TOKEN_ENDED));
        openShim(socket, { ...params, viewer, from });
      });
      shimWss.handleUpgrade(request, stream, head, open);
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      audit(known, { action: 'connect', outcome: error.code, reason: error.message });
      refuse(stream, ERROR_CODES[error.code]);
    }
  };

  /** Who a gateway says a legacy client is; null where none says anything. */
  function saidByGateway(request: IncomingMessage): Session | null {
    const said = config.auth.mode === 'jwt' && peers.isGateway(request) ? request.headers[GATEWAY_HEADER] : undefined;
    const email = typeof said === 'string' ? parseEmail(said) : null;
    return email && { viewer: { email, role: null }, endsAt: Number.POSITIVE_INFINITY };
  }

  /** Who a legacy client says it is: in development by its address alone. @throws ChatError with the code of the refusal */
  async function identifyLegacy({ email, credential }: LegacyParams): Promise<Session> {
    if (config.auth.mode === 'dev') return { viewer: { email, role: null }, endsAt: Number.POSITIVE_INFINITY };
    const session = await authenticate(credential);
    if (!session) throw new ChatError('UNAUTHENTICATED', 'There is no credential.');
    return session;
  }
}

/**
 * Whether a request is for a WebSocket (RFC 6455, section 4.2.1) of an endpoint that has one. Every other request with
 * an `Upgrade` field is served as if it had none.
 */
export function isWebSocketUpgrade(
  { method, httpVersion, headers: { upgrade = '' } }: IncomingMessage,
  { pathname }: Target,
): boolean {
  const protocols = upgrade.split(',').map((protocol) => protocol.trim().toLowerCase());
  return method === 'GET' && httpVersion === '1.1' && protocols.includes('websocket') && TRANSPORTS.has(pathname);
}

/** Answers an upgrade with a status instead. */
export function refuse(stream: Connection, status: number): void {
  const bearer = status === 401 ? 'WWW-Authenticate: Bearer\r\n' : '';
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${bearer}Connection: close\r\nContent-Length: 0\r\n\r\n`;
  lingeringClose(stream, head);
}
