import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { type Answer, connect, connectGraphql, connectLegacy, type GraphqlLine, post } from '../../support/clients.ts';
import { startServer, type TestServer } from '../../support/server.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const ADDED =
  'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { seq text sender } }';
const CHANGED = 'subscription { chatListChanged { configId lastSeq unreadCount lastMessage { text } } }';

async function say(line: GraphqlLine, text: string, configId = 'c1'): Promise<string> {
  const { data } = await line.run(
    'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }',
    { input: { to: { key: { configId, members: [ANN, BOB] } }, text } },
  );
  return data.sendMessage.conversation.id;
}
/** JSON that can be parsed, but overflows the stack of a recursive visitor. */
const DEEP = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
const protocol = ({ ws }: TestServer) => connect(`${ws}/graphql`, 'graphql-transport-ws');
const code = (answer: Answer | null) => answer?.errors?.[0]?.extensions.code;

describe('a connection', () => {
  test('without a credential is accepted, but every operation is refused', async () => {
    const { ws } = await startServer();
    const line = await connectGraphql(ws, null);
    expect(code(await line.run('{ viewer { email } }'))).toBe('UNAUTHENTICATED');
    expect((await line.run('{ __schema { queryType { name } } }')).data.__schema.queryType.name).toBe('Query');
    for (const query of [CHANGED, ADDED]) {
      const events = line.subscribe(query, { id: 'x' });
      expect(code(await events.next())).toBe('UNAUTHENTICATED');
      expect(await events.next()).toBeNull();
    }
  });

  test.each([
    { authorization: 'Bearer nobody' },
    { authorization: 1 },
    { Authorization: 'x' },
    { authorization: { $ne: null } },
  ])('with the credential %j is closed with 4403', async (payload) => {
    const line = await protocol(await startServer());
    line.send({ type: 'connection_init', payload });
    expect(await line.closed()).toEqual({ code: 4403, reason: 'Forbidden' });
  });

  test.each([
    { headers: { Authorization: `Bearer ${ANN}` } },
    { headers: { authorization: ANN } },
    { authToken: ANN },
    { token: ANN },
    { AUTHORIZATION: ANN },
  ])('with a credential in the place of other servers, %j, gets an error that names the right one', async (payload) => {
    const line = await protocol(await startServer());
    line.send({ type: 'connection_init', payload });
    const { code, reason } = await line.closed();
    expect(code).toBe(4403);
    expect(reason).toContain('{"authorization": "Bearer TOKEN"}');
  });

  test.each([undefined, null, {}, { headers: {} }, { headers: null, authToken: null, token: '', other: 'x' }])(
    'with the payload %j is accepted',
    async (payload) => {
      const line = await protocol(await startServer());
      line.send({ type: 'connection_init', payload });
      expect((await line.next()).type).toBe('connection_ack');
    },
  );

  test('treats an empty operation name as absent, and refuses persisted queries as not supported', async () => {
    const line = await protocol(await startServer());
    line.send({ type: 'connection_init', payload: { authorization: `Bearer ${ANN}` } });
    await line.next();
    const query = 'query A { viewer { email } }';
    line.send({ id: 'a', type: 'subscribe', payload: { query, operationName: '' } });
    expect(await line.next()).toMatchObject({ id: 'a', payload: { data: { viewer: { email: ANN } } } });
    await line.next();
    const extensions = { persistedQuery: { version: 1, sha256Hash: '0'.repeat(64) } };
    for (const query of [undefined, null, '']) {
      line.send({ id: 'b', type: 'subscribe', payload: { query, extensions } });
      expect(await line.next()).toEqual({
        ...{ id: 'b', type: 'error' },
        payload: [{ message: 'PersistedQueryNotSupported', extensions: { code: 'BAD_USER_INPUT' } }],
      });
    }
    line.send({ id: 'b', type: 'subscribe', payload: { query, extensions } });
    expect(await line.next()).toMatchObject({ id: 'b', payload: { data: { viewer: { email: ANN } } } });
    await line.next();
    line.send({ id: 'b', type: 'subscribe', payload: { extensions: {} } });
    expect((await line.closed()).code).toBe(4400);
  });

  test('is closed without connection_init, for a second one, and for early or unknown messages', async () => {
    const server = await startServer({ AUTH_TIMEOUT_SECONDS: '1' });
    const codeAfter = async (...frames: unknown[]) => {
      const line = await protocol(server);
      for (const frame of frames) line.send(frame);
      return (await line.closed()).code;
    };
    const init = { type: 'connection_init' };
    expect(await codeAfter()).toBe(4408);
    expect(await codeAfter(init, init)).toBe(4429);
    expect(await codeAfter({ id: '1', type: 'subscribe', payload: { query: '{ viewer { email } }' } })).toBe(4401);
    for (const bad of [
      'not json',
      '',
      'null',
      '[]',
      '{"type":"nothing"}',
      '{"type":"subscribe"}',
      { id: 1, type: 'subscribe' },
      { type: 'connection_ack' },
      { id: '1', type: 'next', payload: {} },
      `{"type":"ping","payload":{"x":${DEEP}}}`,
    ]) {
      expect(await codeAfter(init, bad), JSON.stringify(bad).slice(0, 80)).toBe(4400);
    }
    // A close reason holds 123 bytes at most.
    for (const id of ['same', '\u{1F600}'.repeat(3000)]) {
      const twice = await connectGraphql(server.ws, ANN);
      for (let i = 0; i < 2; i++) twice.send({ id, type: 'subscribe', payload: { query: CHANGED } });
      const { code, reason } = await twice.closed();
      expect(code).toBe(4409);
      expect(`Subscriber for ${id} already exists`.startsWith(reason)).toBe(true);
    }
    expect(await codeAfter(init, `"${'x'.repeat(262_144)}"`)).toBe(1009);
    const other = await connect(`${server.ws}/graphql`);
    expect((await other.closed()).code).toBe(4406);
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  test('survives failed operations, and so do its subscriptions', async () => {
    const { ws } = await startServer();
    const line = await connectGraphql(ws, ANN);
    const id = await say(line, 'm1');
    const events = line.subscribe(ADDED, { id });
    for (const [query, variables] of [
      ['{'],
      ['{ nothing }'],
      ['query A { viewer { email } } query B { viewer { email } }'],
      ['fragment A on Viewer { email }'],
      [`{ ${Array.from({ length: 16 }, (_, i) => `a${i}: __typename`).join(' ')} }`],
      [`{ chatList { nodes { lastMessage { ${'replyTo { '.repeat(7)} id ${'}'.repeat(7)} } } } }`],
      [`${'{ a '.repeat(10_000)}${'}'.repeat(10_000)}`],
      ['query ($id: ID!) { node(id: $id) { id } }', {}],
      ['subscription { chatListChanged @skip(if: true) { id } }'],
      [
        'subscription { ... on Subscription { ...A } } fragment A on Subscription { ...B @include(if: false) } ' +
          'fragment B on Subscription { chatListChanged { id } }',
      ],
      [ADDED, { id, after: -1 }],
      [ADDED, { id, after: 2 }],
      [ADDED, { id, after: 2 ** 31 }],
    ] as [string, Record<string, unknown>?][]) {
      const failed = line.subscribe(query, variables);
      expect(code(await failed.next()), query.slice(0, 80)).toBe('BAD_USER_INPUT');
      expect(await failed.next()).toBeNull();
    }
    const foreign = line.subscribe(ADDED, { id: 'nonsense' });
    expect(code(await foreign.next())).toBe('NOT_FOUND');
    await say(line, 'm2');
    expect(await events.next()).toEqual({ data: { messageAdded: { seq: 2, text: 'm2', sender: ANN } } });
  });

  test('gets an error for variables that are nested too deep', async () => {
    const server = await startServer();
    const line = await protocol(server);
    line.send({ type: 'connection_init', payload: { authorization: `Bearer ${ANN}` } });
    await line.next();
    // The frame of a subscription is to be short.
    const cases = [
      ['query ($id: ID!) { node(id: $id) { id } }', DEEP],
      [ADDED, '[[{"a":'.repeat(500) + 1 + '}]]'.repeat(500)],
    ];
    for (const [query, deep] of cases) {
      const payload = `{"query":${JSON.stringify(query)},"variables":{"id":${deep}}}`;
      line.send(`{"id":"a","type":"subscribe","payload":${payload}}`);
      expect((await line.next()).payload.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }]);
      expect(await line.next()).toEqual({ id: 'a', type: 'complete' });
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${ANN}` };
      const answer = await fetch(`${server.url}/graphql`, { method: 'POST', headers, body: payload });
      expect((await answer.json()).errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }]);
    }
  });

  test('holds subscriptions up to the limit; one more is RATE_LIMITED and the others continue', async () => {
    const { ws } = await startServer({ MAX_SUBSCRIPTIONS: '3' });
    const line = await connectGraphql(ws, ANN);
    const id = await say(line, 'm1');
    const live = [1, 2, 3].map(() => line.subscribe(ADDED, { id, after: 0 }));
    const refused = line.subscribe(ADDED, { id });
    expect(code(await refused.next())).toBe('RATE_LIMITED');
    for (const events of live) expect((await events.next())?.data.messageAdded.seq).toBe(1);
    live[0]?.stop();
    const next = line.subscribe(ADDED, { id, after: 0 });
    expect((await next.next())?.data.messageAdded.seq).toBe(1);
    await Promise.all(Array.from({ length: 20 }, () => line.run('{ viewer { email } }')));
  });

  test('that is half open is detected within two heartbeats', async () => {
    const server = await startServer({ HEARTBEAT_SECONDS: '1' });
    // Clients that take bytes but never answer, as after a lost network.
    const mute = { autoPong: false };
    const lines = [
      await connect(`${server.ws}/graphql`, 'graphql-transport-ws', mute),
      await connect(`${server.ws}/conversation/ws?email_id=${ANN}`, undefined, mute),
    ];
    lines[0]?.send({ type: 'connection_init' });
    const healthy = await connectGraphql(server.ws, ANN);
    expect(await Promise.all(lines.map((line) => line.closed()))).toEqual(
      [1, 2].map(() => ({ code: 1006, reason: '' })),
    );
    expect(healthy.socket.readyState).toBe(1);
  });
});

describe('messageAdded', () => {
  test('delivers messages after the position, or from now on, each once and in order', async () => {
    const { ws } = await startServer();
    const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
    let id = '';
    for (let i = 1; i <= 250; i++) id = await say(ann, `m${i}`);
    const starts = [0, 1, 99, 100, 249, 250, null];
    const subscriptions = starts.map((after) => bob.subscribe(ADDED, { id, after }));
    await bob.run('{ viewer { email } }');
    for (let i = 251; i <= 260; i++) await say(ann, `m${i}`);
    for (const [i, after] of starts.entries()) {
      for (let seq = (after ?? 250) + 1; seq <= 260; seq++) {
        expect(await subscriptions[i]?.next()).toEqual({
          data: { messageAdded: { seq, text: `m${seq}`, sender: ANN } },
        });
      }
    }
  });

  test('is registered before what the client sends next on the socket', async () => {
    const { ws } = await startServer();
    const line = await connectGraphql(ws, ANN);
    for (let round = 0; round < 50; round++) {
      const id = await say(line, 'first', `c${round}`);
      const events = line.subscribe(ADDED, { id });
      const list = line.subscribe(CHANGED);
      const sent = say(line, 'second', `c${round}`);
      expect((await events.next())?.data.messageAdded.text).toBe('second');
      expect((await list.next())?.data.chatListChanged).toMatchObject({
        configId: `c${round}`,
        lastMessage: { text: 'second' },
      });
      await sent;
      for (const subscription of [events, list]) subscription.stop();
    }
  });

  test('stops when the client completes it', async () => {
    const { ws, server } = await startServer();
    const line = await connectGraphql(ws, ANN);
    const id = await say(line, 'm1');
    const events = line.subscribe(ADDED, { id, after: 0 });
    await events.next();
    events.stop();
    await line.run('{ viewer { email } }');
    expect(server.subscriptions()).toBe(0);
  });
});

describe('chatListChanged', () => {
  test('reports a new conversation and new messages to every member, and a read position to its reader', async () => {
    const { ws } = await startServer();
    const [ann, bob, eve] = [
      await connectGraphql(ws, ANN),
      await connectGraphql(ws, BOB),
      await connectGraphql(ws, 'eve@example.com'),
    ];
    const lists = [ann, bob].map((line) => line.subscribe(CHANGED));
    const foreign = eve.subscribe(CHANGED);
    await Promise.all([ann, bob, eve].map((line) => line.run('{ viewer { email } }')));
    const id = await say(ann, 'hello');
    const changed = async (i: number) => (await lists[i]?.next())?.data.chatListChanged;
    const state = { configId: 'c1', lastSeq: 1, lastMessage: { text: 'hello' } };
    expect(await changed(0)).toEqual({ ...state, unreadCount: 0 });
    expect(await changed(1)).toEqual({ ...state, unreadCount: 1 });
    await bob.run('mutation ($id: ID!) { markRead(input: { conversationId: $id, seq: 1 }) { conversation { id } } }', {
      id,
    });
    expect(await changed(1)).toEqual({ ...state, unreadCount: 0 });
    await say(ann, 'again');
    expect(await changed(0)).toMatchObject({ lastSeq: 2 });
    await eve.run(
      'mutation { sendMessage(input: { to: { ' +
        'key: { configId: "e", members: ["eve@example.com", "fay@example.com"] } }, ' +
        'text: "x" }) { message { id } } }',
    );
    expect((await foreign.next())?.data.chatListChanged).toMatchObject({ configId: 'e' });
  });
});

describe('opening and dropping subscriptions leaves no listener behind', () => {
  test('500 of them, completed, closed or cut, while a member writes', async () => {
    // A file, so that sends are in flight while subscriptions register.
    const store = await openSqlite(join(mkdtempSync(join(tmpdir(), 'kredichat-')), 'k.db'));
    const { ws, server } = await startServer({}, { store });
    const ann = await connectGraphql(ws, ANN);
    const id = await say(ann, 'm1');
    let writing = true;
    const writer = (async () => {
      while (writing) await say(ann, 'more');
    })();
    const receive = { type: 'RECEIVE', config_id: 'c1', members: [ANN] };
    for (let round = 0; round < 50; round++) {
      const line = await connectGraphql(ws, BOB);
      const live = await connectLegacy(ws, BOB, '&live=1');
      live.send(receive);
      const subscriptions = Array.from({ length: 10 }, (_, i) =>
        line.subscribe(i % 3 === 0 ? CHANGED : ADDED, { id, after: i % 2 }),
      );
      if (round % 2 === 0) await Promise.all([line.run('{ viewer { email } }'), live.next()]);
      if (round % 3 === 0) for (const subscription of subscriptions) subscription.stop();
      for (const { socket } of [line, live]) {
        if (round % 4 === 1) socket.terminate();
        else socket.close();
      }
      await Promise.all([line.closed(), live.closed()]);
    }
    writing = false;
    await writer;
    await expect.poll(() => server.subscriptions()).toBe(0);
  });

  test.each([
    ['runs already', null],
    ['is still beginning', 'slow'],
  ])('an id may be used again as soon as it was completed, while its earlier operation %s', async (_, slow) => {
    const { ws, server, store } = await startServer();
    const line = await connectGraphql(ws, ANN);
    const id = await say(line, 'm1');
    const raw = await connect(`${ws}/graphql`, 'graphql-transport-ws');
    raw.send({ type: 'connection_init', payload: { authorization: `Bearer ${ANN}` } });
    expect((await raw.next()).type).toBe('connection_ack');
    const { conversation } = store;
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const subscribe = (query: string, variables: object) =>
      raw.send({ id: 'z', type: 'subscribe', payload: { query, variables } });
    const complete = () => raw.send({ id: 'z', type: 'complete' });
    subscribe(ADDED, { id, after: 0 });
    expect((await raw.next()).payload.data.messageAdded.seq).toBe(1);
    // The first stands for live messages; those after it for a list, a message and an address.
    if (slow) {
      store.conversation = async (id) => {
        await held;
        return conversation(id);
      };
      complete();
      subscribe(ADDED, { id, after: 0 });
    }
    complete();
    subscribe(CHANGED, {});
    complete();
    subscribe('{ viewer { email } }', {});
    complete();
    subscribe('{ viewer { role } }', {});
    let frame = await raw.next();
    // On a busy machine the address may be answered before its end is read.
    if (frame.payload?.data?.viewer?.email) {
      expect(await raw.next()).toEqual({ id: 'z', type: 'complete' });
      frame = await raw.next();
    }
    expect(frame).toEqual({ id: 'z', type: 'next', payload: { data: { viewer: { role: null } } } });
    expect(await raw.next()).toEqual({ id: 'z', type: 'complete' });
    subscribe('subscription { chatListChanged { lastSeq } }', {});
    letGo();
    store.conversation = conversation;
    // A message of any kind is answered in order.
    raw.send({ id: 'y', type: 'subscribe', payload: { query: '{ viewer { role } }' } });
    for (const type of ['next', 'complete']) expect(await raw.next()).toMatchObject({ id: 'y', type });
    await say(line, 'm2');
    expect(await raw.next()).toEqual({ id: 'z', type: 'next', payload: { data: { chatListChanged: { lastSeq: 2 } } } });
    await expect.poll(() => server.subscriptions()).toBe(1);
    // It is in use again.
    subscribe(CHANGED, {});
    expect(await raw.closed()).toEqual({ code: 4409, reason: 'Subscriber for z already exists' });
    await expect.poll(() => server.subscriptions()).toBe(0);
  });

  test('operations that were completed, and have not ended, are bounded', async () => {
    const { ws, server, store } = await startServer();
    const line = await connectGraphql(ws, ANN);
    const id = await say(line, 'm1');
    const { conversation } = store;
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    let asked = 0;
    store.conversation = async (id) => {
      asked++;
      await held;
      return conversation(id);
    };
    for (let i = 0; i < 2000; i++) {
      line.send({ id: 'z', type: 'subscribe', payload: { query: ADDED, variables: { id } } });
      line.send({ id: 'z', type: 'complete' });
    }
    await expect.poll(() => asked).toBeGreaterThan(400);
    // What another client asks is answered meanwhile.
    const other = await connectGraphql(ws, BOB);
    for (let i = 0; i < 100; i++) await other.run('{ viewer { email } }');
    expect(asked).toBeLessThan(600);
    letGo();
    expect((await line.run('{ viewer { email } }')).data.viewer.email).toBe(ANN);
    await expect.poll(() => server.subscriptions()).toBe(0);
  });

  test('frames that arrive after a socket was cut are not processed', async () => {
    const { ws, url, server } = await startServer({ MAX_UNSENT_BYTES: '65536', HEARTBEAT_SECONDS: '300' });
    const line = await connectGraphql(ws, ANN);
    let id = '';
    for (let i = 0; i < 20; i++) id = await say(line, 'x'.repeat(10_000));
    line.socket.pause();
    const query = 'query ($id: ID!) { conversation(by: { id: $id }) { messages(last: 20) { nodes { text } } } }';
    for (let i = 0; i < 100; i++) line.subscribe(query, { id });
    for (let i = 0; i < 50; i++) line.subscribe(ADDED, { id });
    // The server does not report the cut: wait until ten checks in a row find the same number of answers.
    const looks: string[] = [];
    const stands = async () => {
      const body = await (await fetch(`${url}/metrics`)).text();
      looks.push(/_count{operation="query"} (\d+)/.exec(body)?.[1] ?? '');
      return looks.length >= 10 && looks.at(-1) !== '' && new Set(looks.slice(-10)).size === 1;
    };
    await expect.poll(stands).toBe(true);
    line.socket.resume();
    expect((await line.closed()).code).toBe(4413);
    await expect.poll(() => server.subscriptions()).toBe(0);
  });
});

test('a socket is not cut for one answer that is larger than the bound on unsent bytes', async () => {
  const { ws } = await startServer({ MAX_UNSENT_BYTES: '65536', HEARTBEAT_SECONDS: '300' });
  const line = await connectGraphql(ws, ANN);
  const messages = Array.from({ length: 100 }, () => ({ text: '\u{1F600}'.repeat(2500) }));
  const sent = await line.run(
    'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { messages { text } conversation { id } } }',
    { input: { to: { key: { configId: 'c1', members: [ANN, BOB] } }, messages: messages.slice(0, 20) } },
  );
  expect(sent.data.sendMessages.messages).toHaveLength(20);
  const { id } = sent.data.sendMessages.conversation;
  const replays = Array.from({ length: 100 }, () => line.subscribe(ADDED, { id, after: 0 }));
  for (const events of replays) {
    for (let seq = 1; seq <= 20; seq++) expect((await events.next())?.data.messageAdded.seq).toBe(seq);
  }
});

test('a reader that stalls is cut with 4413 and resumes without a gap; others do not notice', async () => {
  const { ws, url } = await startServer({ MAX_UNSENT_BYTES: '65536', HEARTBEAT_SECONDS: '300' });
  const [ann, slow, quick] = [
    await connectGraphql(ws, ANN),
    await connectGraphql(ws, BOB),
    await connectGraphql(ws, BOB),
  ];
  const id = await say(ann, 'm1');
  const [stalled, steady] = [slow.subscribe(ADDED, { id, after: 0 }), quick.subscribe(ADDED, { id, after: 0 })];
  expect((await stalled.next())?.data.messageAdded.seq).toBe(1);
  slow.socket.pause();
  const text = 'x'.repeat(9000);
  let last = 1;
  const seen: number[] = [];
  // Until the kernel's buffers are full, too, and the server has closed the socket.
  for (; last < 5000; last++) {
    await post(
      url,
      ANN,
      'mutation ($id: ID!, $text: String!) { sendMessage(input: { to: { id: $id }, text: $text }) { message { id } } }',
      { id, text },
    );
    seen.push((await steady.next())?.data.messageAdded.seq);
    if (last % 100 === 0 && (await (await fetch(`${url}/metrics`)).text()).includes('kredichat_subscriptions 1\n'))
      break;
  }
  expect(seen).toEqual(seen.map((_, i) => i + 1));
  slow.socket.resume();
  expect(await slow.closed()).toMatchObject({ code: 4413 });
  const received: number[] = [1];
  for (;;) {
    const answer = await stalled.next().catch(() => null);
    if (!answer) break;
    received.push(answer.data.messageAdded.seq);
  }
  expect(received).toEqual(received.map((_, i) => i + 1));
  const again = await connectGraphql(ws, BOB);
  const resumed = again.subscribe(ADDED, { id, after: received.at(-1) });
  for (let seq = received.length + 1; seq <= last; seq++)
    expect((await resumed.next())?.data.messageAdded.seq).toBe(seq);
});
