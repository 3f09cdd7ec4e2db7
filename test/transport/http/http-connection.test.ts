import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openRaw, type RawConnection } from '../../support/raw-http.ts';
import { startServer } from '../../support/server.ts';

const QUERY = '{"query":"{ viewer { email } }"}';
const ANN = 'Authorization: Bearer ann@example.com\r\n';
const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';

/** A request with a body, in the two parts that may come at different times. */
function request(line: string, fields: string, body = QUERY): [head: string, body: string] {
  const length = `Content-Length: ${body.length}\r\n`;
  return [`${line} HTTP/1.1\r\nHost: x\r\n${fields}${/transfer-encoding/i.test(fields) ? '' : length}\r\n`, body];
}

function chunks(body: string, size = body.length): string {
  const parts = body.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
  return `${parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('')}0\r\n\r\n`;
}

/** Either the connection stays usable, or the answer announces its close and the server closes it. */
async function expectUsable(connection: RawConnection, said: string | undefined, name: string): Promise<void> {
  if (said === 'close') {
    expect(await connection.next(), name).toBeNull();
    return;
  }
  connection.send(HEALTH);
  expect(await connection.next(), name).toMatchObject({ status: 200, body: 'ok\n' });
  connection.socket.destroy();
}

const JSON_TYPE = 'Content-Type: application/json\r\n';
const REFUSED: [name: string, status: number, line: string, fields: string][] = [
  ['no such path', 404, 'POST /nothing', JSON_TYPE],
  ['a method of no page', 405, 'POST /', JSON_TYPE],
  ['a method of no probe', 405, 'POST /healthz', JSON_TYPE],
  ['a method of no operation', 405, 'PUT /graphql', JSON_TYPE],
  ['another type', 415, 'POST /graphql', 'Content-Type: text/plain\r\n'],
  ['no type', 415, 'POST /graphql', ''],
  ['a content coding', 415, 'POST /graphql', `${JSON_TYPE}Content-Encoding: gzip\r\n`],
  ['no acceptable type', 406, 'POST /graphql', `${JSON_TYPE}Accept: image/png\r\n`],
  ['a foreign origin', 403, 'POST /graphql', `${JSON_TYPE}Origin: https://evil.example\r\n`],
  ['a malformed host', 400, 'POST /graphql', `${JSON_TYPE}Host: y\r\n`],
  ['a preflight with a body', 204, 'OPTIONS /graphql', ''],
  ['a GET with a body', 400, 'GET /graphql', JSON_TYPE],
  ['a mutation by GET', 405, 'GET /graphql?query=mutation{__typename}', ''],
  ['a page with a body', 200, 'GET /', ''],
];

describe('an answer before the body was read', () => {
  test.each(REFUSED)('leaves the connection usable, or announces its close: %s', async (_, status, line, fields) => {
    const { url } = await startServer();
    const [head, body] = request(line, fields);
    const large = 'x'.repeat(400_000);
    const [largeHead] = request(line, fields, large);
    const [chunkedHead] = request(line, `${fields}Transfer-Encoding: chunked\r\n`);
    for (const [name, first, ...later] of [
      ['whole', head + body],
      ['a body that comes late', head, body],
      ['a body that comes in parts', head, body.slice(0, 5), body.slice(5)],
      ['chunks', chunkedHead + chunks(body, 10)],
      ['chunks that come late', chunkedHead, chunks(body, 10)],
      ['a large body', largeHead, large.slice(0, 300_000), large.slice(300_000)],
      ['large chunks', chunkedHead, chunks(large, 50_000)],
    ] as const) {
      const connection = openRaw(url);
      connection.send(first);
      const answer = await connection.next();
      expect([status, 413], name).toContain(answer?.status);
      if (!name.includes('large')) expect(answer?.status, name).toBe(status);
      for (const part of later) connection.send(part);
      await expectUsable(connection, answer?.headers.get('connection'), name);
    }
  });

  test.each(REFUSED)('is sent to a client that expects 100-continue: %s', async (_, status, line, fields) => {
    const { url } = await startServer();
    const [head, body] = request(line, `${fields}Expect: 100-continue\r\n`);
    const connection = openRaw(url);
    connection.send(head);
    let answer = await connection.next();
    if (answer?.status === 100) {
      connection.send(body);
      answer = await connection.next();
    }
    expect(answer?.status).toBe(status);
    await expectUsable(connection, answer?.headers.get('connection'), '');
  });

  test('keeps the connection if the body is small, as a proxy may reuse it for other clients', async () => {
    const { url } = await startServer();
    for (const [name, , line, fields] of REFUSED) {
      const connection = openRaw(url);
      const [head, body] = request(line, fields);
      connection.send(head);
      expect((await connection.next())?.headers.get('connection'), name).toBe('keep-alive');
      connection.send(body + HEALTH);
      expect(await connection.next(), name).toMatchObject({ status: 200, body: 'ok\n' });
      connection.socket.destroy();
    }
  });

  test('is read by a client that sends all of its body first', async () => {
    const { url } = await startServer();
    const body = 'x'.repeat(3_000_000);
    for (const fields of [JSON_TYPE, `${JSON_TYPE}Transfer-Encoding: chunked\r\n`]) {
      const connection = openRaw(url);
      const [head] = request('POST /graphql', fields, body);
      connection.socket.pause();
      connection.send(head);
      connection.send(fields === JSON_TYPE ? body : chunks(body, 50_000));
      if (connection.socket.writableNeedDrain) await once(connection.socket, 'drain');
      connection.socket.resume();
      const answer = await connection.next();
      expect(answer?.status).toBe(413);
      expect(answer?.headers.get('connection')).toBe('close');
      expect(await connection.next()).toBeNull();
    }
  });

  test('with Connection: close is the last one: later requests are not processed', async () => {
    const { url } = await startServer();
    const connection = openRaw(url);
    const [head] = request('POST /nothing', 'Transfer-Encoding: chunked\r\n');
    connection.send(head);
    expect((await connection.next())?.headers.get('connection')).toBe('close');
    connection.send(chunks(QUERY) + HEALTH);
    expect(await connection.next()).toBeNull();
  });
});

