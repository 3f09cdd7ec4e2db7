import { request } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { getIntrospectionQuery } from 'graphql';
import { SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { connect, post } from '../../support/clients.ts';
import { openRaw } from '../../support/raw-http.ts';
import { startServer } from '../../support/server.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const ANN = { authorization: 'Bearer ann@example.com' };

/** Sends a request of any form to /graphql; returns the answer. */
async function raw(url: string, init: RequestInit, path = '/graphql') {
  const response = await fetch(`${url}${path}`, init);
  const text = await response.text();
  const type = response.headers.get('content-type') ?? '';
  return { status: response.status, headers: response.headers, body: /json/.test(type) ? JSON.parse(text) : text };
}

describe('GraphQL over HTTP', () => {
  test('answers a request that did not run with the status the specification asks for', async () => {
    const { url } = await startServer();
    const modern = { ...JSON_TYPE, accept: 'application/graphql-response+json' };
    const cases: [string, RequestInit, number, string][] = [
      ['bad JSON', { headers: JSON_TYPE, body: '{"query":' }, 400, 'BAD_USER_INPUT'],
      [
        'invalid UTF-8',
        { headers: JSON_TYPE, body: Buffer.from('{"query":"{ viewer { email } } #\xff"}', 'latin1') },
        400,
        'BAD_USER_INPUT',
      ],
      ['a batch', { headers: JSON_TYPE, body: '[{"query":"{ viewer { email } }"}]' }, 400, 'BAD_USER_INPUT'],
      ['no query', { headers: JSON_TYPE, body: '{}' }, 400, 'BAD_USER_INPUT'],
      ['a query of null', { headers: JSON_TYPE, body: '{"query":null}' }, 400, 'BAD_USER_INPUT'],
      ['null', { headers: JSON_TYPE, body: 'null' }, 400, 'BAD_USER_INPUT'],
      ['a query of a number', { headers: JSON_TYPE, body: '{"query":1}' }, 400, 'BAD_USER_INPUT'],
      [
        'variables of text',
        { headers: JSON_TYPE, body: '{"query":"{ viewer { email } }","variables":"x"}' },
        400,
        'BAD_USER_INPUT',
      ],
      [
        'a form',
        { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'query={viewer{email}}' },
        415,
        'BAD_USER_INPUT',
      ],
      [
        'text',
        { headers: { 'content-type': 'text/plain' }, body: '{"query":"{ viewer { email } }"}' },
        415,
        'BAD_USER_INPUT',
      ],
      [
        'graphql',
        { headers: { 'content-type': 'application/graphql' }, body: '{ viewer { email } }' },
        415,
        'BAD_USER_INPUT',
      ],
      ['too large a body', { headers: JSON_TYPE, body: `{"query":"#${'x'.repeat(262_144)}"}` }, 413, 'TOO_LARGE'],
      ['a parse error', { headers: modern, body: '{"query":"{"}' }, 400, 'BAD_USER_INPUT'],
      ['a validation error', { headers: modern, body: '{"query":"{ nothing }"}' }, 400, 'BAD_USER_INPUT'],
      ['a validation error, as before', { headers: JSON_TYPE, body: '{"query":"{ nothing }"}' }, 200, 'BAD_USER_INPUT'],
      [
        'a bad variable',
        { headers: modern, body: '{"query":"query ($id: ID!) { node(id: $id) { id } }"}' },
        400,
        'BAD_USER_INPUT',
      ],
      [
        'two operations and no name',
        { headers: JSON_TYPE, body: '{"query":"query A { viewer { email } } query B { viewer { email } }"}' },
        400,
        'BAD_USER_INPUT',
      ],
      [
        'a subscription',
        { headers: JSON_TYPE, body: '{"query":"subscription { chatListChanged { id } }"}' },
        400,
        'BAD_USER_INPUT',
      ],
      [
        'a bad credential',
        { headers: { ...JSON_TYPE, authorization: 'Bearer nobody' }, body: '{"query":"{ viewer { email } }"}' },
        401,
        'UNAUTHENTICATED',
      ],
      [
        'an unknown role',
        {
          headers: { ...JSON_TYPE, authorization: 'Bearer ann@example.com:KING' },
          body: '{"query":"{ viewer { email } }"}',
        },
        401,
        'UNAUTHENTICATED',
      ],
      [
        'another scheme',
        { headers: { ...JSON_TYPE, authorization: 'Basic ann@example.com' }, body: '{"query":"{ viewer { email } }"}' },
        401,
        'UNAUTHENTICATED',
      ],
    ];
    for (const [name, init, status, code] of cases) {
      const answer = await raw(url, { method: 'POST', ...init, headers: { ...ANN, ...init.headers } });
      expect(answer.status, name).toBe(status);
      expect(answer.body.data, name).toBeUndefined();
      for (const error of answer.body.errors) expect(error.extensions, name).toEqual({ code });
    }
  });

  test('measures a body without Content-Length', async () => {
    const { url } = await startServer();
    const status = await new Promise((resolve, reject) => {
      const post = request(`${url}/graphql`, { method: 'POST', headers: { ...JSON_TYPE, ...ANN } }, (response) =>
        resolve(response.statusCode),
      );
      post.on('error', reject);
      for (let i = 0; i < 5; i++) post.write('x'.repeat(65_536));
      post.end();
    });
    expect(status).toBe(413);
  });

  test('answers queries by GET, but not mutations', async () => {
    const { url } = await startServer();
    const get = (query: string) => raw(url, { headers: ANN }, `/graphql?query=${encodeURIComponent(query)}`);
    expect((await get('{ viewer { email role } }')).body).toEqual({
      data: { viewer: { email: 'ann@example.com', role: null } },
    });
    const mutation =
      'mutation { sendMessage(input: { ' +
      'to: { key: { configId: "c", members: ["ann@example.com", "b@example.com"] } }, ' +
      'text: "x" }) { message { id } } }';
    expect(await get(mutation)).toMatchObject({
      status: 405,
      body: { errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] },
    });
    expect((await post(url, 'ann@example.com', '{ chatList { nodes { id } } }')).data.chatList.nodes).toEqual([]);
    expect((await raw(url, { method: 'PUT' })).status).toBe(405);
    for (const path of [
      '/graphql',
      '/graphql?query={viewer{email}}&variables={',
      '/graphql?query={viewer{email}}&extensions=x',
    ]) {
      const answer = await raw(url, { headers: ANN }, path);
      expect(answer, path).toMatchObject({
        status: 400,
        body: { errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] },
      });
    }
  });

  test('refuses a malformed Host header without details of the implementation', async () => {
    const { url } = await startServer();
    const { port } = new URL(url);
    for (const host of ['a b', ']:[', 'a:b', 'a/b', 'a@b', 'a?b', 'a#b', 'a\\b']) {
      const socket = connectTcp(Number(port), '127.0.0.1');
      socket.end(`GET /graphql HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      let answer = '';
      for await (const chunk of socket) answer += chunk;
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      expect(answer).not.toMatch(/node_modules|at .*:\d+/);
    }
  });

  test('answers HEAD as GET, without the body', async () => {
    const { url } = await startServer();
    const path = '/graphql?query={viewer{email}}';
    const [get, head] = [
      await raw(url, { headers: ANN }, path),
      await fetch(`${url}${path}`, { method: 'HEAD', headers: ANN }),
    ];
    expect(head.status).toBe(200);
    for (const name of ['content-type', 'content-length', 'vary'])
      expect(head.headers.get(name)).toBe(get.headers.get(name));
    expect(await head.text()).toBe('');
  });

  test('accepts the further parameters that clients send, and null or empty ones as absent', async () => {
    const { url } = await startServer();
    const viewer = { status: 200, body: { data: { viewer: { email: 'ann@example.com' } } } };
    const query = 'query A { viewer { email } }';
    for (const members of [
      { id: 'ViewerQuery', doc_id: null, other: [1] },
      { operationName: '' },
      { operationName: null, variables: null, extensions: null },
      { extensions: { persistedQuery: { version: 1, sha256Hash: '0'.repeat(64) } } },
    ]) {
      const body = JSON.stringify({ query, ...members });
      const headers = { ...JSON_TYPE, ...ANN };
      expect(await raw(url, { method: 'POST', headers, body }), body).toMatchObject(viewer);
    }
    for (const search of ['_=123&id=x', 'operationName=', 'variables=', 'variables=&extensions=&operationName=']) {
      const path = `/graphql?query=${encodeURIComponent(query)}&${search}`;
      expect(await raw(url, { headers: ANN }, path), search).toMatchObject(viewer);
    }
    const [, port] = /:(\d+)$/.exec(url) ?? [];
    const connection = openRaw(url);
    const target = `http://127.0.0.1:${port}/graphql?query=${encodeURIComponent(query)}`;
    connection.send(
      `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ann@example.com\r\n\r\n`,
    );
    expect(JSON.parse((await connection.next())?.body ?? '')).toEqual(viewer.body);
    connection.socket.destroy();
  });

  test('tells a client with automatic persisted queries to send the text', async () => {
    const { url } = await startServer();
    const extensions = JSON.stringify({ persistedQuery: { version: 1, sha256Hash: '0'.repeat(64) } });
    const answer = { errors: [{ message: 'PersistedQueryNotSupported', extensions: { code: 'BAD_USER_INPUT' } }] };
    for (const [accept, status] of [
      ['application/json', 200],
      ['application/graphql-response+json', 400],
    ] as const) {
      const post = (body: string) => raw(url, { method: 'POST', headers: { ...JSON_TYPE, accept }, body });
      expect(await post(`{"operationName":"A","extensions":${extensions}}`)).toMatchObject({ status, body: answer });
      expect(await post(`{"query":null,"extensions":${extensions}}`)).toMatchObject({ status, body: answer });
      const path = `/graphql?operationName=A&extensions=${encodeURIComponent(extensions)}`;
      expect(await raw(url, { headers: { accept } }, path)).toMatchObject({ status, body: answer });
    }
  });

  test('refuses a body in a content coding, and answers that none is supported', async () => {
    const { url } = await startServer();
    const body = '{"query":"{ viewer { email } }"}';
    const send = (coding: string) =>
      raw(url, { method: 'POST', headers: { ...JSON_TYPE, ...ANN, 'content-encoding': coding }, body });
    for (const coding of ['gzip', 'br', 'deflate', 'zstd', 'gzip, identity', 'x-unknown']) {
      const { status, headers, body } = await send(coding);
      expect(status, coding).toBe(415);
      expect(headers.get('accept-encoding'), coding).toBe('identity');
      expect(body.errors[0].extensions, coding).toEqual({ code: 'BAD_USER_INPUT' });
    }
    for (const coding of ['identity', 'Identity', '', 'identity, identity'])
      expect((await send(coding)).status, coding).toBe(200);
  });

  test.each([
    [undefined, 'application/json'],
    ['', 'application/json'],
    ['*/*', 'application/json'],
    ['application/*', 'application/json'],
    ['application/json;q=0.5, application/graphql-response+json;q=0.9', 'application/graphql-response+json'],
    ['application/graphql-response+json; q=0.5, application/json; q=0.9', 'application/json'],
    ['application/graphql-response+json, application/json;q=0.9', 'application/graphql-response+json'],
    ['application/json, application/graphql-response+json', 'application/json'],
    ['application/graphql-response+json, application/json', 'application/graphql-response+json'],
    ['application/json; charset=utf-8', 'application/json'],
    ['APPLICATION/GRAPHQL-RESPONSE+JSON;charset=UTF-8', 'application/graphql-response+json'],
    ['application/json;q=0, */*', 'application/graphql-response+json'],
    ['*/*;q=0.1, application/graphql-response+json;q=0.2', 'application/graphql-response+json'],
    ['text/event-stream, application/json;q=0.1', 'application/json'],
    ['multipart/mixed;boundary="graphql, x";deferSpec=20220824,application/json', 'application/json'],
    ['application/json;q=0', null],
    ['*/*;q=0', null],
    ['text/plain', null],
    ['application/json;q=0, application/graphql-response+json;q=0.0', null],
  ])('answers Accept: %s with %s', async (accept, type) => {
    const { url } = await startServer();
    const connection = openRaw(url);
    const body = '{"query":"{ viewer { email } }"}';
    const fields =
      `Content-Type: application/json\r\nAuthorization: Bearer ann@example.com\r\n` +
      `Content-Length: ${body.length}\r\n`;
    const asked = accept === undefined ? '' : `Accept: ${accept}\r\n`;
    connection.send(`POST /graphql HTTP/1.1\r\nHost: x\r\n${asked}${fields}\r\n${body}`);
    const answer = await connection.next();
    expect(answer?.status).toBe(type ? 200 : 406);
    if (type) expect(answer?.headers.get('content-type')).toBe(`${type}; charset=utf-8`);
    expect(answer?.headers.get('vary')).toMatch(/Accept, Origin/);
    connection.socket.destroy();
  });

  test('serves GraphiQL to browsers with any query string', async () => {
    const { url } = await startServer();
    const browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8';
    for (const path of ['/graphql', '/graphql?utm_source=x', '/graphql?query={viewer{email}}']) {
      const page = await raw(url, { headers: { accept: browser } }, path);
      expect(page.body, path).toMatch(/graphiql/i);
      expect(page.headers.get('vary'), path).toMatch(/Accept/);
      const other = await raw(url, { headers: { ...ANN, accept: 'application/json, text/html;q=0.9' } }, path);
      expect(other.headers.get('content-type'), path).toMatch(/^application\/json/);
    }
    const off = await startServer({ INTROSPECTION: 'off' });
    const answer = await raw(off.url, { headers: { ...ANN, accept: browser } }, '/graphql?query={viewer{email}}');
    expect(answer.body.data.viewer.email).toBe('ann@example.com');
  });

  test('offers no event streams', async () => {
    const { url } = await startServer();
    for (const accept of ['text/event-stream', 'multipart/mixed']) {
      const body = '{"query":"{ viewer { email } }"}';
      expect((await raw(url, { method: 'POST', headers: { ...JSON_TYPE, ...ANN, accept }, body })).status).toBe(406);
    }
  });

  test('identifies the viewer by address and role, in upper and lower case', async () => {
    const { url } = await startServer();
    const { data } = await post(url, 'Ann@Example.com:BANK', '{ viewer { email role } }');
    expect(data.viewer).toEqual({ email: 'ann@example.com', role: 'BANK' });
  });
});

describe('the limits of operations', () => {
  /** A query of exactly `depth` nested fields. */
  function deep(depth: number): string {
    const replies = depth - 4;
    return `{ chatList { nodes { lastMessage { ${'replyTo { '.repeat(replies)} id ${'}'.repeat(replies)} } } } }`;
  }
  const code = async (url: string, query: string) =>
    (await post(url, 'ann@example.com', query)).errors?.[0]?.extensions.code;

  test('hold for depth, aliases and tokens, through fragments too', async () => {
    const { url } = await startServer();
    expect(await code(url, deep(10))).toBeUndefined();
    expect(await code(url, deep(11))).toBe('BAD_USER_INPUT');
    expect(await code(url, deep(10).replace(' id ', ' replyTo { __typename } '))).toBe('BAD_USER_INPUT');
    const hidden = `{ chatList { nodes { lastMessage { ...A } } } }
      fragment A on Message { ${'replyTo { '.repeat(3)} ...B ${'}'.repeat(3)} }
      fragment B on Message { ${'replyTo { '.repeat(4)} id ${'}'.repeat(4)} }`;
    expect(await code(url, hidden)).toBe('BAD_USER_INPUT');

    const aliases = (count: number) =>
      `{ ${Array.from({ length: count }, (_, i) => `a${i}: __typename`).join(' ')} viewer { email } }`;
    expect(await code(url, aliases(15))).toBeUndefined();
    expect(await code(url, aliases(16))).toBe('BAD_USER_INPUT');
    const schema = (count: number) =>
      `{ __schema { ${Array.from({ length: count }, (_, i) => `a${i}: types { name }`).join(' ')} } }`;
    expect(await code(url, schema(3))).toBeUndefined();
    expect(await code(url, schema(4))).toBe('BAD_USER_INPUT');
    const bomb = Array.from(
      { length: 20 },
      (_, i) => `fragment F${i} on Viewer { ${i === 19 ? 'a: email' : `...F${i + 1} ...F${i + 1}`} }`,
    ).join(' ');
    expect(await code(url, `{ viewer { ...F0 } } ${bomb}`)).toBe('BAD_USER_INPUT');
    const cycle = '{ viewer { ...A } } fragment A on Viewer { ...B } fragment B on Viewer { ...A }';
    expect(await code(url, cycle)).toBe('BAD_USER_INPUT');

    // To find out whether two fields of one name are the same, each is compared with each.
    const again = (field: string, count: number) => `{ viewer { ${`${field} `.repeat(count)} } }`;
    expect(await code(url, again('email', 51))).toBeUndefined();
    expect(await code(url, again('email', 52))).toBe('BAD_USER_INPUT');
    expect(await code(url, again('... { ... { email } }', 52))).toBe('BAD_USER_INPUT');

    expect(
      await code(url, `{ chatList(filter: { status: [${'OPEN '.repeat(980)}] }) { unreadTotal } }`),
    ).toBeUndefined();
    expect(await code(url, `{ chatList(filter: { status: [${'OPEN '.repeat(1000)}] }) { unreadTotal } }`)).toBe(
      'BAD_USER_INPUT',
    );
    expect(await code(url, `${'{ a '.repeat(10_000)}${'}'.repeat(10_000)}`)).toBe('BAD_USER_INPUT');
    expect(await code(url, '{ viewer { email } }')).toBeUndefined();
  });

  test('exempt the standard introspection query, which can be switched off', async () => {
    const on = await startServer();
    expect((await post(on.url, null, getIntrospectionQuery())).data.__schema.queryType.name).toBe('Query');
    expect(
      await code(
        on.url,
        `{ __schema { types { fields { type { ${'ofType { '.repeat(20)} name ${'}'.repeat(20)} } } } } }`,
      ),
    ).toBe('BAD_USER_INPUT');
    const off = await startServer({ INTROSPECTION: 'off' });
    expect(await code(off.url, getIntrospectionQuery())).toBe('BAD_USER_INPUT');
    expect((await raw(off.url, { headers: { accept: 'text/html' } })).body).not.toMatch(/graphiql/i);
  });
});

test('a fault of the server is masked: its message, its code and its stack stay inside', async () => {
  const { url, store } = await startServer();
  store.chatList = async () => {
    throw Object.assign(new Error('mongodb://root:secret@db'), {
      code: 'ECONNREFUSED',
      extensions: { code: 'SECRET' },
    });
  };
  const answer = await post(url, 'ann@example.com', '{ chatList { unreadTotal } }');
  expect(answer).toEqual({
    data: null,
    errors: [
      {
        ...{ message: expect.stringMatching(/^Internal server error [0-9a-f-]{36}\.$/), path: ['chatList'] },
        ...{ locations: expect.anything(), extensions: { code: 'INTERNAL_SERVER_ERROR' } },
      },
    ],
  });
});

describe('browsers', () => {
  const body = '{"query":"{ viewer { email } }"}';
  const from = (url: string, origin: string) =>
    raw(url, { method: 'POST', headers: { ...JSON_TYPE, ...ANN, origin }, body });

  test('of other origins are refused before any other step, on every transport', async () => {
    const { url, ws } = await startServer({ ALLOWED_ORIGINS: 'https://app.example.com, https://b.example.com:8443' });
    for (const origin of [
      'https://evil.example',
      'null',
      'http://app.example.com',
      'https://app.example.com:444',
      'https://localhost.evil.example',
      'nonsense',
    ]) {
      expect((await from(url, origin)).status, origin).toBe(403);
      await expect(connect(`${ws}/graphql`, 'graphql-transport-ws', { origin }), origin).rejects.toThrow('403');
      await expect(
        connect(`${ws}/conversation/ws?email_id=ann@example.com`, undefined, { origin }),
        origin,
      ).rejects.toThrow('403');
    }
    for (const origin of [
      url,
      'https://app.example.com',
      'https://b.example.com:8443',
      'http://localhost:3000',
      'http://127.0.0.1:5173',
      'http://[::1]:80',
    ]) {
      expect((await from(url, origin)).status, origin).toBe(200);
      (await connect(`${ws}/graphql`, 'graphql-transport-ws', { origin })).close();
      (await connect(`${ws}/conversation/ws?email_id=ann@example.com`, undefined, { origin })).close();
    }
  });

  test('of allowed origins may read the answers', async () => {
    const { url } = await startServer({ ALLOWED_ORIGINS: 'https://app.example.com' });
    const preflight = await raw(url, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://app.example.com',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
    expect(preflight.headers.get('access-control-allow-origin')).toBe('https://app.example.com');
    expect(preflight.headers.get('allow')).toBe('GET, HEAD, POST, OPTIONS');
    expect((await from(url, 'https://app.example.com')).headers.get('access-control-allow-origin')).toBe(
      'https://app.example.com',
    );
  });
});

describe('browsers of allowed origins', () => {
  const origin = 'https://app.example.com';
  const ask = (url: string, headers: Record<string, string>) => raw(url, { method: 'OPTIONS', headers });

  test('may send the headers that they ask for', async () => {
    const { url } = await startServer({ ALLOWED_ORIGINS: origin });
    for (const names of [
      'authorization,content-type',
      'apollo-require-preflight,authorization,baggage,content-type,sentry-trace,traceparent,x-client-version',
    ]) {
      const preflight = await ask(url, {
        ...{ origin, 'access-control-request-method': 'POST', 'access-control-request-headers': names },
      });
      expect(preflight.status).toBe(204);
      expect(preflight.headers.get('access-control-allow-headers')).toBe(names);
      expect(preflight.headers.get('vary')).toMatch(/Access-Control-Request-Headers.*Origin/);
    }
    const foreign = await ask(url, {
      origin: 'https://evil.example',
      'access-control-request-headers': 'authorization',
    });
    expect(foreign.status).toBe(403);
    expect(foreign.headers.get('access-control-allow-origin')).toBeNull();
    expect(foreign.headers.get('access-control-allow-headers')).toBeNull();
  });

  test('share no cached answer with other origins: all vary by origin', async () => {
    const { url } = await startServer({ ALLOWED_ORIGINS: origin });
    for (const headers of [{}, { origin }, { origin: 'https://evil.example' }] as Record<string, string>[]) {
      for (const accept of ['application/json', 'image/png', 'text/html']) {
        const { headers: got } = await raw(url, { headers: { ...headers, accept } }, '/graphql?query={__typename}');
        expect(got.get('vary'), JSON.stringify({ ...headers, accept })).toMatch(/\bOrigin\b/);
      }
    }
  });

  test('are recognized in any spelling of their origin', async () => {
    const { url, ws } = await startServer({
      ...{ AUTH_MODE: 'jwt', JWT_SECRET: 'x'.repeat(32) },
      ALLOWED_ORIGINS:
        'capacitor://localhost, https://APP.example.com:443, http://b.example.com:80, chrome-extension://abc',
    });
    for (const allowed of [
      ...['capacitor://localhost', 'https://app.example.com', 'http://b.example.com', 'chrome-extension://abc'],
      ...['https://app.example.com:443', 'https://App.Example.Com'],
    ]) {
      const { status, headers } = await raw(url, { headers: { origin: allowed } }, '/graphql?query={__typename}');
      expect(status, allowed).toBe(200);
      expect(headers.get('access-control-allow-origin'), allowed).toBe(allowed);
      (await connect(`${ws}/graphql`, 'graphql-transport-ws', { origin: allowed })).close();
    }
    for (const refused of [
      'null',
      'ionic://localhost',
      'capacitor://localhost:1',
      'http://app.example.com',
      'file://',
      'x',
    ])
      expect((await raw(url, { headers: { origin: refused } })).status, refused).toBe(403);
  });
});

test('a page without TLS is not let in with the cookie of the same host under TLS', async () => {
  const JWT_SECRET = 'x'.repeat(32);
  const { url } = await startServer({ AUTH_MODE: 'jwt', JWT_SECRET });
  const token = await new SignJWT({ email: 'ann@example.com' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(JWT_SECRET));
  const open = async (origin: string, fields: string) => {
    const connection = openRaw(url);
    connection.send(
      [
        ...['GET /conversation/ws?email_id=ann@example.com HTTP/1.1', 'Host: chat.example.com', `Origin: ${origin}`],
        ...['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', `Cookie: authToken=${token}`],
        `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${fields}\r\n`,
      ].join('\r\n'),
    );
    const answer = await connection.next();
    connection.socket.destroy();
    return answer?.status;
  };
  expect(await open('http://chat.example.com', 'X-Forwarded-Proto: https\r\n')).toBe(403);
  expect(await open('https://chat.example.com', 'X-Forwarded-Proto: https\r\n')).toBe(101);
  // A proxy that does not say.
  expect(await open('https://chat.example.com', '')).toBe(101);
});

describe('the other endpoints', () => {
  test('list their methods, and unknown paths are 404 for every method', async () => {
    const { url } = await startServer();
    const ask = async (method: string, path: string) => {
      const { status, headers } = await raw(url, { method }, path);
      return [status, headers.get('allow')];
    };
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']) {
      for (const path of ['/nothing', '/graphql/', '//graphql', '/graphql/x', '/conversation/ws'])
        expect(await ask(method, path), `${method} ${path}`).toEqual([404, null]);
      for (const path of ['/', '/healthz', '/readyz', '/metrics', '/docs/README.md'])
        expect(await ask(method, path), `${method} ${path}`).toEqual([405, 'GET, HEAD']);
    }
    for (const method of ['PUT', 'PATCH', 'DELETE', 'PROPFIND'])
      expect(await ask(method, '/graphql'), method).toEqual([405, 'GET, HEAD, POST, OPTIONS']);
    for (const path of ['/', '/healthz', '/readyz', '/metrics'])
      expect(await ask('HEAD', path), path).toEqual([200, null]);
    // Targets that have no path.
    const connection = openRaw(url);
    for (const [line, status] of [
      ['OPTIONS *', 204],
      ['GET *', 404],
      ['GET http://chat.example.com', 200],
      ['GET http://chat.example.com?a=b', 200],
    ] as const) {
      connection.send(`${line} HTTP/1.1\r\nHost: chat.example.com\r\n\r\n`);
      expect((await connection.next())?.status, line).toBe(status);
    }
    connection.socket.destroy();
  });

  test('ping the store once for many simultaneous requests', async () => {
    const store = await openSqlite(':memory:');
    let pings = 0;
    const ping = async () => {
      pings++;
      await setTimeout(100);
    };
    const { url } = await startServer({}, { store: { ...store, ping } });
    const answers = await Promise.all(Array.from({ length: 50 }, () => raw(url, {}, '/readyz')));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(pings).toBeGreaterThan(0);
    expect(pings).toBeLessThan(50);
  });

  test('are a page, its documents, health and readiness', async () => {
    const { url, store } = await startServer();
    expect((await raw(url, {}, '/')).body).toMatch(/<h1>Kredichat<\/h1>/);
    for (const [, link] of String((await raw(url, {}, '/')).body).matchAll(/href="\.([^"]+)"/g)) {
      expect((await raw(url, { headers: { accept: 'text/html' } }, link)).status, link).toBe(200);
    }
    expect((await raw(url, {}, '/healthz')).status).toBe(200);
    expect((await raw(url, {}, '/readyz')).status).toBe(200);
    await store.close();
    expect((await raw(url, {}, '/healthz')).status).toBe(200);
    expect((await raw(url, {}, '/readyz')).status).toBe(503);
    for (const path of ['/nothing', '/graphql/x', '/../package.json', '/__proto__', '//', '/docs/../package.json']) {
      expect((await raw(url, {}, path)).status, path).toBe(404);
    }
    await expect(connect(`${url.replace('http', 'ws')}/nothing`)).rejects.toThrow('404');
  });

  test('serve the page’s files compressed, named by their contents, and cached for ever', async () => {
    const { url } = await startServer();
    const page = await raw(url, {}, '/');
    expect(page.headers.get('cache-control')).toBe('no-cache');
    expect(page.headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self';/);
    expect(page.body).toContain('<meta name="kredichat-auth" content="dev" />');
    const files = [...String(page.body).matchAll(/"\.(\/assets\/[^"]+)"/g)].map(([, file]) => file ?? '');
    expect(files.map((file) => file.split('.').at(-1)).sort()).toEqual(['css', 'js', 'svg']);
    for (const file of files) {
      const plain = await raw(url, { headers: { 'accept-encoding': 'identity' } }, file);
      expect(plain.headers.get('cache-control'), file).toBe('public, max-age=31536000, immutable');
      expect(plain.headers.get('content-encoding'), file).toBeNull();
      for (const coding of ['br', 'gzip']) {
        const compressed = await raw(url, { headers: { 'accept-encoding': `deflate, ${coding};q=0.5` } }, file);
        expect(compressed.headers.get('content-encoding'), file).toBe(coding);
        expect(compressed.headers.get('vary'), file).toBe('accept-encoding');
        expect(compressed.body, file).toBe(plain.body);
      }
      const none = await raw(url, { headers: { 'accept-encoding': 'br;q=0, gzip;q=0.0' } }, file);
      expect(none.headers.get('content-encoding'), file).toBeNull();
      expect((await raw(url, {}, `${file}.br`)).status).toBe(404);
    }
  });

  test('metrics count connections, subscriptions, sends, deliveries, batches and latencies', async () => {
    const { url, ws } = await startServer();
    const { connectGraphql, legacyOnce } = await import('../../support/clients.ts');
    const line = await connectGraphql(ws, 'ann@example.com');
    const events = line.subscribe('subscription { chatListChanged { id } }');
    await line.run('{ viewer { email } }');
    await legacyOnce(ws, 'bob@example.com', {
      type: 'SEND',
      config_id: 'c',
      members: ['ann@example.com'],
      message: [{ text: 'a' }, { text: 'b' }],
    });
    await events.next();
    const { body } = await raw(url, {}, '/metrics');
    for (const line of [
      'kredichat_connections{transport="graphql-ws"} 1',
      'kredichat_subscriptions 1',
      'kredichat_messages_sent_total 2',
      'kredichat_search_lag_messages 2',
      'kredichat_deliveries_total 1',
      'kredichat_append_batch_messages_sum 2',
      'kredichat_send_duration_seconds_count 1',
      'kredichat_operation_duration_seconds_count{operation="mutation"} 1',
    ]) {
      expect(body).toContain(`${line}\n`);
    }
  });
});
