import { type ExecutionArgs, OperationTypeNode } from 'graphql';
import { CloseCode, makeServer } from 'graphql-ws';
import type { WebSocket } from 'ws';
import type { Chat } from '../../chat/chat.ts';
import { badInput, ChatError } from '../../chat/rules/errors.ts';
import type { Limits } from '../../config.ts';
import type { Executor, OperationResult } from '../../execution/executor.ts';
import { nestsTooDeep } from '../../execution/rules/json-depth.ts';
import type { Context } from '../../graphql/context.ts';
import type { Audit, AuditActor } from '../../observability/audit.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Metrics } from '../../observability/metrics.ts';
import { type Authenticate, type Session, TOKEN_ENDED } from '../admission/authenticate.ts';
import type { Quotas } from '../admission/quota.ts';
import { NOT_PERSISTED } from '../persisted-query.ts';
import { Backlog } from '../websocket/receive-queue.ts';
import type { Socket } from '../websocket/sockets.ts';

/** What ends the frame of a result; see `push`. */
const NEXT_END = Buffer.from('}');

/** Operations of one socket that may wait for their answers before the socket is read no further. */
const MAX_WAITING = 500;

/** Bytes of the frame that starts a subscription: its id, document and variables are kept as long as it lives. */
const MAX_SUBSCRIPTION_BYTES = 16_384;

/** An operation that has begun and not ended. */
interface Running {
  /** `completed`: a subscription that the client has completed. */
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
  /** The key of each operation that the client has not completed, by its id. */
  readonly keys: Map<string, string>;
  /** Every operation that has begun and not ended, by its key. */
  readonly running: Map<string, Running>;
  /** Those of them that are not live: queries, mutations, and completed subscriptions. */
  readonly waiting: Backlog;
  /** Operations since the connection began. */
  operations: number;
  /** Bytes of the frame that is being read. */
  frameBytes: number;
  readonly socket: Socket;
}

/** A message of a client, parsed and not checked. */
interface ClientMessage {
  readonly id?: unknown;
  readonly type?: unknown;
  readonly payload?: { query?: unknown; readonly extensions?: { readonly persistedQuery?: unknown } | null } | null;
}

/** Arguments of an operation that `onSubscribe` has already started. */
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

/** Where a client puts its credential: in `connection_init`, and a fresh one in a `ping`. */
interface Credentials extends Record<string, unknown> {
  readonly authorization?: unknown;
  readonly Authorization?: unknown;
}

