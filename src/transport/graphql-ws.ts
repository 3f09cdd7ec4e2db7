import { type ExecutionArgs, OperationTypeNode } from 'graphql';
import { CloseCode, makeServer } from 'graphql-ws';
import type { WebSocket } from 'ws';
import type { Chat } from '../chat/chat.ts';
import { badInput, ChatError } from '../chat/errors.ts';
import type { Limits } from '../config.ts';
import type { Asker, Audit, Logger, Metrics } from '../observe.ts';
import type { Context } from '../operations/context.ts';
import type { Gate, OperationResult } from './gate.ts';
import { type Identify, type Session, TOKEN_ENDED } from './identity.ts';
import { type Backlog, createBacklog } from './inbox.ts';
import { nestsTooDeep } from './nesting.ts';
import type { Quotas } from './quota.ts';
import type { Json } from './sharing.ts';
import type { Socket } from './sockets.ts';

/** What ends the frame of a result; see `push`. */
const NEXT_END = Buffer.from('}');

/** Operations of one socket that may wait for their answers before the socket is read no further. */
const MAX_WAITING = 500;

/** Bytes of the frame that starts a subscription: its id, document and variables are kept as long as it lives. */
const MAX_SUBSCRIPTION_BYTES = 16_384;

/** An operation that has begun and not ended. */
interface Running {
  kind: 'query' | 'subscription' | 'completed';
  /** Bytes of its frame. */
  readonly bytes: number;
}

