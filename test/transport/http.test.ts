import { request } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { getIntrospectionQuery } from 'graphql';
import { describe, expect, test } from 'vitest';
import { connect, post } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const ANN = { authorization: 'Bearer ann@example.com' };

/** A request of any shape to /graphql, and what came back. */
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
        'an unknown parameter',
        { headers: JSON_TYPE, body: '{"query":"{ viewer { email } }","other":1}' },
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

  test('counts a body that does not say how long it is', async () => {
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

  test('answers queries by GET, and no mutations', async () => {
    const { url } = await startServer();
    const get = (query: string) => raw(url, { headers: ANN }, `/graphql?query=${encodeURIComponent(query)}`);
    expect((await get('{ viewer { email role } }')).body).toEqual({
      data: { viewer: { email: 'ann@example.com', role: null } },
    });
    const mutation =
      'mutation { sendMessage(input: { to: { key: { configId: "c", members: ["ann@example.com", "b@example.com"] } }, text: "x" }) { message { id } } }';
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

  test('refuses a malformed Host header without a word of what it is made of', async () => {
    const { url } = await startServer();
    const { port } = new URL(url);
    for (const host of ['a b', ']:[', 'a:b']) {
      const socket = connectTcp(Number(port), '127.0.0.1');
      socket.end(`GET /graphql HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      let answer = '';
      for await (const chunk of socket) answer += chunk;
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      expect(answer).not.toMatch(/node_modules|at .*:\d+/);
    }
  });

  test('offers no event streams', async () => {
    const { url } = await startServer();
    for (const accept of ['text/event-stream', 'multipart/mixed']) {
      const body = '{"query":"{ viewer { email } }"}';
      expect((await raw(url, { method: 'POST', headers: { ...JSON_TYPE, ...ANN, accept }, body })).status).toBe(406);
    }
  });

  test('knows the viewer by address and role, in any case', async () => {
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
    const hidden = `{ chatList { nodes { lastMessage { ...A } } } } fragment A on Message { ${'replyTo { '.repeat(3)} ...B ${'}'.repeat(3)} }
      fragment B on Message { ${'replyTo { '.repeat(4)} id ${'}'.repeat(4)} }`;
    expect(await code(url, hidden)).toBe('BAD_USER_INPUT');

    const aliases = (count: number) =>
      `{ ${Array.from({ length: count }, (_, i) => `a${i}: __typename`).join(' ')} viewer { email } }`;
    expect(await code(url, aliases(15))).toBeUndefined();
    expect(await code(url, aliases(16))).toBe('BAD_USER_INPUT');
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

  test('of other origins are refused before anything is done, on every transport', async () => {
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
    expect((await from(url, 'https://app.example.com')).headers.get('access-control-allow-origin')).toBe(
      'https://app.example.com',
    );
  });
});

describe('the other endpoints', () => {
  test('are a page, its documents, health and readiness', async () => {
    const { url, store } = await startServer();
    expect((await raw(url, {}, '/')).body).toMatch(/<h1>Kredichat<\/h1>/);
    for (const [, link] of String((await raw(url, {}, '/')).body).matchAll(/href="([^"]+)"/g)) {
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

  test('give the page and its files compressed, named by what is in them, and to be kept for ever', async () => {
    const { url } = await startServer();
    const page = await raw(url, {}, '/');
    expect(page.headers.get('cache-control')).toBe('no-cache');
    expect(page.headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self';/);
    expect(page.body).toContain('<meta name="kredichat-auth" content="dev" />');
    const files = [...String(page.body).matchAll(/"(\/assets\/[^"]+)"/g)].map(([, file]) => file ?? '');
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
    const { connectGraphql, legacyOnce } = await import('../support/clients.ts');
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
      'kredichat_deliveries_total 1',
      'kredichat_append_batch_messages_sum 2',
      'kredichat_send_duration_seconds_count 1',
      'kredichat_operation_duration_seconds_count{operation="mutation"} 1',
    ]) {
      expect(body).toContain(`${line}\n`);
    }
  });
});
