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
import type { OriginCheck } from './admission/origin.ts';
import type { Quotas } from './admission/quota.ts';
import { connectedAddress, networkOf, type RemoteAddresses } from './admission/remote-address.ts';
import { lingeringClose } from './http/http-connection.ts';
import { type LegacyParams, readParams } from './legacy/params.ts';
import type { LegacyConnection } from './legacy/shim.ts';
import type { Socket } from './websocket/socket.ts';
import type { createSockets } from './websocket/sockets.ts';

/** Header in which a trusted gateway asserts the e-mail address of a legacy client. */
const GATEWAY_HEADER = 'x-kredichat-email';

const TRANSPORTS: ReadonlyMap<string, Transport> = new Map([
  ['/graphql', 'graphql-ws'],
  ['/conversation/ws', 'legacy'],
]);

export interface UpgradeOptions {
  readonly config: Pick<Config, 'auth' | 'limits'>;
  readonly remoteAddresses: RemoteAddresses;
  readonly isAllowedOrigin: OriginCheck;
  readonly authenticate: Authenticate;
  readonly quotas: Quotas;
  readonly sockets: ReturnType<typeof createSockets>;
  readonly audit: Audit;
  readonly openGraphqlWs: (ws: WebSocket, socket: Socket, address: string) => void;
  readonly openShim: (socket: Socket, connection: LegacyConnection) => void;
}

/** A request target, split and not decoded. */
export interface Target {
  readonly pathname: string;
  readonly search: string;
}

/** Admits or refuses upgrades to WebSocket. */
export function createUpgrade(options: UpgradeOptions) {
  const { config, remoteAddresses, isAllowedOrigin, authenticate, quotas, sockets, audit, openGraphqlWs, openShim } =
    options;
  const shared = { noServer: true, maxPayload: config.limits.frameBytes, perMessageDeflate: false };
  const graphqlWss = new WebSocketServer({ ...shared, handleProtocols: (protocols) => handleProtocols(protocols) });
  // The shim validates UTF-8 itself, as it answers invalid UTF-8 with an error frame.
  const shimWss = new WebSocketServer({ ...shared, skipUTF8Validation: true });

  return async function upgrade(
    request: IncomingMessage,
    stream: Connection,
    head: Buffer,
    target: Target,
  ): Promise<void> {
    // ws does not accept a list of protocols.
    request.headers.upgrade = 'websocket';
    const address = remoteAddresses.addressOf(request);
    const transport = TRANSPORTS.get(target.pathname);
    if (!transport) return refuse(stream, 404);
    const refusal = admit(request, stream, { user: null, address, transport });
    if (refusal !== null) return refuse(stream, refusal);
    if (transport === 'legacy') return upgradeLegacy(request, stream, head, target, address);
    graphqlWss.handleUpgrade(request, stream, head, (ws) =>
      openGraphqlWs(ws, sockets.add(ws, stream, transport), address),
    );
  };

  /** Checks the origin, and counts the stream for its address. Returns the HTTP status of a refusal, otherwise null. */
  function admit(request: IncomingMessage, stream: Connection, actor: AuditActor): number | null {
    if (!isAllowedOrigin(request)) {
      const reason = `origin ${request.headers.origin?.slice(0, 200)}`;
      audit(actor, { action: 'connect', outcome: 'FORBIDDEN', reason });
      return 403;
    }
    const { address } = actor;
    // The address of the connected peer was counted when it connected.
    if (address === connectedAddress(request.socket) || remoteAddresses.isShared(address)) return null;
    const network = networkOf(address);
    if (!quotas.addresses.take(network)) {
      audit(actor, { action: 'connect', outcome: 'RATE_LIMITED', reason: 'sockets of the address' });
      return 429;
    }
    stream.once('close', () => quotas.addresses.give(network));
    return null;
  }

  /** A legacy client has no first message with a credential, so it is authenticated before the upgrade. */
  async function upgradeLegacy(
    request: IncomingMessage,
    stream: Connection,
    head: Buffer,
    target: Target,
    address: string,
  ): Promise<void> {
    const params = readParams(target.search, request.headers);
    if (!params) return refuse(stream, 400);
    let actor: AuditActor = { user: null, address, transport: 'legacy' };
    try {
      const asserted = assertedByGateway(request);
      const { viewer, endsAt } = asserted ?? (await authenticateLegacy(params));
      actor = { ...actor, user: viewer.email };
      if (viewer.email !== params.email)
        throw new ChatError('FORBIDDEN', '`email_id` must be the address of the credential.');
      // A client that has disconnected meanwhile uses no quota.
      if (stream.destroyed) return;
      if (!quotas.sockets.take(viewer.email)) throw new ChatError('RATE_LIMITED', 'sockets');
      stream.once('close', () => quotas.sockets.give(viewer.email));
      shimWss.handleUpgrade(request, stream, head, (ws) => {
        const socket = sockets.add(ws, stream, 'legacy');
        audit(actor, { action: 'connect', outcome: 'allowed', ...(asserted && { reason: 'said by a gateway' }) });
        socket.endAt(endsAt, () => audit(actor, TOKEN_ENDED));
        openShim(socket, { ...params, viewer, address });
      });
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      audit(actor, { action: 'connect', outcome: error.code, reason: error.message });
      refuse(stream, ERROR_CODES[error.code]);
    }
  }

  /** The session of a legacy client that a gateway asserts, if any. */
  function assertedByGateway(request: IncomingMessage): Session | null {
    const trusted = config.auth.mode === 'jwt' && remoteAddresses.isGateway(request);
    const header = trusted ? request.headers[GATEWAY_HEADER] : undefined;
    const email = typeof header === 'string' ? parseEmail(header) : null;
    return email && { viewer: { email, role: null }, endsAt: Number.POSITIVE_INFINITY };
  }

  /** The session of a legacy client; in development `email_id` suffices. @throws ChatError if the client is refused */
  async function authenticateLegacy({ email, credential }: LegacyParams): Promise<Session> {
    if (config.auth.mode === 'dev') return { viewer: { email, role: null }, endsAt: Number.POSITIVE_INFINITY };
    const session = await authenticate(credential);
    if (!session) throw new ChatError('UNAUTHENTICATED', 'The credential is missing.');
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

/** Answers an upgrade with an HTTP status. */
export function refuse(stream: Connection, status: number): void {
  const bearer = status === 401 ? 'WWW-Authenticate: Bearer\r\n' : '';
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${bearer}Connection: close\r\nContent-Length: 0\r\n\r\n`;
  lingeringClose(stream, head);
}