/** What a connection carries beside graphql-ws's own state. */
interface Extra {
  context: Context;
  /** The client's network address. */
  readonly from: string;
  /** Closes the socket of somebody who takes too long to be let in. */
  readonly late: NodeJS.Timeout;
  /** Settles when the subscriptions received so far are registered: what comes later on the socket waits for them. */
  registered: Promise<unknown>;
  /**
   * Every operation that has begun and not ended, by its id. Those the client completed are gone from graphql-ws's list
   * at once, from this one when they have ended; they do not count any more.
   */
  readonly running: Map<string, Running>;
  /** Those of them that are queries or mutations. */
  readonly waiting: Backlog;
  /** Bytes of the frame that is being read. */
  frameBytes: number;
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
  readonly identify: Identify;
  readonly quotas: Quotas;
  readonly limits: Pick<Limits, 'authenticationMs' | 'subscriptionsPerSocket'>;
  readonly audit: Audit;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Where a client puts its credential: in `connection_init`, and a fresh one in a `ping`. */
interface Credentials extends Record<string, unknown> {
  readonly authorization?: unknown;
  readonly Authorization?: unknown;
}

/** Serves the `graphql-transport-ws` sub-protocol on sockets handed to it; the operations run in the gate. */
export function createGraphqlWs(options: GraphqlWsOptions) {
  const { gate, chat, identify, quotas, limits, audit, logger, metrics } = options;

  const asker = ({ from, context }: Extra): Asker => ({ who: context.viewer?.email ?? null, from, over: 'graphql-ws' });

  /** Reads a credential; closes the socket where it is not valid, or nobody can say whether it is. */
  async function authenticate(extra: Extra, what: string, params: Credentials | undefined): Promise<Session | null> {
    try {
      return await identify(params?.authorization ?? params?.Authorization);
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      if (extra.socket.ended) return null;
      audit(asker(extra), { what, outcome: error.code });
      if (error.code === 'UNAUTHENTICATED') extra.socket.close(CloseCode.Forbidden, 'Forbidden');
      else extra.socket.close(CloseCode.InternalServerError, error.message);
      return null;
    }
  }

  /** Lets somebody in, for as long as the credential lasts. */
  function admit(extra: Extra, { viewer, endsAt }: Session): void {
    if (!quotas.sockets.take(viewer.email)) {
      audit({ ...asker(extra), who: viewer.email }, { what: 'connect', outcome: 'RATE_LIMITED', why: 'sockets' });
      return extra.socket.close(CloseCode.Forbidden, 'Too many connections');
    }
    allow(extra, 'connect', { viewer, endsAt });
  }

  function allow(extra: Extra, what: string, { viewer, endsAt }: Session): void {
    extra.context = { ...extra.context, viewer };
    extra.socket.endAt(endsAt, () => audit(asker(extra), TOKEN_ENDED));
    audit(asker(extra), { what, outcome: 'allowed' });
  }

  /** A fresh credential of the same person lets the connection go on, with all that runs on it. */
  async function renew(extra: Extra, payload: Credentials | undefined): Promise<void> {
    if ((payload?.authorization ?? payload?.Authorization) === undefined) return;
    if (!extra.context.viewer) return forbid(extra, 'nobody');
    // One at a time: nothing else is read meanwhile.
    extra.socket.hold(true);
    const session = await authenticate(extra, 'renew', payload).finally(() => extra.socket.hold(false));
    if (!session || extra.socket.ended) return;
    if (session.viewer.email !== extra.context.viewer?.email) {
      return forbid(extra, 'somebody else');
    }
    allow(extra, 'renew', session);
  }

  function forbid(extra: Extra, why: string): void {
    audit(asker(extra), { what: 'renew', outcome: 'FORBIDDEN', why });
    extra.socket.close(CloseCode.Forbidden, 'Forbidden');
  }

  const server = makeServer<Credentials, Extra>({
    // The time is kept by `open`: graphql-ws's ends with the message, before the credential is checked.
    connectionInitWaitTimeout: 0,

    async onConnect({ connectionParams, extra }) {
      const session = await authenticate(extra, 'connect', connectionParams);
      if (session && !extra.socket.ended) admit(extra, session);
      clearTimeout(extra.late);
      return !extra.socket.ended;
    },

    onPing({ extra, acknowledged }, payload) {
      // It is sent back.
      if (nestsTooDeep(payload)) throw badInput('The payload nests too deep.');
      return acknowledged ? renew(extra, payload) : undefined;
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
      if (live && extra.frameBytes > MAX_SUBSCRIPTION_BYTES)
        return [gate.mask(badInput(`A subscription takes at most ${MAX_SUBSCRIPTION_BYTES} bytes.`))];
      if (live && !mayFollow(extra, subscriptions)) {
        audit(asker(extra), { what: 'subscribe', outcome: 'RATE_LIMITED', why: 'subscriptions' });
        return [gate.mask(new ChatError('RATE_LIMITED', 'Too many subscriptions.'))];
      }
      const after = live ? undefined : extra.registered;
      const wanted = () => !extra.socket.ended;
      const result = gate.run({ query: document, variables, operationName, after, wanted }, extra.context);
      extra.running.set(id, { kind: live ? 'subscription' : 'query', bytes: extra.frameBytes });
      if (!live) extra.waiting.add(extra.frameBytes);
      if (live) extra.registered = Promise.all([extra.registered, result]).then(() => {});
      const args: StartedArgs = { document, operationName, schema: gate.schema, id, socket: extra.socket, result };
      return args;
    },
    execute: push,
    subscribe: push,

    onComplete({ extra }, id) {
      end(extra, id);
    },
  });

  function mayFollow({ running, context: { viewer }, socket }: Extra, subscriptions: object): boolean {
    const user = viewer?.email ?? '';
    let here = 0;
    for (const [id, operation] of running) {
      if (operation.kind !== 'subscription') continue;
      if (id in subscriptions) here++;
      else {
        operation.kind = 'completed';
        quotas.subscriptions.give(user);
      }
    }
    return !socket.ended && here < limits.subscriptionsPerSocket && quotas.subscriptions.take(user);
  }

  function end(extra: Extra, id: string): void {
    const { kind, bytes = 0 } = extra.running.get(id) ?? {};
    extra.running.delete(id);
    if (kind === 'subscription') quotas.subscriptions.give(extra.context.viewer?.email ?? '');
    if (kind === 'query') extra.waiting.remove(bytes);
  }

  /** Results go past graphql-ws, which would make a text of each for each client; it sees a stream that only ends. */
  async function push(args: ExecutionArgs): Promise<AsyncIterableIterator<never>> {
    const { id, socket, result: starting } = args as StartedArgs;
    const result = await starting;
    const head = Buffer.from(`{"id":${JSON.stringify(id)},"type":"next","payload":`);
    const sendEvent = (json: Json) => {
      socket.sendEvent(head, ...json, NEXT_END);
      metrics.delivered();
    };
    const sendAll = async () =>
      'deliver' in result ? result.deliver(sendEvent) : socket.send(head, gate.json(result), NEXT_END);
    const stop = async () => ('deliver' in result ? result.return() : undefined);
    const end = (): IteratorReturnResult<undefined> => ({ done: true, value: undefined });
    const iterator: AsyncIterableIterator<never> = {
      next: () => sendAll().then(end),
      return: () => stop().then(end),
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  return function open(ws: WebSocket, socket: Socket, from: string): void {
    const late = setTimeout(() => {
      audit(asker(extra), { what: 'connect', outcome: 'UNAUTHENTICATED', why: 'took too long' });
      socket.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout');
    }, limits.authenticationMs);
    const extra: Extra = {
      context: {
        chat,
        viewer: null,
        drained: () => socket.drained(),
        audit: (decision) => audit(asker(extra), decision),
      },
      from,
      late,
      registered: Promise.resolve(),
      running: new Map(),
      waiting: createBacklog(socket, MAX_WAITING),
      frameBytes: 0,
      socket,
    };
    const closed = server.opened(
      {
        protocol: ws.protocol,
        send: async (text) => socket.send(Buffer.from(text)),
        close: (code = CloseCode.InternalServerError, reason = '') => socket.close(code, reason),
        onMessage(receive) {
          socket.onMessage((data) => {
            extra.frameBytes = data.length;
            receive(String(data)).catch((error: unknown) => {
              const unexpected = error instanceof Error && error.message.startsWith('Unexpected message of type');
              if (unexpected || error instanceof ChatError) {
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
    socket.onEnd((code, reason) => {
      clearTimeout(late);
      for (const id of extra.running.keys()) end(extra, id);
      const { viewer } = extra.context;
      if (viewer) quotas.sockets.give(viewer.email);
      void closed(code, reason);
    });
  };
}
