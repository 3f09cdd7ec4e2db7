import { type ExecutionArgs, OperationTypeNode } from 'graphql';
import { CloseCode, makeServer } from 'graphql-ws';
import type { WebSocket } from 'ws';
import type { Chat } from '../chat/chat.ts';
import { badInput, ChatError } from '../chat/errors.ts';
import type { Limits } from '../config.ts';
import type { Logger, Metrics } from '../observe.ts';
import type { Context } from '../operations/context.ts';
import type { Gate, OperationResult } from './gate.ts';
import { identify } from './identity.ts';
import type { Socket } from './sockets.ts';

/** What ends the frame of a result; see `push`. */
const NEXT_END = Buffer.from('}');

/** What a connection carries beside graphql-ws's own state. */
interface Extra {
  context: Context;
  /** Settles when the subscriptions received so far are registered: what comes later on the socket waits for them. */
  registered: Promise<unknown>;
  /** Every operation that has begun and not ended, by its id: true for subscriptions. */
  readonly running: Map<string, boolean>;
  readonly socket: Socket;
}

/** Arguments of an operation that `onSubscribe` has already started. */
interface StartedArgs extends ExecutionArgs {
  readonly id: string;
  readonly socket: Socket;
  readonly result: Promise<OperationResult>;
}

export interface GraphqlWsOptions {
  readonly gate: Gate;
  readonly chat: Chat;
  readonly limits: Pick<Limits, 'authenticationMs' | 'subscriptionsPerSocket'>;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Serves the `graphql-transport-ws` sub-protocol on sockets handed to it; the operations run in the gate. */
export function createGraphqlWs({ gate, chat, limits, logger, metrics }: GraphqlWsOptions) {
  const server = makeServer<{ authorization?: unknown; Authorization?: unknown }, Extra>({
    connectionInitWaitTimeout: limits.authenticationMs,

    onConnect({ connectionParams, extra }) {
      try {
        const viewer = identify(connectionParams?.authorization ?? connectionParams?.Authorization);
        extra.context = { ...extra.context, viewer };
        return true;
      } catch (error) {
        if (error instanceof ChatError) return false; // closes with 4403
        throw error;
      }
    },

    onSubscribe({ extra, subscriptions }, id, { query, variables, operationName }) {
      const document = gate.prepare(query);
      if (!('kind' in document)) return document;
      const kind = gate.kind(document, operationName);
      if (!kind) return [gate.mask(badInput('The document does not say which operation to run.'))];
      // A client may have completed it, but until it has ended its events would be taken for the new one's.
      if (extra.running.has(id)) {
        extra.socket.close(CloseCode.SubscriberAlreadyExists, `Subscriber for ${id} already exists`);
        return [gate.mask(badInput('The id is in use.'))];
      }
      const live = kind === OperationTypeNode.SUBSCRIPTION;
      // Those the client completed are gone from graphql-ws's list at once, from ours when they have ended.
      const running = [...extra.running].filter(([other, isLive]) => isLive && other in subscriptions).length;
      if (live && running >= limits.subscriptionsPerSocket) {
        return [
          gate.mask(
            new ChatError('RATE_LIMITED', `More than ${limits.subscriptionsPerSocket} subscriptions on this socket.`),
          ),
        ];
      }
      const after = live ? undefined : extra.registered;
      const result = gate.run({ query: document, variables, operationName, after }, extra.context);
      extra.running.set(id, live);
      if (live) extra.registered = Promise.all([extra.registered, result]).then(() => {});
      const args: StartedArgs = { document, operationName, schema: gate.schema, id, socket: extra.socket, result };
      return args;
    },
    execute: push,
    subscribe: push,

    onComplete({ extra }, id) {
      extra.running.delete(id);
    },
  });

  /** Results go past graphql-ws, which would make a text of each for each client; it sees a stream that only ends. */
  async function push(args: ExecutionArgs): Promise<AsyncIterableIterator<never>> {
    const { id, socket, result: starting } = args as StartedArgs;
    const result = await starting;
    const head = Buffer.from(`{"id":${JSON.stringify(id)},"type":"next","payload":`);
    const sendEvent = (json: Buffer) => {
      socket.sendEvent(head, json, NEXT_END);
      metrics.delivered();
    };
    const sendAll = async () =>
      'deliver' in result ? result.deliver(sendEvent) : socket.send(head, gate.json(result), NEXT_END);
    const stop = async () => ('deliver' in result ? result.return?.() : undefined);
    const end = (): IteratorReturnResult<undefined> => ({ done: true, value: undefined });
    const iterator: AsyncIterableIterator<never> = {
      next: () => sendAll().then(end),
      return: () => stop().then(end),
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  return function open(ws: WebSocket, socket: Socket): void {
    const extra: Extra = {
      context: { chat, viewer: null, drained: () => socket.drained() },
      registered: Promise.resolve(),
      running: new Map(),
      socket,
    };
    const closed = server.opened(
      {
        protocol: ws.protocol,
        send: async (text) => socket.send(Buffer.from(text)),
        close: (code = CloseCode.InternalServerError, reason = '') => socket.close(code, reason),
        onMessage(receive) {
          ws.on('message', (data) => {
            receive(String(data)).catch((error: unknown) => {
              if (error instanceof Error && error.message.startsWith('Unexpected message of type')) {
                return socket.close(CloseCode.BadRequest, 'Invalid message received');
              }
              // The reason is all a client sees; the error's text stays here.
              logger.error({ err: error }, 'graphql-ws failed');
              socket.close(CloseCode.InternalServerError, 'Internal server error');
            });
          });
        },
      },
      extra,
    );
    socket.onEnd((code, reason) => void closed(code, reason));
  };
}
