import { CloseCode } from 'graphql-ws';
import { ChatError } from '../../chat/rules/errors.ts';
import type { Context } from '../../graphql/context.ts';
import type { Audit, AuditActor } from '../../observability/audit.ts';
import { type Authenticate, type Session, TOKEN_ENDED } from '../admission/authenticate.ts';
import type { Quotas } from '../admission/quota.ts';
import type { Socket } from '../websocket/socket.ts';
import type { Operations } from './operations.ts';

/** State of a connection for its authentication. */
export interface Connection {
  /** Its viewer is null until the client is admitted. */
  context: Context;
  /** The client's network address. */
  readonly address: string;
  readonly socket: Socket;
  readonly operations: Operations;
  /** Closes the socket if the client does not authenticate in time. */
  readonly authenticationTimer: NodeJS.Timeout;
}

/** The payload of `connection_init`, or of a `ping` that renews the credential. */
export interface Credentials extends Record<string, unknown> {
  readonly authorization?: unknown;
  readonly Authorization?: unknown;
}

export function actorOf({ address, context }: Connection): AuditActor {
  return { user: context.viewer?.email ?? null, address, transport: 'graphql-ws' };
}

/** Authenticates connections: first by `connection_init`, then by each `ping` with a fresh credential. */
export function createAuthentication(authenticate: Authenticate, quota: Quotas['sockets'], audit: Audit) {
  /** Verifies a credential; closes the socket if the credential is not valid or cannot be verified now. */
  async function verify(
    connection: Connection,
    action: string,
    params: Credentials | undefined,
  ): Promise<Session | null> {
    try {
      return await authenticate(params?.authorization ?? params?.Authorization);
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      if (connection.socket.ended) return null;
      audit(actorOf(connection), { action, outcome: error.code });
      if (error.code === 'UNAUTHENTICATED') connection.socket.close(CloseCode.Forbidden, 'Forbidden');
      else connection.socket.close(CloseCode.InternalServerError, error.message);
      return null;
    }
  }

  /** Admits the client until its credential expires. */
  function admit(connection: Connection, { viewer, endsAt }: Session): void {
    if (!quota.take(viewer.email)) {
      const actor = { ...actorOf(connection), user: viewer.email };
      audit(actor, { action: 'connect', outcome: 'RATE_LIMITED', reason: 'sockets' });
      return connection.socket.close(CloseCode.Forbidden, 'Too many connections');
    }
    connection.operations.user = viewer.email;
    allow(connection, 'connect', { viewer, endsAt });
  }

  function allow(connection: Connection, action: string, { viewer, endsAt }: Session): void {
    connection.context = { ...connection.context, viewer };
    connection.socket.endAt(endsAt, () => audit(actorOf(connection), TOKEN_ENDED));
    audit(actorOf(connection), { action, outcome: 'allowed' });
  }

  function forbid(connection: Connection, reason: string): void {
    audit(actorOf(connection), { action: 'renew', outcome: 'FORBIDDEN', reason });
    connection.socket.close(CloseCode.Forbidden, 'Forbidden');
  }

  return {
    /** Admits the client if its credential is valid, otherwise closes the socket. Returns whether it is admitted. */
    async connect(connection: Connection, params: Credentials | undefined): Promise<boolean> {
      const { socket, authenticationTimer } = connection;
      if (params && isMisplaced(params)) {
        const reason = 'credential in another place';
        audit(actorOf(connection), { action: 'connect', outcome: 'UNAUTHENTICATED', reason });
        socket.close(CloseCode.Forbidden, 'The payload is to be {"authorization": "Bearer TOKEN"}');
        return false;
      }
      const session = await verify(connection, 'connect', params);
      if (session && !socket.ended) admit(connection, session);
      clearTimeout(authenticationTimer);
      return !socket.ended;
    },

    /** A fresh credential of the same user prolongs the connection; its operations continue. */
    async renew(connection: Connection, payload: Credentials | undefined): Promise<void> {
      const { socket } = connection;
      if ((payload?.authorization ?? payload?.Authorization) === undefined) return;
      if (!connection.context.viewer) return forbid(connection, 'not connected');
      // No other message is read meanwhile, so renewals run one at a time.
      socket.pause(true);
      const session = await verify(connection, 'renew', payload).finally(() => socket.pause(false));
      if (!session || socket.ended) return;
      if (session.viewer.email !== connection.context.viewer?.email) return forbid(connection, 'another user');
      allow(connection, 'renew', session);
    },

    /** To be called when the client has not authenticated in time. */
    expire(connection: Connection): void {
      audit(actorOf(connection), { action: 'connect', outcome: 'UNAUTHENTICATED', reason: 'took too long' });
      connection.socket.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout');
    },

    /** To be called when the connection has ended. */
    end({ authenticationTimer, context: { viewer } }: Connection): void {
      clearTimeout(authenticationTimer);
      if (viewer) quota.give(viewer.email);
    },
  };
}

const CREDENTIAL = /^(authorization|auth|auth[_-]?token|access[_-]?token|token|jwt)$/i;

/** Whether a payload has a credential under a name that other servers read, and none under `authorization`. */
function isMisplaced({ authorization, Authorization, ...others }: Credentials): boolean {
  if ((authorization ?? Authorization) != null) return false;
  const members = { ...others, ...(typeof others.headers === 'object' && others.headers) };
  return Object.entries(members).some(([name, value]) => CREDENTIAL.test(name) && typeof value === 'string' && value);
}
