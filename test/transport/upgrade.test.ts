import { connect as connectTcp } from 'node:net';
import { SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import { type Answer, connect, connectGraphql, connectLegacy, post } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const SECRET = 'a secret of thirty-two bytes, or more';
const JWT = { AUTH_MODE: 'jwt', JWT_SECRET: SECRET };
const CHANGED = 'subscription { chatListChanged { configId } }';
const token = (email: string) =>
  new SignJWT({ email }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('10 min').sign(Buffer.from(SECRET));
const code = (answer: Answer | null) => answer?.errors?.[0]?.extensions.code;
const upgrade = (url: string, headers: Record<string, string> = {}) =>
  connect(url, url.endsWith('/graphql') ? 'graphql-transport-ws' : undefined, { headers });

test('with tokens, only the server’s own origin and allowed origins are accepted', async () => {
  const { url, ws } = await startServer({ ...JWT, ALLOWED_ORIGINS: 'https://app.example.com' });
  const paths = [`${ws}/graphql`, `${ws}/conversation/ws?email_id=${ANN}&token=${await token(ANN)}`];
  for (const origin of [
    'http://localhost:3000',
    'http://127.0.0.1:1',
    'https://evil.example',
    'null',
    `${url}.evil.example`,
  ]) {
    for (const path of paths) await expect(upgrade(path, { origin }), origin).rejects.toThrow('403');
    expect((await fetch(`${url}/graphql?query={__typename}`, { headers: { origin } })).status, origin).toBe(403);
  }
  for (const origin of [url, 'https://app.example.com'])
    for (const path of paths) (await upgrade(path, { origin })).close();
});

test('every answer has the security headers for browsers', async () => {
  const { url } = await startServer();
  const page = { accept: 'text/html' };
  const requests: [string, RequestInit][] = [
    ['/', {}],
    ['/docs/README.md', {}],
    ['/graphql', { headers: page }],
    ['/graphql?query={__typename}', {}],
    ['/graphql', { method: 'POST', body: 'x' }],
    ['/healthz', {}],
    ['/nothing', {}],
    ['/graphql', { headers: { origin: 'https://evil.example' } }],
  ];
  for (const [path, init] of requests) {
    const { headers, status } = await fetch(url + path, init);
    const name = `${path} ${status}`;
    expect(headers.get('x-content-type-options'), name).toBe('nosniff');
    expect(headers.get('x-frame-options'), name).toBe('DENY');
    expect(headers.get('referrer-policy'), name).toBe('no-referrer');
    expect(headers.get('cross-origin-opener-policy'), name).toBe('same-origin');
    const policy = headers.get('content-security-policy');
    expect(policy, name).toMatch(/^default-src 'none';.*frame-ancestors 'none'/);
    expect(policy, name).not.toMatch(/script-src[^;]*(unsafe|\*|https?:)/);
    expect(headers.get('server') ?? headers.get('x-powered-by'), name).toBeNull();
  }
});

test('a body that is too large is refused without being read', async () => {
  const { url } = await startServer({ MAX_FRAME_BYTES: '65536' });
  const head = 'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
  const chunk = Buffer.alloc(65_536, 'x');
  for (const [length, part] of [
    ['Content-Length: 1000000000', chunk],
    ['Transfer-Encoding: chunked', Buffer.concat([Buffer.from('10000\r\n'), chunk, Buffer.from('\r\n')])],
  ] as const) {
    const socket = connectTcp(Number(new URL(url).port), '127.0.0.1');
    let answer = '';
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.write(`${head}${length}\r\n\r\n`);
    const write = (): void => {
      while (socket.writable && socket.write(part));
      socket.once('drain', write);
    };
    write();
    await closed;
    expect(answer).toMatch(/^HTTP\/1.1 413 .*"TOO_LARGE"/s);
    // Only the bytes that the kernel buffers.
    expect(socket.bytesWritten).toBeLessThan(50_000_000);
  }
});

describe('the cost of an operation', () => {
  const over = async (url: string, query: string, variables?: Record<string, unknown>) =>
    code(await post(url, ANN, query, variables));

  const FIELDS = 'text seq sender rev kind';

  test('is bounded, with pages and lists multiplied, through fragments and variables', async () => {
    const { url } = await startServer();
    const nested = (list: string, log: string) =>
      `{ chatList(first: ${list}) { nodes { messages(last: ${log}) { nodes { ${FIELDS} } } } } }`;
    expect(await over(url, nested('50', '100'))).toBeUndefined();
    expect(await over(url, nested('100', '100'))).toBe('BAD_USER_INPUT');
    const variables = `query ($a: Int, $b: Int) ${nested('$a', '$b')}`;
    expect(await over(url, variables, { a: 20, b: 50 })).toBeUndefined();
    expect(await over(url, variables, { a: 100, b: 100 })).toBe('BAD_USER_INPUT');
    expect(await over(url, variables, { a: 1e9, b: 1e9 })).toBe('BAD_USER_INPUT');
    const page = '{ chatList(first: 100) { ...L } } fragment L on ChatList { edges { node { ...C } } }';
    expect(
      await over(url, `${page} fragment C on Conversation { messages(last: 100) { edges { node { ${FIELDS} } } } }`),
    ).toBe('BAD_USER_INPUT');
    expect(
      await over(url, `${page} fragment C on Conversation { messages(last: 10) { edges { node { ${FIELDS} } } } }`),
    ).toBeUndefined();
    const many = Array.from(
      { length: 15 },
      (_, i) => `a${i}: chatList(first: 100) { nodes { members { email role readSeq } } }`,
    ).join(' ');
    expect(await over(url, `{ ${many} }`)).toBe('BAD_USER_INPUT');
    // What is less than nothing makes up for nothing.
    const less = 'n: node(id: "x") { ... on Conversation { messages(first: -1000000000) { nodes { seq } } } }';
    expect(await over(url, nested('100', '100').replace(/}$/, `${less} }`))).toBe('BAD_USER_INPUT');
    expect(await over(url, '{ viewer { email } }')).toBeUndefined();
  });

  test('is bounded also where only the answer shows the length of a list', async () => {
    const { url } = await startServer({ MAX_RESPONSE_BYTES: '65536' });
    const members = [ANN, ...Array.from({ length: 1000 }, (_, i) => `member-${i}-of-many@example.com`)];
    const say = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
    await post(url, ANN, say, { input: { to: { key: { configId: 'c', members } }, text: 'x' } });
    const list =
      '{ chatList(first: 1) { nodes { lastMessage { readBy } members { email } again: members { email } } } }';
    expect(await over(url, list)).toBe('BAD_USER_INPUT');
    expect(await over(url, list.replace('again: members { email }', ''))).toBeUndefined();
  });

  test('is bounded for earlier texts, too', async () => {
    const { url } = await startServer({ MAX_RESPONSE_BYTES: '65536' });
    const say = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
    const input = { to: { key: { configId: 'c', members: [ANN, BOB] } }, text: 'x' };
    const conversationId = (await post(url, ANN, say, { input })).data.sendMessage.conversation.id;
    const edit = 'mutation ($input: EditMessageInput!) { editMessage(input: $input) { message { seq } } }';
    for (let i = 0; i < 60; i++)
      await post(url, ANN, edit, { input: { conversationId, seq: 1, text: `${i}`.repeat(100) } });
    const many = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `${name}: revisions { text }`).join(' ');
    const list = `{ chatList(first: 1) { nodes { lastMessage { ${many} } } } }`;
    expect(await over(url, list)).toBe('BAD_USER_INPUT');
    expect(await over(url, list.replace('f: revisions { text }', ''))).toBeUndefined();
  });

  test('has a lower bound for subscriptions, as it occurs with each event', async () => {
    const { ws } = await startServer();
    const line = await connectGraphql(ws, ANN);
    const replies = `${`${FIELDS} replyTo { `.repeat(5)} text ${'}'.repeat(5)}`;
    const follow = (size: number) =>
      line.subscribe(`subscription { chatListChanged { messages(last: ${size}) { nodes { ${replies} } } } }`);
    expect(code(await follow(100).next())).toBe('BAD_USER_INPUT');
    const events = follow(50);
    const input = { to: { key: { configId: 'c', members: [ANN, BOB] } }, text: 'x' };
    await line.run('mutation ($input: SendMessageInput!) { sendMessage(input: $input) { deduplicated } }', { input });
    expect((await events.next())?.data.chatListChanged.messages.nodes).toHaveLength(1);
  });

  test('is bounded by the number of directives', async () => {
    const { url } = await startServer({ MAX_DIRECTIVES: '3' });
    const email = (count: number) => `{ viewer { ${'email @include(if: true) '.repeat(count)} } }`;
    expect(await over(url, email(3))).toBeUndefined();
    expect(await over(url, email(4))).toBe('BAD_USER_INPUT');
    const spread = (count: number) =>
      `{ viewer { ${'...V @include(if: true) '.repeat(count)} } } fragment V on Viewer { email @skip(if: false) }`;
    expect(await over(url, spread(1))).toBeUndefined();
    expect(await over(url, spread(2))).toBe('BAD_USER_INPUT');
  });
});

describe('the quota of a user', () => {
  test('counts all sockets of both kinds', async () => {
    const { ws, server } = await startServer({ MAX_SOCKETS_PER_USER: '3' });
    const held = [
      await connectGraphql(ws, ANN),
      await connectLegacy(ws, ANN),
      await connectGraphql(ws, 'Ann@example.com:BANK'),
    ];
    await expect(connectLegacy(ws, ANN)).rejects.toThrow('429');
    const one = await connect(`${ws}/graphql`, 'graphql-transport-ws');
    one.send({ type: 'connection_init', payload: { authorization: `Bearer ${ANN}` } });
    expect(await one.closed()).toEqual({ code: 4403, reason: 'Too many connections' });
    (await connectGraphql(ws, BOB)).close();
    for (const line of held) line.close();
    await Promise.all(held.map((line) => line.closed()));
    for (let i = 0; i < 10; i++) {
      const line = await connectLegacy(ws, ANN);
      line.close();
      await line.closed();
    }
    expect(server.subscriptions()).toBe(0);
  });

  test('counts subscriptions, and one too many ends none of the others', async () => {
    const { ws, server } = await startServer({ MAX_SUBSCRIPTIONS_PER_USER: '3' });
    const [one, two] = [await connectGraphql(ws, ANN), await connectGraphql(ws, ANN)];
    const live = [one, one, two].map((line) => line.subscribe(CHANGED));
    await Promise.all([one, two].map((line) => line.run('{ viewer { email } }')));
    expect(code(await two.subscribe(CHANGED).next())).toBe('RATE_LIMITED');
    const other = (await connectGraphql(ws, BOB)).subscribe(CHANGED);
    const input = { to: { key: { configId: 'c', members: [ANN, BOB] } }, text: 'x' };
    const say = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
    await one.run('{ viewer { email } }');
    const { data } = await one.run(say, { input });
    for (const events of [...live, other]) expect((await events.next())?.data.chatListChanged.configId).toBe('c');
    // A frame client that asks for live messages gets an error: its subscription is over the limit.
    const legacy = await connectLegacy(ws, ANN, '&live=1');
    legacy.send({ type: 'RECEIVE', config_id: 'c', members: [BOB] });
    expect((await legacy.next()).type).toBe('RECEIVE');
    expect(await legacy.next()).toMatchObject({ type: 'ERROR', error: { code: 'RATE_LIMITED' } });
    // The end of a subscription or a socket frees its part of the quota.
    live[0]?.stop();
    const again = one.subscribe('subscription ($id: ID!) { messageAdded(conversationId: $id, afterSeq: 0) { text } }', {
      id: data.sendMessage.conversation.id,
    });
    expect((await again.next())?.data.messageAdded.text).toBe('x');
    one.close();
    // The client may see the end of its socket before the server does.
    await expect.poll(() => server.subscriptions()).toBe(2);
    const events = [1, 2].map(() => two.subscribe(CHANGED));
    await two.run('{ viewer { email } }');
    await two.run(say, { input });
    for (const one of events) expect((await one.next())?.data.chatListChanged.configId).toBe('c');
  });
});

describe('a client behind a proxy', () => {
  const from = (...hops: string[]) => ({ 'x-forwarded-for': hops.join(', ') });

  test('is counted by the address that a trusted proxy reports', async () => {
    const { ws } = await startServer({ TRUSTED_PROXIES: '127.0.0.0/8, 10.0.0.0/8', MAX_SOCKETS_PER_ADDRESS: '2' });
    const open = (...hops: string[]) => upgrade(`${ws}/graphql`, from(...hops));
    const held = [await open('192.0.2.1'), await open('192.0.2.1', '10.1.2.3')];
    // The client's own entry comes first; the proxy appends the address that counts.
    for (const hops of [['192.0.2.1'], ['198.51.100.7', '192.0.2.1'], ['127.0.0.1', '192.0.2.1', '10.9.9.9']])
      await expect(open(...hops), hops.join()).rejects.toThrow('429');
    (await open('192.0.2.2')).close();
    for (const line of held) line.close();
    await Promise.all(held.map((line) => line.closed()));
    (await open('192.0.2.1')).close();
  });

  test('is not counted by an address that it reports itself', async () => {
    const { ws } = await startServer({ MAX_SOCKETS_PER_ADDRESS: '1' });
    for (let i = 0; i < 3; i++) await upgrade(`${ws}/graphql`, from('192.0.2.1'));
  });
});

describe('a gateway', () => {
  const gateway = { ...JWT, LEGACY_GATEWAYS: '127.0.0.1' };
  const said = { 'x-kredichat-email': ANN };
  const path = (ws: string) => `${ws}/conversation/ws?email_id=${ANN}`;

  test('may assert the address of a legacy client, and nothing else', async () => {
    const { ws, url } = await startServer(gateway);
    const line = await upgrade(path(ws), said);
    line.send({ type: 'CHAT_LIST' });
    expect((await line.next()).type).toBe('CHAT_LIST');
    await expect(upgrade(path(ws), { 'x-kredichat-email': BOB })).rejects.toThrow('403');
    for (const value of ['', 'nonsense', `${ANN}, ${BOB}`])
      await expect(upgrade(path(ws), { 'x-kredichat-email': value }), value).rejects.toThrow('401');
    const answer = await fetch(`${url}/graphql?query={viewer{email}}`, { headers: said });
    expect(code((await answer.json()) as Answer)).toBe('UNAUTHENTICATED');
  });

  test('is trusted only at the addresses listed, and never by default', async () => {
    for (const environment of [
      JWT,
      { ...JWT, LEGACY_GATEWAYS: '10.0.0.0/8, 2001:db8::/32', TRUSTED_PROXIES: '127.0.0.1' },
    ]) {
      const { ws } = await startServer(environment);
      await expect(upgrade(path(ws), { ...said, 'x-forwarded-for': '10.0.0.1' })).rejects.toThrow('401');
    }
  });
});
