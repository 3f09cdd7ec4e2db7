import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { isQuery } from '../../web/client/connection/operation-kind.ts';
import { randomId, webSocketUrl } from '../../web/client/connection/platform.ts';
import { createClient, KredichatError, type Status, type Token, ViewerDocument } from '../../web/client/index.ts';
import { clientOf, IMPATIENT, memoryStorage, sent, when } from '../support/kredichat.ts';
import { wire } from '../support/proxy.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const KEY = { configId: 'c1', members: [ANN, BOB] };

/** The frames that a scripted server received on one connection. */
interface Frame {
  readonly type: string;
  readonly id?: string;
  readonly payload?: { readonly authorization?: string; readonly query?: string };
}

/** A scripted server: `script` is called with each frame and the number of its connection. */
async function scripted(script: (frame: Frame, socket: WebSocket, connection: number) => void): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  let connections = 0;
  server.on('connection', (socket) => {
    const mine = ++connections;
    socket.on('message', (data) => script(JSON.parse(String(data)) as Frame, socket, mine));
  });
  onTestFinished(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const acknowledge = (socket: WebSocket) => socket.send(JSON.stringify({ type: 'connection_ack' }));

/** Records all later states. */
function statesOf(status: { get(): Status; subscribe(listener: () => void): () => void }): string[] {
  const states = [status.get().state as string];
  status.subscribe(() => states.push(status.get().state));
  return states;
}

describe('the connection', () => {
  test('detects a dead connection by its heartbeat, and reconnects', async () => {
    const { url } = await startServer();
    const line = await wire(url);
    const client = clientOf(line.url, ANN, { timeouts: { ...IMPATIENT, heartbeatMs: 100, answerMs: 100 } });
    await client.viewer();
    line.freeze();
    await when(client.status, ({ state }) => state === 'offline');
    await when(client.status, ({ state }) => state === 'online');
    expect((await client.run(ViewerDocument, {})).viewer.email).toBe(ANN);
  });

  test('probes the connection at once after the machine slept', async () => {
    const { url } = await startServer();
    const line = await wire(url);
    let now = Date.now();
    const client = clientOf(line.url, ANN, { clock: () => now, timeouts: { ...IMPATIENT, answerMs: 100 } });
    await client.viewer();
    line.freeze();
    now += 3_600_000;
    // Its heartbeat would take a minute.
    await when(client.status, ({ state }) => state === 'offline');
    await when(client.status, ({ state }) => state === 'online');
  });

  test('repeats a query after an interruption, and rejects a mutation with an unknown outcome', async () => {
    const asked: string[] = [];
    const url = await scripted(({ type, id, payload }, socket, connection) => {
      if (type === 'connection_init') acknowledge(socket);
      if (type !== 'subscribe') return;
      asked.push(`${connection} ${payload?.query?.trim().split(/\W/, 1)[0]}`);
      if (connection === 1) return socket.terminate();
      socket.send(JSON.stringify({ type: 'next', id, payload: { data: { viewer: { email: ANN, role: null } } } }));
      socket.send(JSON.stringify({ type: 'complete', id }));
    });
    const client = clientOf(url, ANN);
    expect((await client.run(ViewerDocument, {})).viewer.email).toBe(ANN);
    expect(asked).toContain('1 query');
    // The first word of this one is the name of its fragment.
    const cut = await scripted(({ type, id }, socket, connection) => {
      if (type === 'connection_init') acknowledge(socket);
      if (type !== 'subscribe') return;
      if (connection === 1) return socket.terminate();
      socket.send(JSON.stringify({ type: 'next', id, payload: { data: { viewer: { email: ANN } } } }));
      socket.send(JSON.stringify({ type: 'complete', id }));
    });
    const document = '# who\n fragment mutation on Viewer { email } query { viewer { ...mutation } }';
    expect(await clientOf(cut, ANN).run(document as never, {})).toEqual({ viewer: { email: ANN } });
    const mutation = clientOf(
      await scripted(({ type, payload }, socket) => {
        if (type === 'connection_init') acknowledge(socket);
        if (payload?.query?.startsWith('mutation')) socket.terminate();
      }),
      ANN,
    ).run('mutation { x }' as never, {});
    await expect(mutation).rejects.toMatchObject({ code: 'DISCONNECTED', transient: true });
  });

  test('stops at a refused credential, reports it, and reconnects on request', async () => {
    const { url } = await startServer();
    let credential = 'nobody';
    const client = clientOf(url, '', { token: () => credential });
    const status = await when(client.status, ({ state }) => state === 'refused');
    expect(status).toMatchObject({ error: { name: 'KredichatError', code: 'UNAUTHENTICATED' } });
    await expect(client.viewer()).rejects.toBeInstanceOf(KredichatError);
    credential = ANN;
    client.reconnect();
    expect(await client.viewer()).toEqual({ email: ANN, role: null });
  });

  test('waits a random part of 5 s before it returns after a shutdown', async () => {
    const url = await scripted((_, socket, connection) =>
      connection === 1 ? socket.close(1001, 'Shutting down') : acknowledge(socket),
    );
    const client = createClient({ url, token: () => ANN, webSocketImpl: WebSocket });
    onTestFinished(() => client.close());
    const waits = vi.spyOn(globalThis, 'setTimeout');
    vi.spyOn(Math, 'random').mockReturnValue(0.75);
    onTestFinished(() => void vi.restoreAllMocks());
    await when(client.status, ({ state }) => state === 'offline');
    expect(waits).toHaveBeenCalledWith(expect.any(Function), 3750);
    client.reconnect();
    await when(client.status, ({ state }) => state === 'online');
  });

  test('asks for a fresh token after one that ended, and after a server shutdown', async () => {
    const tokens: string[] = [];
    const url = await scripted(({ type, payload }, socket, connection) => {
      if (type !== 'connection_init') return;
      tokens.push(payload?.authorization ?? '');
      acknowledge(socket);
      if (connection === 1) socket.close(4401, 'Token ended');
      if (connection === 2) socket.close(1001, 'Shutting down');
      if (connection === 3) socket.close(4413, 'Too far behind');
    });
    let count = 0;
    const client = clientOf(url, '', { token: async () => `t${++count}` });
    const states = statesOf(client.status);
    await expect.poll(() => tokens.length).toBe(4);
    await when(client.status, ({ state }) => state === 'online');
    expect(tokens).toEqual(['Bearer t1', 'Bearer t2', 'Bearer t3', 'Bearer t4']);
    expect(states).not.toContain('refused');
  });

  test('subscribes from its present position after the token ended, not from the first one', async () => {
    const asked: unknown[] = [];
    const url = await scripted((frame, socket, connection) => {
      const { type, id, payload } = frame as Frame & { payload?: { variables?: { afterSeq?: number } } };
      if (type === 'connection_init') acknowledge(socket);
      if (type !== 'subscribe' || !payload?.query?.includes('messageAdded')) return;
      asked.push(payload.variables?.afterSeq);
      const next = (seq: number) =>
        socket.send(JSON.stringify({ type: 'next', id, payload: { data: { messageAdded: { seq } } } }));
      if (connection > 1) return [7, 8, 9].forEach(next);
      [6, 7].forEach(next);
      const ended = { message: 'The token ended', extensions: { code: 'UNAUTHENTICATED' } };
      socket.send(JSON.stringify({ type: 'error', id, payload: [ended] }));
      socket.close(4401, 'Token ended');
    });
    const seen: number[] = [];
    for await (const { seq } of clientOf(url, ANN).messages('c', 5)) if (seen.push(seq) === 4) break;
    expect(seen).toEqual([6, 7, 8, 9]);
    expect(asked).toEqual([5, 7]);
  });

  test('renews a token before it ends, over the open connection', async () => {
    const frames: Frame[] = [];
    const url = await scripted((frame, socket) => {
      if (frame.type === 'connection_init') acknowledge(socket);
      else socket.send(JSON.stringify({ type: 'pong' }));
      if (frame.type !== 'subscribe') frames.push(frame);
    });
    let count = 0;
    const token = (): Token => ({ token: `t${++count}`, endsAt: Date.now() + (count === 1 ? 1500 : 3_600_000) });
    clientOf(url, '', { token });
    await expect.poll(() => frames.length).toBe(2);
    expect(frames).toEqual([
      { type: 'connection_init', payload: { authorization: 'Bearer t1' } },
      { type: 'ping', payload: { authorization: 'Bearer t2' } },
    ]);
  });

  test('asks for a token again after a failure, and gives up after UNAUTHENTICATED', async () => {
    const { url } = await startServer();
    let count = 0;
    const client = clientOf(url, '', {
      token: () => {
        if (++count < 3) throw new Error('no network');
        return ANN;
      },
    });
    expect(await client.viewer()).toEqual({ email: ANN, role: null });
    const other = clientOf(url, '', {
      token: () => Promise.reject(new KredichatError('UNAUTHENTICATED', 'Signed out')),
    });
    expect(await when(other.status, ({ state }) => state === 'refused')).toMatchObject({
      error: { message: 'Signed out' },
    });
  });

  test.each([null, undefined, '', ' ', { token: '', endsAt: Date.now() + 60_000 }])(
    'is refused without a credential: %j',
    async (empty) => {
      const { url } = await startServer();
      let credential: unknown = empty;
      const client = clientOf(url, '', { token: () => credential as Token });
      const waiting = client.viewer();
      expect(await when(client.status, ({ state }) => state !== 'connecting')).toMatchObject({
        ...{ state: 'refused', error: { code: 'UNAUTHENTICATED' } },
      });
      await expect(waiting).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
      credential = ANN;
      client.reconnect();
      expect((await client.viewer()).email).toBe(ANN);
    },
  );

  test('reports why it is offline', async () => {
    const failing = clientOf('ws://127.0.0.1:1', '', { token: () => Promise.reject(new Error('no such account')) });
    expect(await when(failing.status, ({ state }) => state === 'offline')).toMatchObject({
      error: { name: 'KredichatError', message: 'no such account' },
    });
    const unreachable = clientOf('ws://127.0.0.1:1', ANN);
    expect(await when(unreachable.status, ({ state }) => state === 'offline')).toMatchObject({
      error: { code: 'DISCONNECTED' },
    });
  });

  test('reports an address that the WebSocket constructor refuses', async () => {
    // As browsers do for `ws:` in a page of `https:`.
    const Insecure = class {
      constructor() {
        throw new DOMException('An insecure WebSocket connection may not be initiated', 'SecurityError');
      }
    };
    const client = clientOf('ws://127.0.0.1:1', ANN, { webSocketImpl: Insecure as never });
    const waiting = client.viewer();
    expect(await when(client.status, ({ state }) => state !== 'connecting')).toMatchObject({
      ...{ state: 'refused', error: { code: 'BAD_USER_INPUT', message: expect.stringContaining('insecure') } },
    });
    await expect(waiting).rejects.toMatchObject({ code: 'BAD_USER_INPUT' });
  });

  test.each([
    ...['', ' ', 'graphql', 'localhost:4611/graphql', 'chat.example.com/graphql', 'ftp://chat.example.com/graphql'],
    ...['http://', 'http:/x', 'ws://a b/graphql', 'http://127.0.0.1:99999/graphql', '/graphql', './graphql', undefined],
  ])('is not created for an unusable address: %j', (url) => {
    const create = () => createClient({ url: url as string, token: () => ANN, webSocketImpl: WebSocket });
    expect(create).toThrow(/^url .*(address|path)/);
  });

  test('accepts HTTP addresses and, in a page, paths', () => {
    expect(webSocketUrl('HTTPS://chat.example.com/graphql')).toBe('wss://chat.example.com/graphql');
    expect(webSocketUrl('http://127.0.0.1:4000/graphql#x')).toBe('ws://127.0.0.1:4000/graphql');
    expect(webSocketUrl(' ws://[::1]:4000/graphql?x=1\n')).toBe('ws://[::1]:4000/graphql?x=1');
    vi.stubGlobal('location', { href: 'https://example.com/chat/?x=1#/c/1' });
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(webSocketUrl('/graphql')).toBe('wss://example.com/graphql');
    expect(webSocketUrl('./graphql')).toBe('wss://example.com/chat/graphql');
    expect(webSocketUrl('//chat.example.com/graphql')).toBe('wss://chat.example.com/graphql');
    vi.stubGlobal('location', { href: 'file:///index.html' });
    expect(() => webSocketUrl('/graphql')).toThrow(TypeError);
  });

  test.each([
    ['query { a }', true],
    ['{ a }', true],
    ['\uFEFF, # mutation\r\n# again\n query A($x: I = {a: "}"}) @d(x: {y: 1}) { a }', true],
    ['fragment F on T @d(x: {y: 1}) { a(x: {b: "}"}) { b } } query { ...F }', true],
    ['fragment mutation on T { a } { ...mutation }', true],
    ['"""A \\""" mutation {"""\nquery { a }', true],
    ['query ($x: S = "mutation") { a }', true],
    ['mutation { a }', false],
    ['fragment query on T { a } mutation { ...query }', false],
    ['# query\n mutation { a }', false],
    ['"""query {""" mutation query { a }', false],
    ['"{" subscription { a }', false],
    ['', false],
  ])('recognizes a query: %j', (document, expected) => {
    expect(isQuery(document)).toBe(expected);
  });

  test('generates client ids where the platform has no random bytes', () => {
    vi.stubGlobal('crypto', undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    const ids = Array.from({ length: 1000 }, randomId);
    expect(new Set(ids).size).toBe(1000);
    for (const id of ids) expect(id).toMatch(/^[\da-f]{32}$/);
  });

  test('stays closed, with operations still pending', async () => {
    const client = clientOf('ws://127.0.0.1:1', ANN);
    const waiting = client.viewer();
    const events = client.messages('c', 0);
    const next = events.next();
    client.close();
    await expect(waiting).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
    expect(await next).toEqual({ done: true, value: undefined });
    await expect(client.viewer()).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
    client.reconnect();
    expect(client.status.get()).toEqual({ state: 'closed' });
  });
});

describe('the outbox', () => {
  test('reports why a message failed, and sends the others', async () => {
    const { url } = await startServer();
    const client = clientOf(url, ANN);
    const alone = client.outbox.send({ to: { key: { configId: 'c1', members: [ANN, 'nobody'] } }, text: 'x' });
    const foreign = client.outbox.send({ to: { id: 'nothing' }, text: 'y' });
    await sent(client, { to: { key: KEY }, text: 'z' });
    const failed = await when(client.outbox, (items) => items.every(({ state }) => state === 'failed'));
    expect(failed.map(({ clientId, failure }) => [clientId, failure?.code, failure?.retry])).toEqual([
      [alone.clientId, 'BAD_USER_INPUT', false],
      [foreign.clientId, 'NOT_FOUND', false],
    ]);
    client.outbox.discard(alone.clientId);
    client.outbox.retry(foreign.clientId);
    expect(client.outbox.get()).toMatchObject([{ clientId: foreign.clientId, state: 'queued' }]);
    await when(client.outbox, ([item]) => item?.state === 'failed');
  });

  test('waits as long as the server asks, and repeats an unknown outcome with the same client id', async () => {
    const answers = [
      { message: 'slow down', extensions: { code: 'RATE_LIMITED', retryAfterMs: 5 } },
      { message: 'outcome unknown', extensions: { code: 'UNAVAILABLE', retryAfterMs: 5 } },
    ];
    const ids: unknown[] = [];
    const url = await scripted((frame, socket) => {
      const { type, id, payload } = frame as Frame & { payload?: { variables?: { input?: { clientId: string } } } };
      if (type === 'connection_init') acknowledge(socket);
      if (type !== 'subscribe') return;
      const reply = (body: object) => {
        socket.send(JSON.stringify({ type: 'next', id, payload: body }));
        socket.send(JSON.stringify({ type: 'complete', id }));
      };
      if (!payload?.query?.includes('SendMessage')) return reply({ data: { viewer: { email: ANN, role: null } } });
      ids.push(payload.variables?.input?.clientId);
      const error = answers.shift();
      if (error) return reply({ data: null, errors: [error] });
      reply({ data: { sendMessage: { message: { seq: 1, conversationId: 'c' } } } });
    });
    const client = clientOf(url, ANN);
    const item = client.outbox.send({ to: { id: 'c' }, text: 'x' });
    await when(client.outbox, (items) => items.length === 0);
    expect(ids).toEqual([item.clientId, item.clientId, item.clientId]);
  });

  test('fails a message that is too large for the server, instead of retrying without end', async () => {
    const { url } = await startServer({ MAX_FRAME_BYTES: '4096' });
    const client = clientOf(url, ANN);
    client.outbox.send({ to: { key: KEY }, text: 'x'.repeat(9000) });
    const [item] = await when(client.outbox, ([first]) => first?.state === 'failed');
    expect(item?.failure).toMatchObject({ code: 'TOO_LARGE', retry: false });
  });

  test('is not stopped by a listener that throws, nor by foreign entries in its storage', async () => {
    const { url } = await startServer();
    const storage = memoryStorage();
    storage.setItem(`kredichat:outbox:${ANN}:x`, 'no JSON');
    storage.setItem(`kredichat:outbox:${ANN}:y`, '{"clientId":"y"}');
    const client = clientOf(url, ANN, { storage });
    const reported = new Promise((resolve) => {
      const others = process.listeners('uncaughtException');
      process.removeAllListeners('uncaughtException');
      process.once('uncaughtException', (error) => {
        for (const other of others) process.on('uncaughtException', other);
        resolve(error);
      });
    });
    client.outbox.onSent(() => {
      throw new Error('of the listener');
    });
    await sent(client, { to: { key: KEY }, text: 'one' });
    expect(await reported).toMatchObject({ message: 'of the listener' });
    await sent(clientOf(url, ANN, { storage }), { to: { key: KEY }, text: 'two' });
  });

  test.each(['setItem', 'getItem', 'removeItem', 'key', 'length'])(
    'works where storage refuses %s',
    async (refused) => {
      const { url } = await startServer();
      const storage = memoryStorage();
      storage.setItem('other', 'x');
      Object.defineProperty(storage, refused, {
        get: () => {
          throw new Error('QuotaExceededError');
        },
      });
      const client = clientOf(url, ANN, { storage });
      expect((await sent(client, { to: { key: KEY }, text: 'x' })).seq).toBe(1);
    },
  );
});
