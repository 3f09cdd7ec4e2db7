import { type ExecutionArgs, OperationTypeNode } from 'graphql';
import { CloseCode, makeServer } from 'graphql-ws';
import type { WebSocket } from 'ws';
import type { Chat } from '../../chat/chat.ts';
import { badInput, ChatError } from '../../chat/rules/errors.ts';
import type { Limits } from '../../config.ts';
import type { Executor, OperationResult } from '../../execution/executor.ts';
import { NOT_PERSISTED } from '../../execution/prepared-operation.ts';
import { nestsTooDeep } from '../../execution/rules/json-depth.ts';
import type { Audit } from '../../observability/audit.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Metrics } from '../../observability/metrics.ts';
import type { Authenticate } from '../admission/authenticate.ts';
import type { Quotas } from '../admission/quota.ts';
import type { Socket } from '../websocket/socket.ts';
import { actorOf, type Connection, type Credentials, createAuthentication } from './authentication.ts';
import { idOf, Operations, ResultStream, withId } from './operations.ts';

/** Maximum bytes of the frame that starts a subscription, which keeps its id, document and variables in memory. */
const MAX_SUBSCRIPTION_BYTES = 16_384;

/** State of a connection, beside that of graphql-ws. */
interface Extra extends Connection {
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

/** Serves the `graphql-transport-ws` sub-protocol on the sockets passed to it; the executor runs the operations. */
export function createGraphqlWs(options: GraphqlWsOptions) {
  const { executor, chat, authenticate, quotas, limits, audit, logger, metrics } = options;
  const authentication = createAuthentication(authenticate, quotas.sockets, audit);

  const server = makeServer<Credentials, Extra>({
    // `open` has the timer: that of graphql-ws stops at `connection_init`, before the credential is verified.
    connectionInitWaitTimeout: 0,

    onConnect: ({ connectionParams, extra }) => authentication.connect(extra, connectionParams),

    onPing({ extra, acknowledged }, payload) {
      // graphql-ws echoes the payload.
      if (nestsTooDeep(payload)) throw badInput('The payload nests too deeply.');
      return acknowledged ? authentication.renew(extra, payload) : undefined;
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
        audit(actorOf(extra), { action: 'subscribe', outcome: 'RATE_LIMITED', reason: 'subscriptions' });
        return [executor.mask(new ChatError('RATE_LIMITED', 'Too many subscriptions.'))];
      }
      const after = live ? undefined : extra.registered;
      const wanted = () => !extra.socket.ended;
      const { traceparent } = extensions ?? {};
      const result = executor.run({ operation, variables, after, wanted, traceparent }, extra.context);
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
    const operations = new Operations(socket, quotas.subscriptions, limits.subscriptionsPerSocket);
    const extra: Extra = {
      context: {
        chat,
        viewer: null,
        free: () => socket.free(),
        drained: () => socket.drained(),
        audit: (event) => audit(actorOf(extra), event),
      },
      address,
      socket,
      operations,
      authenticationTimer: setTimeout(() => authentication.expire(extra), limits.authenticationMs),
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
      operations.endAll();
      authentication.end(extra);
      void closed(code, reason);
    });
  };
}
