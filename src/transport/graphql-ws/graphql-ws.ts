import { type ExecutionArgs, OperationTypeNode } from 'graphql';
import { CloseCode, makeServer } from 'graphql-ws';
import type { WebSocket } from 'ws';
import type { Chat } from '../../chat/chat.ts';
import { badInput, ChatError } from '../../chat/rules/errors.ts';
import type { Limits } from '../../config.ts';
import type { Executor, OperationResult } from '../../execution/executor.ts';
import { NOT_PERSISTED } from '../../execution/prepared-operation.ts';
import { nestsTooDeep } from '../../execution/rules/json-depth.ts';
import type { Context } from '../../graphql/context.ts';
import type { Audit, AuditActor } from '../../observability/audit.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Metrics } from '../../observability/metrics.ts';
import { type Authenticate, type Session, TOKEN_ENDED } from '../admission/authenticate.ts';
import type { Quotas } from '../admission/quota.ts';
import type { Socket } from '../websocket/socket.ts';
import { idOf, Operations, ResultStream, withId } from './operations.ts';

/** Maximum bytes of the frame that starts a subscription, which keeps its id, document and variables in memory. */
const MAX_SUBSCRIPTION_BYTES = 16_384;

/** State of a connection, beside that of graphql-ws. */
interface Extra {
  context: Context;
  /** The client's network address. */
  readonly address: string;
  readonly socket: Socket;
  readonly operations: Operations;
  /** Closes the socket if the client does not authenticate in time. */
  readonly authenticationTimer: NodeJS.Timeout;
  /** Resolves when the subscriptions received so far are registered; later queries and mutations wait for it. */
  registered: Promise<unknown>;
}

/** Arguments of an operation that `onSubscribe` has started. */
interface StartedArgs extends ExecutionArgs {
  readonly id: string;
  readonly socket: Socket;
  readonly result: Promise<OperationResult>;
}

