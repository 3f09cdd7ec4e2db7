import { createConnection } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { ConversationId, EmailAddress, Message } from '../../src/model.ts';
import { rank, stillMatching } from '../../src/store/ranking.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { termsOf } from '../../src/store/tokenizer.ts';
import { connect, connectGraphql, connectLegacy, legacyOnce, post } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const SEND = `mutation ($input: SendMessagesInput!) { sendMessages(input: $input) {
  deduplicated messages { seq readBy } conversation { id } } }`;
const TO = { key: { configId: 'c', members: [ANN, BOB] } };
const ALIASES = [...'abcdefghijklmno'].map((name) => `${name}: text`).join(' ');
/** Six bytes of JSON for each character. */
const LONGEST = '\u0001'.repeat(10_000);

/** Stores messages, a few at a time, and gives the conversation. */
async function fill(url: string, text: string, count: number): Promise<string> {
  let id = '';
  for (let i = 0; i < count; i += 4) {
    const messages = Array.from({ length: Math.min(4, count - i) }, () => ({ text }));
    id = (await post(url, ANN, SEND, { input: { to: TO, messages } })).data.sendMessages.conversation.id;
  }
  return id;
}

/** How many turns of the event loop pass while something is done. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let [turns, running] = [0, true];
  const done = work.finally(() => {
    running = false;
  });
  for (; running; turns++) await setImmediate();
  await done;
  return turns;
}

const members = Array.from({ length: 1024 }, (_, i) => `member-${i}@example.com`);

describe('an answer', () => {
  test('is bounded in bytes, even with few values, on every transport', async () => {
    const { url, ws } = await startServer();
    const id = await fill(url, LONGEST, 100);
    const page = (texts: string) =>
      `{ conversation(by: { id: "${id}" }) { messages(first: 100) { nodes { ${texts} } } } }`;
    const message = 'The answer would be larger than 8388608 bytes; ask for less at once.';
    const refusal = { errors: [{ message, extensions: { code: 'BAD_USER_INPUT' } }] };
    expect(await post(url, ANN, page(`text ${ALIASES}`))).toEqual(refusal);
    const line = await connectGraphql(ws, ANN);
    expect(await line.run(page('text again: text'))).toEqual(refusal);
    expect((await line.run(page('text'))).data.conversation.messages.nodes).toHaveLength(100);
    expect((await post(url, ANN, page('text'))).data.conversation.messages.nodes).toHaveLength(100);
  });

  test('that is large arrives whole over a WebSocket, which serves other operations meanwhile', async () => {
    const { url, ws } = await startServer();
    const id = await fill(url, LONGEST, 65);
    const line = await connectGraphql(ws, ANN);
    const live = line.subscribe(`subscription { messageAdded(conversationId: "${id}") { seq } }`);
    // What comes after a subscription on its socket waits until that has begun.
    await line.run('{ viewer { email } }');
    const page = `{ conversation(by: { id: "${id}" }) { messages(last: 65) { nodes { text again: text } } } }`;
    const answer = line.run(page);
    await post(url, BOB, SEND, { input: { to: TO, messages: [{ text: 'x' }] } });
    expect((await live.next())?.data.messageAdded.seq).toBe(66);
    expect((await answer).data.conversation.messages.nodes).toHaveLength(65);
    expect((await line.run('{ viewer { email } }')).data.viewer.email).toBe(ANN);
  });

  test('that is written in pieces equals one written at once, byte for byte', async () => {
    const { url } = await startServer({ LEGACY_PAGE_SIZE: '100' });
    const texts = Array.from({ length: 60 }, (_, i) => `${i} "quoted" \\ \u2028 \u{1F30D} \n `.repeat(i * 8 + 1));
    for (const text of texts) await post(url, ANN, SEND, { input: { to: TO, messages: [{ text }] } });
    const query = '{ chatList { nodes { subject labels messages(last: 100) { nodes { text replyTo { seq } } } } } }';
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${ANN}` };
    const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query }) });
    const nodes = texts.map((text) => ({ text, replyTo: null }));
    const expected = { data: { chatList: { nodes: [{ subject: null, labels: [], messages: { nodes } }] } } };
    expect(await response.text()).toBe(JSON.stringify(expected));
  });

  test('that takes long yields to other work', async () => {
    const store = await openSqlite(':memory:');
    const slow: typeof store.messages = (...args) => {
      for (const until = performance.now() + 4; performance.now() < until; );
      return store.messages(...args);
    };
    const { url } = await startServer({}, { store: { ...store, messages: slow } });
    for (let i = 0; i < 60; i++) {
      const to = { key: { configId: `c${i}`, members: [ANN, BOB] } };
      await post(url, ANN, SEND, { input: { to, messages: [{ text: 'x' }] } });
    }
    const list = '{ chatList(first: 60) { nodes { messages(first: 50) { nodes { text } } } } }';
    // Three or four pages of four milliseconds a turn.
    expect(await turnsDuring(post(url, ANN, list))).toBeGreaterThan(12);
  });

  test('yields between the pages of one operation, and between operations', async () => {
    const store = await openSqlite(':memory:');
    let turn = 0;
    const turns: number[] = [];
    const slow: typeof store.messages = (...args) => {
      turns.push(turn);
      for (const until = performance.now() + 12; performance.now() < until; );
      return store.messages(...args);
    };
    const { url, ws } = await startServer({}, { store: { ...store, messages: slow } });
    const id = await fill(url, 'x', 1);
    const page = `conversation(by: { id: "${id}" }) { messages(first: 100) { nodes { seq } } }`;
    const timer = setInterval(() => turn++);
    turns.length = 0;
    await post(url, ANN, `{ ${[...'abcdef'].map((name) => `${name}: ${page}`).join(' ')} }`);
    expect(new Set(turns).size).toBeGreaterThan(3);
    turns.length = 0;
    const line = await connectGraphql(ws, ANN);
    await Promise.all([...'abcdefgh'].map((name) => line.run(`{ ${name}: ${page} }`)));
    clearInterval(timer);
    expect(turns).toHaveLength(8);
    expect(new Set(turns).size).toBeGreaterThan(3);
  });

  test('holds a slot no longer than its connection lasts, also behind an unread one', async () => {
    const { url } = await startServer();
    const id = await fill(url, LONGEST, 65);
    const query = `{ conversation(by: { id: "${id}" }) {
      messages(first: 65) { nodes { text } } again: messages(first: 65) { nodes { text } } } }`;
    const body = JSON.stringify({ query });
    const { host, hostname, port } = new URL(url);
    const socket = createConnection(Number(port), hostname).pause();
    const head = ['POST /graphql HTTP/1.1', `Host: ${host}`, `Authorization: Bearer ${ANN}`];
    head.push('Content-Type: application/json', `Content-Length: ${body.length}`, '', body);
    socket.write(head.join('\r\n').repeat(6));
    for (let turn = 0; turn < 2; turn++) await post(url, BOB, query);
    socket.destroy();
    for (let i = 0; i < 2; i++) expect((await post(url, ANN, query)).data.conversation.messages.nodes).toHaveLength(65);
  });

  test('to a mutation is refused before the write if it would be too large', async () => {
    const { url } = await startServer();
    const id = await fill(url, LONGEST, 100);
    const read = `mutation { markRead(input: { conversationId: "${id}", seq: 100 }) {
      conversation { messages(first: 100) { nodes { text ${ALIASES} } } } } }`;
    expect((await post(url, BOB, read)).errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
    const positions = await post(
      url,
      ANN,
      `{ conversation(by: { id: "${id}" }) { members { email readSeq } lastSeq } }`,
    );
    expect(positions.data.conversation).toMatchObject({ lastSeq: 100, members: [{}, { email: BOB, readSeq: 0 }] });
    const say = `mutation { sendMessage(input: { to: { id: "${id}" }, text: "x" }) {
      message { seq } conversation { messages(last: 100) { nodes { text ${ALIASES} } } } } }`;
    expect((await post(url, BOB, say)).errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
    expect((await post(url, ANN, `{ conversation(by: { id: "${id}" }) { lastSeq } }`)).data.conversation.lastSeq).toBe(
      100,
    );
    const small = `mutation { markRead(input: { conversationId: "${id}", seq: 100 }) {
      conversation { messages(first: 100) { nodes { seq text } } } } }`;
    expect((await post(url, BOB, small)).data.markRead.conversation.messages.nodes).toHaveLength(100);
  });

  test('to a batch is refused before the write if the whole answer would be too large', async () => {
    const { url } = await startServer();
    const id = await fill(url, LONGEST, 1);
    const sendAll = (texts: string, count: number) => {
      const messages = Array.from({ length: count }, () => ({ text: 'x', replyToSeq: 1 }));
      const batch = `mutation ($input: SendMessagesInput!) {
        sendMessages(input: $input) { messages { replyTo { ${texts} } } } }`;
      return post(url, BOB, batch, { input: { to: { id }, messages } });
    };
    expect((await sendAll(`text ${ALIASES}`, 100)).errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
    expect((await sendAll('text a: text b: text c: text', 100)).errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
    expect((await post(url, ANN, `{ conversation(by: { id: "${id}" }) { lastSeq } }`)).data.conversation.lastSeq).toBe(
      1,
    );
    expect((await sendAll('text', 100)).data.sendMessages.messages).toHaveLength(100);
    expect((await sendAll(`text ${ALIASES}`, 4)).data.sendMessages.messages).toHaveLength(4);
  });

  test('does not become too long by the names of its fields', async () => {
    const { url } = await startServer();
    const named = (length: number) => post(url, ANN, `{ viewer { ${'a'.repeat(length)}: email } }`);
    const { errors } = await named(101);
    expect(errors).toMatchObject([
      { message: 'An alias must have at most 100 characters.', extensions: { code: 'BAD_USER_INPUT' } },
    ]);
    expect(Object.values((await named(100)).data.viewer)).toEqual([ANN]);
  });

  test('to a stored message is given, also in a conversation of 1,024 members', async () => {
    const { url, ws } = await startServer({ LEGACY_PAGE_SIZE: '100' });
    const to = { key: { configId: 'c', members: [ANN, ...members.slice(1)] } };
    const messages = Array.from({ length: 100 }, (_, i) => ({ text: `m${i}`, clientId: `${i}` }));
    const sent = await post(url, ANN, SEND, { input: { to, messages } });
    expect(sent.data.sendMessages.messages.at(-1)).toEqual({ seq: 100, readBy: [ANN] });
    const frame = { config_id: 'c', members: members.slice(1) };
    const said = Array.from({ length: 50 }, (_, i) => ({ text: `f${i}` }));
    const stored = await legacyOnce(ws, ANN, { type: 'SEND', ...frame, message: said });
    expect(stored.data[0].message).toHaveLength(50);
    const page = await legacyOnce(ws, ANN, { type: 'RECEIVE', ...frame });
    expect(page.data[0].message).toHaveLength(100);
    expect(page.data[0].members).toHaveLength(1024);
  });

  test('of one user waits for unread ones; those of other users do not', async () => {
    const { url, ws } = await startServer({ MAX_RESPONSE_BYTES: '33554432' });
    const id = await fill(url, LONGEST, 30);
    const page = (texts: string) =>
      `{ conversation(by: { id: "${id}" }) { messages(first: 100) { nodes { ${texts} } } } }`;
    // 27 MB: more than the kernel buffers for a client that does not read. So many values need a slot at the start.
    const longest = page(ALIASES);
    const query = page('text');
    const silent = await Promise.all([1, 2, 3, 4].map(() => connect(`${ws}/graphql`, 'graphql-transport-ws')));
    for (const { socket, send, next } of silent) {
      send({ type: 'connection_init', payload: { authorization: `Bearer ${ANN}` } });
      await next();
      socket.pause();
      send({ id: '1', type: 'subscribe', payload: { query: longest } });
    }
    const line = await connectGraphql(ws, ANN);
    let answered = false;
    const waiting = line.run(query).then((answer) => {
      answered = true;
      return answer;
    });
    expect((await post(url, BOB, query)).data.conversation.messages.nodes).toHaveLength(30);
    expect((await line.run('{ viewer { email } }')).data.viewer.email).toBe(ANN);
    expect(answered).toBe(false);
    for (const { socket } of silent) socket.resume();
    expect((await waiting).data.conversation.messages.nodes).toHaveLength(30);
  });
});

test('pipelined requests are answered one after the other, and only as far as the client reads', async () => {
  const store = await openSqlite(':memory:');
  let pages = 0;
  const messages: typeof store.messages = (...args) => {
    pages++;
    return store.messages(...args);
  };
  const { url } = await startServer({}, { store: { ...store, messages } });
  const id = await fill(url, LONGEST, 4);
  pages = 0;
  const { hostname, port, host } = new URL(url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  socket.pause();
  const requests = Array.from({ length: 200 }, (_, i) => {
    // Each of another number of messages, so that none is kept from before.
    const query = `{ conversation(by: { id: "${id}" }) { m${i}: messages(last: 4) { nodes { text } } } }`;
    return (
      `GET /graphql?query=${encodeURIComponent(query)} HTTP/1.1\r\nHost: ${host}\r\n` +
      `Authorization: Bearer ${ANN}\r\n\r\n`
    );
  });
  socket.write(requests.join(''));
  let before = -1;
  // Until no more are answered, as the kernel's buffers are full.
  while (pages !== before || pages === 0) {
    before = pages;
    for (let i = 0; i < 5; i++) await post(url, BOB, '{ viewer { email } }');
    await post(url, BOB, `{ conversation(by: { id: "${id}" }) { id } }`);
  }
  expect(pages).toBeLessThan(150);
  let received = '';
  socket.on('data', (data) => {
    received += data;
  });
  socket.resume();
  await expect.poll(() => received.split('HTTP/1.1 200 OK').length - 1).toBe(200);
  socket.destroy();
});

describe('an event', () => {
  test('that is too large is an error, and the stream goes on', async () => {
    const { url, ws } = await startServer({ MAX_RESPONSE_BYTES: '65536' });
    const line = await connectGraphql(ws, ANN);
    const events = line.subscribe(
      'subscription { chatListChanged { lastSeq messages(last: 100) { nodes { text } } } }',
    );
    await line.run('{ viewer { email } }');
    const messages = [{ text: 'x'.repeat(10_000) }];
    for (let seq = 1; seq <= 6; seq++) {
      await post(url, BOB, SEND, { input: { to: TO, messages } });
      expect((await events.next())?.data.chatListChanged.lastSeq).toBe(seq);
    }
    await post(url, BOB, SEND, { input: { to: TO, messages } });
    expect((await events.next())?.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }]);
    await post(url, BOB, SEND, { input: { to: TO, messages } });
    expect((await events.next())?.errors).toHaveLength(1);
  });

  test('that is too large only as JSON is an error, too', async () => {
    const { url, ws } = await startServer({ MAX_RESPONSE_BYTES: '300000' });
    const line = await connectGraphql(ws, ANN);
    const events = line.subscribe(
      'subscription { chatListChanged { lastSeq unreadCount messages(last: 100) { nodes { text } } } }',
    );
    await line.run('{ viewer { email } }');
    await fill(url, LONGEST, 4);
    expect((await events.next())?.data.chatListChanged).toMatchObject({ lastSeq: 4, unreadCount: 0 });
    for (let i = 0; i < 2; i++) {
      await fill(url, LONGEST, 4);
      expect((await events.next())?.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }]);
    }
  });

  test('of a chat list resolves viewer-specific fields once a viewer, and the others once', async () => {
    const store = await openSqlite(':memory:');
    const looks: EmailAddress[] = [];
    let pages = 0;
    const counted: typeof store = {
      ...store,
      firstUnread: (id, reader) => {
        looks.push(reader);
        return store.firstUnread(id, reader);
      },
      messages: (...args) => {
        pages++;
        return store.messages(...args);
      },
    };
    const { ws } = await startServer({}, { store: counted });
    const lines = await Promise.all([ANN, ANN, BOB, BOB].map((user) => connectGraphql(ws, user)));
    const query = `subscription { chatListChanged { id unreadCount lastMessage { text } members { email } muted
      newest: messages(last: 1) { nodes { text } }
      unread: messages(first: 1, around: { firstUnread: true }) { nodes { seq } } } }`;
    // Each has written a part of the events after its position: find the first unread one.
    for (const line of [lines[0], lines[2]])
      await line?.run(SEND, { input: { to: TO, messages: [{ text: 'before' }] } });
    const streams = lines.flatMap((line) => Array.from({ length: 10 }, () => line.subscribe(query)));
    await Promise.all(lines.map((line) => line.run('{ viewer { email } }')));
    [looks.length, pages] = [0, 0];
    await lines[0]?.run(SEND, { input: { to: TO, messages: [{ text: 'newest' }] } });
    for (const [i, stream] of streams.entries()) {
      const event = (await stream.next())?.data.chatListChanged;
      expect(Object.keys(event)).toEqual(['id', 'unreadCount', 'lastMessage', 'members', 'muted', 'newest', 'unread']);
      expect(event).toMatchObject({ unreadCount: i < 20 ? 1 : 2, lastMessage: { text: 'newest' }, members: [{}, {}] });
    }
    expect(looks.sort()).toEqual([ANN, BOB]);
    // The newest once, and of each viewer the first that is unread.
    expect(pages).toBe(3);
  });
});

test('replays of many subscribers read their pages in turns', async () => {
  const store = await openSqlite(':memory:');
  let turn = 0;
  const reads: { turn: number; size: number }[] = [];
  const slow: typeof store.messages = (id, from, to) => {
    reads.push({ turn, size: to - from + 1 });
    for (const until = performance.now() + 12; performance.now() < until; );
    return store.messages(id, from, to);
  };
  const { url, ws } = await startServer({}, { store: { ...store, messages: slow } });
  const id = await fill(url, 'x', 40);
  reads.length = 0;
  const timer = setInterval(() => turn++);
  const line = await connectGraphql(ws, ANN);
  const replays = Array.from({ length: 10 }, () =>
    line.subscribe(`subscription { messageAdded(conversationId: "${id}", afterSeq: 0) { seq } }`),
  );
  for (const replay of replays) expect((await replay.next())?.data.messageAdded.seq).toBe(1);
  clearInterval(timer);
  expect(new Set(reads.map((read) => read.turn)).size).toBeGreaterThan(4);
  // Texts may be long: the first read is small.
  expect(reads[0]?.size).toBe(20);
});

test('a search compares long texts in turns', async () => {
  const texts = Array.from({ length: 50 }, (_, seq) => ({
    ...{ conversationId: 'c_x' as ConversationId, seq, sentAt: 0, text: 'e\u0301'.repeat(5000) },
  }));
  const terms = termsOf('nothing');
  expect(await turnsDuring(rank([texts], terms, { first: 10, after: null }))).toBeGreaterThan(2);
  const hits = texts.map((message) => ({ message, position: { score: 1, ...message } }));
  expect(await turnsDuring(stillMatching(hits, terms, (message) => message as unknown as Message))).toBeGreaterThan(2);
});

test('frames of many sockets yield to other work', async () => {
  const store = await openSqlite(':memory:');
  let [turn, running] = [0, true];
  const perTurn = new Map<number, number>();
  const slow: typeof store.conversation = (...args) => {
    perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1);
    for (const until = performance.now() + 4; performance.now() < until; );
    return store.conversation(...args);
  };
  const { ws } = await startServer({}, { store: { ...store, conversation: slow } });
  const sockets = await Promise.all(Array.from({ length: 30 }, () => connectLegacy(ws, ANN)));
  const answers = Promise.all(
    sockets.map(({ send, next }) => {
      send({ type: 'RECEIVE', config_id: 'c', members: [BOB] });
      return next();
    }),
  ).finally(() => {
    running = false;
  });
  for (; running; turn++) await setImmediate();
  expect((await answers)[29]).toEqual({ type: 'RECEIVE', data: [] });
  expect(Math.max(...perTurn.values())).toBeLessThan(10);
});

test('a replay yields to other work', async () => {
  const store = await openSqlite(':memory:');
  const slow: typeof store.messages = (...args) => {
    for (const until = performance.now() + 4; performance.now() < until; );
    return store.messages(...args);
  };
  const { ws } = await startServer({}, { store: { ...store, messages: slow } });
  const line = await connectGraphql(ws, ANN);
  const messages = Array.from({ length: 100 }, () => ({ text: 'x'.repeat(1000) }));
  let id = '';
  for (let i = 0; i < 30; i++)
    id = (await line.run(SEND, { input: { to: TO, messages } })).data.sendMessages.conversation.id;
  const live = line.subscribe(`subscription { messageAdded(conversationId: "${id}", afterSeq: 0) { seq text } }`);
  const readAll = async () => {
    for (let seq = 1; seq <= 3000; seq++) expect((await live.next())?.data.messageAdded.seq).toBe(seq);
  };
  // Sixty pages of four milliseconds, of which three or four fit into a turn.
  expect(await turnsDuring(readAll())).toBeGreaterThan(12);
});

describe('a caller without identity', () => {
  test('is refused before the variables are read', async () => {
    const { url, ws } = await startServer();
    const input = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, i]));
    const send = 'mutation ($input: SendMessageInput!) { a: sendMessage(input: $input) { deduplicated } }';
    const refusal = [{ path: ['a'], extensions: { code: 'UNAUTHENTICATED' } }];
    expect(await post(url, null, send, { input })).toMatchObject({ data: null, errors: refusal });
    const line = await connectGraphql(ws, null);
    expect(await line.run(send, { input })).toMatchObject({ data: null, errors: refusal });
    const nullable =
      'query ($id: ID!) { node(id: $id) { id } ...F } fragment F on Query { b: conversation(by: { id: $id }) { id } }';
    const { data, errors } = await post(url, null, nullable, { id: { deep: 1 } });
    expect(data).toEqual({ node: null, b: null });
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED']);
    expect((await post(url, null, '{ __typename }')).data).toEqual({ __typename: 'Query' });
  });

  test('and every other caller gets one short error for mistakes in the variables', async () => {
    const { url } = await startServer();
    const input = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, i]));
    const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { deduplicated } }';
    const { errors } = await post(url, ANN, send, { input });
    expect(errors).toHaveLength(1);
    expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
    expect(errors?.[0]?.message.length).toBeLessThan(1100);
  });
});

test('the id, document and variables that a subscription keeps are bounded together', async () => {
  const { ws } = await startServer();
  const line = await connectGraphql(ws, ANN);
  const subscription = 'subscription { chatListChanged { id } }';
  const long = 'x'.repeat(20_000);
  for (const frame of [
    { id: long, payload: { query: subscription } },
    { id: 'a', payload: { query: `${subscription} #${long}` } },
    { id: 'b', payload: { query: subscription, variables: { unused: long } } },
  ]) {
    const alone = await connect(`${ws}/graphql`, 'graphql-transport-ws');
    alone.send({ type: 'connection_init', payload: { authorization: `Bearer ${ANN}` } });
    await alone.next();
    alone.send({ type: 'subscribe', ...frame });
    const { id, type, payload } = await alone.next();
    expect({ id, type, payload }).toMatchObject({
      id: frame.id,
      type: 'error',
      payload: [{ extensions: { code: 'BAD_USER_INPUT' } }],
    });
  }
  expect((await line.run(`{ viewer { email } } #${long}`)).data.viewer.email).toBe(ANN);
});

test('each of many changed labels and members is compared once', async () => {
  const { url } = await startServer();
  const conversationId = await fill(url, 'x', 1);
  const update =
    'mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { id } } }';
  const searches = (['includes', 'indexOf', 'find', 'filter'] as const).map((name) => vi.spyOn(Array.prototype, name));
  onTestFinished(() => void vi.restoreAllMocks());
  const names = Array.from({ length: 1200 }, (_, i) => `${i}@a.example`);
  const others = names.map((name) => `r${name}`);
  for (const lists of [
    { addMembers: names, removeMembers: others },
    { addLabels: names, removeLabels: others },
  ]) {
    const { errors } = await post(url, ANN, update, { input: { conversationId, ...lists } });
    expect(errors?.[0]?.message).toMatch(/^A conversation has at most/);
  }
  // Lists are searched as a whole, not for each name.
  for (const search of searches) expect(search.mock.calls.length).toBeLessThan(200);
});
