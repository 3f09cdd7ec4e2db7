import { once } from 'node:events';
import { type ClientOptions, WebSocket } from 'ws';

/** The answer to an operation; the test knows the type of `data`. */
export interface Answer {
  // biome-ignore lint/suspicious/noExplicitAny: tests read into answers of any shape, and fail where they differ
  data?: any;
  errors?: { message: string; path?: unknown; extensions: { code: string; retryAfterMs?: number } }[];
}

/** Sends an operation by POST as `user` (dev credential), or without a credential. */
export async function post(
  url: string,
  user: string | null,
  query: string,
  variables?: Record<string, unknown>,
): Promise<Answer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(user !== null && { authorization: `Bearer ${user}` }) },
    body: JSON.stringify({ query, variables }),
  });
  return (await response.json()) as Answer;
}

/** A WebSocket with frames that can be awaited one by one, in order. */
export interface Line {
  readonly socket: WebSocket;
  send(frame: unknown): void;
  /** The next frame, parsed; rejects when the socket closes first. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Answer
  next(): Promise<any>;
  /** The code and reason the socket closes with. */
  closed(): Promise<{ code: number; reason: string }>;
  close(): void;
}

/** Opens a WebSocket; rejects with `Unexpected server response: STATUS` when the upgrade is refused. */
export async function connect(url: string, protocol?: string, options: ClientOptions = {}): Promise<Line> {
  const socket = protocol ? new WebSocket(url, protocol, options) : new WebSocket(url, options);
  const frames: unknown[] = [];
  const readers: { resolve: (frame: unknown) => void; reject: (error: Error) => void }[] = [];
  const end = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => {
      resolve({ code, reason: reason.toString() });
      for (const { reject } of readers.splice(0)) reject(new Error(`closed with ${code} ${reason}`));
    });
  });
  socket.on('message', (data) => {
    const frame: unknown = JSON.parse(String(data));
    const reader = readers.shift();
    if (reader) reader.resolve(frame);
    else frames.push(frame);
  });
  await once(socket, 'open');
  socket.on('error', () => {});
  return {
    socket,
    send: (frame) => socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame)),
    next() {
      if (frames.length > 0) return Promise.resolve(frames.shift());
      if (socket.readyState > WebSocket.OPEN) return Promise.reject(new Error('the socket is closed'));
      return new Promise((resolve, reject) => readers.push({ resolve, reject }));
    },
    closed: () => end,
    close: () => socket.close(),
  };
}

/** A graphql-transport-ws connection of `user`, acknowledged. */
export interface GraphqlLine extends Line {
  /** Runs a query or mutation. */
  run(query: string, variables?: Record<string, unknown>): Promise<Answer>;
  /** Starts a subscription; `next` gives its events' results one by one, null once it completed. */
  subscribe(query: string, variables?: Record<string, unknown>): { next(): Promise<Answer | null>; stop(): void };
}

export async function connectGraphql(ws: string, user: string | null): Promise<GraphqlLine> {
  const line = await connect(`${ws}/graphql`, 'graphql-transport-ws');
  line.send({ type: 'connection_init', ...(user !== null && { payload: { authorization: `Bearer ${user}` } }) });
  const acknowledgement = await line.next();
  if (acknowledgement.type !== 'connection_ack')
    throw new Error(`not acknowledged: ${JSON.stringify(acknowledgement)}`);
  const operations = new Map<string, { results: (Answer | null)[]; wake: () => void }>();
  let ended = false;
  void (async () => {
    for (;;) {
      const { id, type, payload } = await line.next();
      const operation = operations.get(id);
      if (type === 'next') operation?.results.push(payload);
      else if (type === 'error') operation?.results.push({ errors: payload }, null);
      else if (type === 'complete') operation?.results.push(null);
      operation?.wake();
    }
  })().catch(() => {
    ended = true;
    for (const { wake } of operations.values()) wake();
  });
  let ids = 0;
  const subscribe: GraphqlLine['subscribe'] = (query, variables) => {
    const id = String(++ids);
    const operation = { results: [] as (Answer | null)[], wake: () => {} };
    operations.set(id, operation);
    line.send({ id, type: 'subscribe', payload: { query, variables } });
    return {
      async next() {
        while (operation.results.length === 0) {
          if (ended) throw new Error('the socket closed');
          await new Promise<void>((resolve) => {
            operation.wake = resolve;
          });
        }
        return operation.results.shift() ?? null;
      },
      stop: () => line.send({ id, type: 'complete' }),
    };
  };
  return {
    ...line,
    subscribe,
    async run(query, variables) {
      const operation = subscribe(query, variables);
      const answer = await operation.next();
      if (!answer) throw new Error('completed without a result');
      return answer;
    },
  };
}

/** A legacy socket of `email`, as spelled. */
export function connectLegacy(ws: string, email: string, query = ''): Promise<Line> {
  return connect(`${ws}/conversation/ws?email_id=${email}${query}`);
}

/** One frame and its one answer on a fresh legacy socket, as clients in the field do it. */
// biome-ignore lint/suspicious/noExplicitAny: as in Answer
export async function legacyOnce(ws: string, email: string, frame: unknown): Promise<any> {
  const line = await connectLegacy(ws, email);
  line.send(frame);
  const answer = await line.next();
  line.close();
  return answer;
}