/** Serves the `graphql-transport-ws` sub-protocol on sockets handed to it; the operations run in the gate. */
export function createGraphqlWs(options: GraphqlWsOptions) {
  const { executor, chat, authenticate, quotas, limits, audit, logger, metrics } = options;

  const asker = ({ from, context }: Extra): AuditActor => ({
    user: context.viewer?.email ?? null,
    address: from,
    transport: 'graphql-ws',
  });

  /** Reads a credential; closes the socket where it is not valid, or nobody can say whether it is. */
  async function connectAs(extra: Extra, what: string, params: Credentials | undefined): Promise<Session | null> {
    try {
      return await authenticate(params?.authorization ?? params?.Authorization);
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      if (extra.socket.ended) return null;
      audit(asker(extra), { action: what, outcome: error.code });
      if (error.code === 'UNAUTHENTICATED') extra.socket.close(CloseCode.Forbidden, 'Forbidden');
      else extra.socket.close(CloseCode.InternalServerError, error.message);
      return null;
    }
  }

  /** Lets somebody in, for as long as the credential lasts. */
  function admit(extra: Extra, { viewer, endsAt }: Session): void {
    if (!quotas.sockets.take(viewer.email)) {
      audit({ ...asker(extra), user: viewer.email }, { action: 'connect', outcome: 'RATE_LIMITED', reason: 'sockets' });
      return extra.socket.close(CloseCode.Forbidden, 'Too many connections');
    }
    allow(extra, 'connect', { viewer, endsAt });
  }

  function allow(extra: Extra, what: string, { viewer, endsAt }: Session): void {
    extra.context = { ...extra.context, viewer };
    extra.socket.endAt(endsAt, () => audit(asker(extra), TOKEN_ENDED));
    audit(asker(extra), { action: what, outcome: 'allowed' });
  }

  /** A fresh credential of the same person lets the connection go on, with all that runs on it. */
  async function renew(extra: Extra, payload: Credentials | undefined): Promise<void> {
    if ((payload?.authorization ?? payload?.Authorization) === undefined) return;
    if (!extra.context.viewer) return forbid(extra, 'nobody');
    // One at a time: nothing else is read meanwhile.
    extra.socket.hold(true);
    const session = await connectAs(extra, 'renew', payload).finally(() => extra.socket.hold(false));
    if (!session || extra.socket.ended) return;
    if (session.viewer.email !== extra.context.viewer?.email) {
      return forbid(extra, 'somebody else');
    }
    allow(extra, 'renew', session);
  }

  function forbid(extra: Extra, why: string): void {
    audit(asker(extra), { action: 'renew', outcome: 'FORBIDDEN', reason: why });
    extra.socket.close(CloseCode.Forbidden, 'Forbidden');
  }

  const server = makeServer<Credentials, Extra>({
    // The time is kept by `open`: graphql-ws's ends with the message, before the credential is checked.
    connectionInitWaitTimeout: 0,

    async onConnect({ connectionParams, extra }) {
      if (connectionParams && isMisplaced(connectionParams)) {
        audit(asker(extra), { action: 'connect', outcome: 'UNAUTHENTICATED', reason: 'credential in another place' });
        extra.socket.close(CloseCode.Forbidden, 'The payload is to be {"authorization": "Bearer TOKEN"}');
        return false;
      }
      const session = await connectAs(extra, 'connect', connectionParams);
      if (session && !extra.socket.ended) admit(extra, session);
      clearTimeout(extra.late);
      return !extra.socket.ended;
    },

    onPing({ extra, acknowledged }, payload) {
      // It is sent back.
      if (nestsTooDeep(payload)) throw badInput('The payload nests too deep.');
      return acknowledged ? renew(extra, payload) : undefined;
    },

    onSubscribe({ extra }, key, payload) {
      const { query, variables, operationName: name, extensions } = payload;
      if (query === '' && extensions?.persistedQuery) return [executor.mask(badInput(NOT_PERSISTED))];
      // An empty name is the same as none.
      const operationName = name || undefined;
      const operation = executor.prepare(query, operationName);
      if (operation.kind === 'invalid' || operation.kind === 'ambiguous') return operation.errors;
      const { kind, document } = operation;
      const live = kind === OperationTypeNode.SUBSCRIPTION;
      if (live && extra.frameBytes > MAX_SUBSCRIPTION_BYTES)
        return [executor.mask(badInput(`A subscription takes at most ${MAX_SUBSCRIPTION_BYTES} bytes.`))];
      if (live && !mayFollow(extra)) {
        audit(asker(extra), { action: 'subscribe', outcome: 'RATE_LIMITED', reason: 'subscriptions' });
        return [executor.mask(new ChatError('RATE_LIMITED', 'Too many subscriptions.'))];
      }
      const after = live ? undefined : extra.registered;
      const wanted = () => !extra.socket.ended;
      const result = executor.run({ operation, variables, after, wanted }, extra.context);
      extra.running.set(key, { kind: live ? 'subscription' : 'query', bytes: extra.frameBytes });
      if (!live) extra.waiting.add(extra.frameBytes);
      if (live) extra.registered = Promise.all([extra.registered, result]).then(() => {});
      const id = idOf(key);
      // graphql-ws keeps the payload as long as the operation runs; each has its own copy of the text.
      Object.assign(payload, { query: '' });
      const args: StartedArgs = { document, operationName, schema: executor.schema, id, socket: extra.socket, result };
      return args;
    },
    execute: push,
    subscribe: push,

    onComplete: ({ extra }, key) => end(extra, key),
    onError: ({ extra }, key) => end(extra, key),
  });

  /**
   * Reads a message, and puts a key of its own in place of the id of an operation: once a client has completed an
   * operation it may use the id again, and here the operation may take longer to end. Null where nothing is left to be
   * done.
   */
  function read(extra: Extra, text: string): ClientMessage | string | null {
    let message: ClientMessage;
    try {
      message = JSON.parse(text);
    } catch {
      return text;
    }
    const { id, type, payload } = message ?? {};
    if (typeof id !== 'string' || id === '') return text;
    const known = extra.keys.get(id);
    if (type === 'complete') {
      if (known === undefined) return null;
      extra.keys.delete(id);
      const operation = extra.running.get(known);
      if (operation?.kind === 'subscription') {
        operation.kind = 'completed';
        quotas.subscriptions.give(extra.context.viewer?.email ?? '');
        extra.waiting.add(operation.bytes);
      }
      return { ...message, id: known };
    }
    if (type !== 'subscribe') return message;
    if (known !== undefined) {
      extra.socket.close(CloseCode.SubscriberAlreadyExists, `Subscriber for ${id} already exists`);
      return null;
    }
    const key = `${++extra.operations}:${id}`;
    extra.keys.set(id, key);
    // graphql-ws closes the socket where there is no text.
    if (payload?.extensions?.persistedQuery) payload.query ??= '';
    return { ...message, id: key };
  }

  function mayFollow({ running, context: { viewer }, socket }: Extra): boolean {
    let here = 0;
    for (const { kind } of running.values()) if (kind === 'subscription') here++;
    return !socket.ended && here < limits.subscriptionsPerSocket && quotas.subscriptions.take(viewer?.email ?? '');
  }

  function end(extra: Extra, key: string): void {
    const { kind, bytes = 0 } = extra.running.get(key) ?? {};
    extra.running.delete(key);
    if (extra.keys.get(idOf(key)) === key) extra.keys.delete(idOf(key));
    if (kind === 'subscription') quotas.subscriptions.give(extra.context.viewer?.email ?? '');
    else if (kind) extra.waiting.remove(bytes);
  }

  /** Results go past graphql-ws, which would make a text of each for each client. */
  async function push(args: ExecutionArgs): Promise<AsyncIterableIterator<never>> {
    const { id, socket, result } = args as StartedArgs;
    return new Pushed(id, socket, await result, metrics);
  }

  return function open(ws: WebSocket, socket: Socket, from: string): void {
    const late = setTimeout(() => {
      audit(asker(extra), { action: 'connect', outcome: 'UNAUTHENTICATED', reason: 'took too long' });
      socket.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout');
    }, limits.authenticationMs);
    const extra: Extra = {
      context: {
        chat,
        viewer: null,
        free: () => socket.free(),
        drained: () => socket.drained(),
        audit: (decision) => audit(asker(extra), decision),
      },
      from,
      late,
      registered: Promise.resolve(),
      keys: new Map(),
      running: new Map(),
      waiting: new Backlog(socket, MAX_WAITING),
      operations: 0,
      frameBytes: 0,
      socket,
    };
    const closed = server.opened(
      {
        protocol: ws.protocol,
        send: async (text) => socket.send(Buffer.from(withId(text))),
        close: (code = CloseCode.InternalServerError, reason = '') => socket.close(code, reason),
        onMessage(receive) {
          socket.onMessage((data) => {
            extra.frameBytes = data.length;
            const message = read(extra, String(data));
            // graphql-ws takes a message that is parsed already.
            if (message !== null)
              receive(message as string).catch((error: unknown) => {
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

/** What graphql-ws sees of an operation: a stream that only ends, once all results are sent. A class, because there are many. */
class Pushed implements AsyncIterableIterator<never> {
  readonly #id: string;
  readonly #socket: Socket;
  readonly #result: OperationResult;
  readonly #metrics: Metrics;

  constructor(id: string, socket: Socket, result: OperationResult, metrics: Metrics) {
    this.#id = id;
    this.#socket = socket;
    this.#result = result;
    this.#metrics = metrics;
  }

  async next(): Promise<IteratorReturnResult<undefined>> {
    const head = Buffer.from(`{"id":${JSON.stringify(this.#id)},"type":"next","payload":`);
    if (this.#result.kind === 'stream') {
      await this.#result.deliver((json) => {
        this.#socket.sendEvent(head, ...json, NEXT_END);
        this.#metrics.delivered();
      });
    } else this.#socket.send(head, this.#result.json, NEXT_END);
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    if (this.#result.kind === 'stream') await this.#result.return();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** The id by which the client knows an operation. */
function idOf(key: string): string {
  return key.slice(key.indexOf(':') + 1);
}

/** A message of graphql-ws with the id of an operation in place of its key. */
function withId(text: string): string {
  return text.replace(/^\{"id":"\d+:/, '{"id":"');
}

const CREDENTIAL = /^(authorization|auth|auth[_-]?token|access[_-]?token|token|jwt)$/i;

/** Whether a payload has a credential where other servers look for it, and none where this one does. */
function isMisplaced({ authorization, Authorization, ...others }: Credentials): boolean {
  if ((authorization ?? Authorization) != null) return false;
  const members = { ...others, ...(typeof others.headers === 'object' && others.headers) };
  return Object.entries(members).some(([name, value]) => CREDENTIAL.test(name) && typeof value === 'string' && value);
}