describe('a request with an Upgrade field that is not for a WebSocket', () => {
  const UPGRADES = [
    'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n',
    'connection: upgrade\r\nupgrade: TLS/1.0\r\n',
    'Connection: keep-alive, Upgrade\r\nUpgrade: h2c, IRC/6.9\r\n',
    'Connection: HTTP2-Settings\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n',
  ];

  test.each(UPGRADES)('is answered as if it had none: %j', async (upgrade) => {
    const { url } = await startServer();
    const connection = openRaw(url);
    const [post, body] = request('POST /graphql', `${ANN}${JSON_TYPE}${upgrade}`);
    const [chunked] = request('POST /graphql', `${ANN}${JSON_TYPE}${upgrade}Transfer-Encoding: chunked\r\n`);
    const viewer = { status: 200, body: '{"data":{"viewer":{"email":"ann@example.com"}}}' };
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`;
    // On one connection: at once, in parts, in chunks, with another request right behind it.
    connection.send(post + body);
    expect(await connection.next()).toMatchObject(viewer);
    connection.send(post);
    connection.send(body.slice(0, 7));
    await setTimeout(20);
    connection.send(body.slice(7));
    expect(await connection.next()).toMatchObject(viewer);
    connection.send(chunked + chunks(body, 9));
    expect(await connection.next()).toMatchObject(viewer);
    connection.send(post + body + HEALTH + get('/readyz') + get('/') + get('/nothing') + post + body + HEALTH);
    expect(await connection.next()).toMatchObject(viewer);
    expect(await connection.next()).toMatchObject({ body: 'ok\n' });
    expect(await connection.next()).toMatchObject({ body: 'ready\n' });
    expect(await connection.next()).toMatchObject({ body: expect.stringContaining('<h1>Kredichat</h1>') });
    expect(await connection.next()).toMatchObject({ status: 404 });
    expect(await connection.next()).toMatchObject(viewer);
    expect(await connection.next()).toMatchObject({ body: 'ok\n' });
    // A client may close its side when it has sent its last request.
    connection.socket.end(post + body);
    expect(await connection.next()).toMatchObject(viewer);
    expect(await connection.next()).toBeNull();
  });

  test('is not counted as another connection', async () => {
    const { url } = await startServer({ MAX_SOCKETS_PER_ADDRESS: '1', TRUSTED_PROXIES: '10.0.0.1' });
    const connection = openRaw(url);
    for (let i = 0; i < 30; i++) {
      connection.send(`GET /healthz HTTP/1.1\r\nHost: x\r\n${UPGRADES[0]}\r\n`);
      expect(await connection.next()).toMatchObject({ body: 'ok\n' });
    }
  });

  test('accepts a body after 100-continue', async () => {
    const { url } = await startServer();
    const connection = openRaw(url);
    const [post, body] = request('POST /graphql', `${ANN}${JSON_TYPE}${UPGRADES[0]}Expect: 100-continue\r\n`);
    connection.send(post);
    expect((await connection.next())?.status).toBe(100);
    connection.send(body);
    expect((await connection.next())?.status).toBe(200);
  });

  test('may have any method, path or version, or name a WebSocket on a path without one', async () => {
    const { url } = await startServer();
    const websocket = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n';
    const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    for (const [line, status] of [
      ['GET /healthz HTTP/1.1', 200],
      ['GET /nothing HTTP/1.1', 404],
      ['POST /graphql HTTP/1.1', 415],
      ['DELETE /conversation/ws HTTP/1.1', 404],
      ['GET /healthz HTTP/1.0', 200],
      ['GET /graphql?query={__typename} HTTP/1.0', 200],
    ] as const) {
      const connection = openRaw(url);
      connection.send(`${line}\r\nHost: x\r\n${websocket}${key}\r\n`);
      expect((await connection.next())?.status, line).toBe(status);
      connection.socket.destroy();
    }
    // One of several protocols, in any case.
    const connection = openRaw(url);
    const several = websocket.replace('websocket', 'h2c, WebSocket');
    connection.send(`GET /graphql HTTP/1.1\r\nHost: x\r\n${several}${key}\r\n`);
    expect((await connection.next())?.status).toBe(101);
    connection.socket.destroy();
  });

  test('may be followed by a WebSocket upgrade on the same connection', async () => {
    const { url } = await startServer();
    const connection = openRaw(url);
    connection.send(`GET /healthz HTTP/1.1\r\nHost: x\r\n${UPGRADES[0]}\r\n`);
    expect(await connection.next()).toMatchObject({ body: 'ok\n' });
    const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n';
    connection.send(`GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${key}\r\n`);
    expect(await connection.next()).toMatchObject({ status: 101 });
    connection.socket.destroy();
  });
});

const upgrade = (path: string, fields: string) =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${fields}\r\n`;

test.each([
  ['an upgrade', 101, upgrade('/graphql', '')],
  ['a refused upgrade', 403, upgrade('/graphql', 'Origin: https://evil.example\r\n')],
  ['CONNECT', 501, 'CONNECT chat.example.com:443 HTTP/1.1\r\nHost: chat.example.com:443\r\n\r\n'],
])('%s is answered after the requests before it', async (_, status, bytes) => {
  const { url } = await startServer();
  const connection = openRaw(url);
  connection.send(request('POST /graphql', `${ANN}${JSON_TYPE}`).join('') + bytes);
  expect(await connection.next()).toMatchObject({ status: 200 });
  expect(await connection.next()).toMatchObject({ status });
  connection.socket.destroy();
});

test('a client of HTTP/1.0 may keep its connection', async () => {
  const { url } = await startServer();
  const connection = openRaw(url);
  for (const [path, status] of [
    ['/healthz', 200],
    ['/readyz', 200],
    ['/nothing', 404],
    ['/metrics', 200],
  ] as const) {
    connection.send(`GET ${path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`);
    expect((await connection.next())?.status, path).toBe(status);
  }
  connection.socket.destroy();
});

describe('a refused upgrade', () => {
  test.each([
    ['/graphql', 403, 'Origin: https://evil.example\r\n'],
    ['/conversation/ws', 400, ''],
    ['/conversation/ws?email_id=ann@example.com', 401, ''],
    ['/conversation/ws?email_id=ann@example.com', 401, 'Content-Length: 5\r\n'],
    ['/graphql', 400, 'Host: y\r\n'],
  ])('of %s with %i announces the close, though the client sends more', async (path, status, fields) => {
    const { url } = await startServer({ AUTH_MODE: 'jwt', JWT_SECRET: 'x'.repeat(32) });
    const connection = openRaw(url);
    connection.send(upgrade(path, fields) + 'x'.repeat(100_000));
    const answer = await connection.next();
    expect(answer?.status).toBe(status);
    expect(answer?.headers.get('connection')).toBe('close');
    if (status === 401) expect(answer?.headers.get('www-authenticate')).toBe('Bearer');
    expect(await connection.next()).toBeNull();
  });
});

describe('an idle connection', () => {
  test('is kept for the configured time, which is longer than that of load balancers', async () => {
    const kept = openRaw((await startServer()).url);
    kept.send(HEALTH);
    expect((await kept.next())?.headers.get('keep-alive')).toBe('timeout=75');
    kept.socket.destroy();
    const short = openRaw((await startServer({ KEEP_ALIVE_SECONDS: '1' })).url);
    short.send(HEALTH);
    expect((await short.next())?.headers.get('keep-alive')).toBe('timeout=1');
    expect(await short.next()).toBeNull();
  });

  test('does not delay a stop, and the last answers announce the close', async () => {
    const { url, server, store } = await startServer();
    const idle = openRaw(url);
    idle.send(HEALTH);
    await idle.next();
    let asked = () => {};
    const asking = new Promise<void>((resolve) => {
      asked = resolve;
    });
    let letGo = () => {};
    const { chatList } = store;
    store.chatList = async (...args) => {
      asked();
      await new Promise<void>((resolve) => {
        letGo = resolve;
      });
      return chatList(...args);
    };
    const busy = openRaw(url);
    busy.send(request('POST /graphql', `${ANN}${JSON_TYPE}`, '{"query":"{ chatList { unreadTotal } }"}').join(''));
    await asking;
    const stopped = server.close();
    expect(await idle.next()).toBeNull();
    letGo();
    const answer = await busy.next();
    expect(answer?.status).toBe(200);
    expect(answer?.headers.get('connection')).toBe('close');
    await stopped;
  });
});