export interface GraphqlWsOptions {
  readonly executor: Executor;
  readonly chat: Chat;
  readonly authenticate: Authenticate;
  readonly quotas: Quotas;
  readonly limits: Pick<Limits, 'authenticationMs' | 'subscriptionsPerSocket'>;
  readonly audit: Audit;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** The payload of `connection_init`, or of a `ping` that renews the credential. */
interface Credentials extends Record<string, unknown> {
  readonly authorization?: unknown;
  readonly Authorization?: unknown;
}

/** Serves the `graphql-transport-ws` sub-protocol on the sockets passed to it; the executor runs the operations. */
export function createGraphqlWs(options: GraphqlWsOptions) {
  const { executor, chat, authenticate, quotas, limits, audit, logger, metrics } = options;

  const actor = ({ address, context }: Extra): AuditActor => ({
    user: context.viewer?.email ?? null,
    address,
    transport: 'graphql-ws',
  });

  /** Verifies a credential; closes the socket if the credential is not valid or cannot be verified now. */
  async function verify(extra: Extra, action: string, params: Credentials | undefined): Promise<Session | null> {
    try {
      return await authenticate(params?.authorization ?? params?.Authorization);
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      if (extra.socket.ended) return null;
      audit(actor(extra), { action, outcome: error.code });
      if (error.code === 'UNAUTHENTICATED') extra.socket.close(CloseCode.Forbidden, 'Forbidden');
      else extra.socket.close(CloseCode.InternalServerError, error.message);
      return null;
    }
  }

  /** Admits the client until its credential expires. */
  function admit(extra: Extra, { viewer, endsAt }: Session): void {
    if (!quotas.sockets.take(viewer.email)) {
      audit({ ...actor(extra), user: viewer.email }, { action: 'connect', outcome: 'RATE_LIMITED', reason: 'sockets' });
      return extra.socket.close(CloseCode.Forbidden, 'Too many connections');
    }
    extra.operations.user = viewer.email;
    allow(extra, 'connect', { viewer, endsAt });
  }

  function allow(extra: Extra, action: string, { viewer, endsAt }: Session): void {
    extra.context = { ...extra.context, viewer };
    extra.socket.endAt(endsAt, () => audit(actor(extra), TOKEN_ENDED));
    audit(actor(extra), { action, outcome: 'allowed' });
  }

  /** A fresh credential of the same user prolongs the connection; its operations continue. */
  async function renew(extra: Extra, payload: Credentials | undefined): Promise<void> {
    if ((payload?.authorization ?? payload?.Authorization) === undefined) return;
    if (!extra.context.viewer) return forbid(extra, 'not connected');
    // No other message is read meanwhile, so renewals run one at a time.
    extra.socket.pause(true);
    const session = await verify(extra, 'renew', payload).finally(() => extra.socket.pause(false));
    if (!session || extra.socket.ended) return;
    if (session.viewer.email !== extra.context.viewer?.email) return forbid(extra, 'another user');
    allow(extra, 'renew', session);
  }

  function forbid(extra: Extra, reason: string): void {
    audit(actor(extra), { action: 'renew', outcome: 'FORBIDDEN', reason });
    extra.socket.close(CloseCode.Forbidden, 'Forbidden');
  }

  const server = makeServer<Credentials, Extra>({
    // `open` has the timer: that of graphql-ws stops at `connection_init`, before the credential is verified.
    connectionInitWaitTimeout: 0,

    async onConnect({ connectionParams, extra }) {
      if (connectionParams && isMisplaced(connectionParams)) {
        audit(actor(extra), { action: 'connect', outcome: 'UNAUTHENTICATED', reason: 'credential in another place' });
        extra.socket.close(CloseCode.Forbidden, 'The payload is to be {"authorization": "Bearer TOKEN"}');
        return false;
      }
      const session = await verify(extra, 'connect', connectionParams);
      if (session && !extra.socket.ended) admit(extra, session);
      clearTimeout(extra.authenticationTimer);
      return !extra.socket.ended;
    },

    onPing({ extra, acknowledged }, payload) {
      // graphql-ws echoes the payload.
      if (nestsTooDeep(payload)) throw badInput('The payload nests too deeply.');
      return acknowledged ? renew(extra, payload) : undefined;
    },

    onSubscribe({ extra }, key, payload) {
      const { query, variables, operationName: name, extensions } = payload;
      if (query === '' && extensions?.persistedQuery) return [executor.mask(badInput(NOT_PERSISTED))];
      // An empty name counts as absent.
      const operationName = name || undefined;
      const operation = executor.prepare(query, operationName);
      if (operation.kind === 'invalid' || operation.kind === 'ambiguous') return operation.errors;
      const { kind, document } = operation;
      const live = kind === OperationTypeNode.SUBSCRIPTION;
      if (live && extra.operations.frameBytes > MAX_SUBSCRIPTION_BYTES)
        return [executor.mask(badInput(`A subscription must have at most ${MAX_SUBSCRIPTION_BYTES} bytes.`))];
      if (live && !extra.operations.reserveSubscription()) {
        audit(actor(extra), { action: 'subscribe', outcome: 'RATE_LIMITED', reason: 'subscriptions' });
        return [executor.mask(new ChatError('RATE_LIMITED', 'Too many subscriptions.'))];
      }
      const after = live ? undefined : extra.registered;
      const wanted = () => !extra.socket.ended;
      const result = executor.run({ operation, variables, after, wanted }, extra.context);
      extra.operations.start(key, live ? 'subscription' : 'query');
      if (live) extra.registered = Promise.all([extra.registered, result]).then(() => {});
      const id = idOf(key);
      // graphql-ws keeps each payload, with its own copy of the text, until the operation ends.
      Object.assign(payload, { query: '' });
      const args: StartedArgs = { document, operationName, schema: executor.schema, id, socket: extra.socket, result };
      return args;
    },
    execute: streamResult,
    subscribe: streamResult,

    onComplete: ({ extra }, key) => extra.operations.end(key),
    onError: ({ extra }, key) => extra.operations.end(key),
  });

  async function streamResult(args: ExecutionArgs): Promise<AsyncIterableIterator<never>> {
    const { id, socket, result } = args as StartedArgs;
    return new ResultStream(id, socket, await result, metrics);
  }

  return function open(ws: WebSocket, socket: Socket, address: string): void {
    const authenticationTimer = setTimeout(() => {
      audit(actor(extra), { action: 'connect', outcome: 'UNAUTHENTICATED', reason: 'took too long' });
      socket.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout');
    }, limits.authenticationMs);
    const operations = new Operations(socket, quotas.subscriptions, limits.subscriptionsPerSocket);
    const extra: Extra = {
      context: {
        chat,
        viewer: null,
        free: () => socket.free(),
        drained: () => socket.drained(),
        audit: (event) => audit(actor(extra), event),
      },
      address,
      socket,
      operations,
      authenticationTimer,
      registered: Promise.resolve(),
    };
    const closed = server.opened(
      {
        protocol: ws.protocol,
        send: async (text) => socket.send(Buffer.from(withId(text))),
        close: (code = CloseCode.InternalServerError, reason = '') => socket.close(code, reason),
        onMessage(receive) {
          socket.onMessage((data) => {
            operations.frameBytes = data.length;
            const message = operations.parse(String(data));
            // graphql-ws accepts parsed messages, too.
            if (message !== null)
              receive(message as string).catch((error: unknown) => {
                const unexpected = error instanceof Error && error.message.startsWith('Unexpected message of type');
                if (unexpected || error instanceof ChatError) {
                  return socket.close(CloseCode.BadRequest, 'Invalid message received');
                }
                // The client sees the close reason only; the error's text stays in the log.
                logger.error({ err: error }, 'graphql-ws failed');
                socket.close(CloseCode.InternalServerError, 'Internal server error');
              });
          });
        },
      },
      extra,
    );
    socket.onEnd((code, reason) => {
      clearTimeout(authenticationTimer);
      operations.endAll();
      const { viewer } = extra.context;
      if (viewer) quotas.sockets.give(viewer.email);
      void closed(code, reason);
    });
  };
}

const CREDENTIAL = /^(authorization|auth|auth[_-]?token|access[_-]?token|token|jwt)$/i;

/** Whether a payload has a credential under a name that other servers read, and none under `authorization`. */
function isMisplaced({ authorization, Authorization, ...others }: Credentials): boolean {
  if ((authorization ?? Authorization) != null) return false;
  const members = { ...others, ...(typeof others.headers === 'object' && others.headers) };
  return Object.entries(members).some(([name, value]) => CREDENTIAL.test(name) && typeof value === 'string' && value);
}
