import { once } from 'node:events';
import { Socket } from 'node:net';
import { type ExecutionResult, type GraphQLError, isObjectType, parse } from 'graphql';
import { describe, expect, test, vi } from 'vitest';
import { getOrMake } from '../../src/execution/memo.ts';
import { createPrepare, type PreparedOperation, type PrepareOptions } from '../../src/execution/prepared-operation.ts';
import { createSharedExecution } from '../../src/execution/shared-execution.ts';
import type { Context } from '../../src/graphql/context.ts';
import { createSchema } from '../../src/graphql/schema.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { connect, connectGraphql, type GraphqlLine } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const SEND =
  'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } conversation { id } } }';
const TO = { key: { configId: 'c', members: [ANN, BOB] } };

async function say(line: GraphqlLine, input: Record<string, unknown>): Promise<{ message: string; id: string }> {
  const { data } = await line.run(SEND, { input: { to: TO, ...input } });
  return { message: data.sendMessage.message.id, id: data.sendMessage.conversation.id };
}

/** Selections on a message with the variables they use. */
const CORPUS: readonly (readonly [selection: string, fragments?: string, variables?: Record<string, unknown>])[] = [
  ['seq text'],
  ['id conversationId seq rev kind sender text clientId sentAt editedAt redactedAt readBy revisions { text }'],
  ['a: text b: text seq'],
  ['...F seq', 'fragment F on Message { text sender replyTo { ...G } } fragment G on Message { seq text }'],
  ['... on Message { __typename text } ... on Node { __typename id }'],
  ['replyTo { seq text replyTo { seq replyTo { text } } }'],
  ['text @include(if: $yes) sender @skip(if: $yes) seq', '', { yes: true }],
  ['text @include(if: $yes) sender @skip(if: $yes) seq', '', { yes: false }],
  ['...F @include(if: $yes) seq', 'fragment F on Message { replyTo { text @skip(if: $yes) seq } }', { yes: true }],
];

/** The same on a conversation, with fields that depend on the viewer among the others. */
const CHAT_CORPUS: typeof CORPUS = [
  ['id unreadCount configId muted'],
  ['unreadCount muted'],
  ['u: unreadCount id again: unreadCount members { email }'],
  ['...F lastSeq', 'fragment F on Conversation { muted ...G subject } fragment G on Conversation { unreadCount id }'],
  ['... on Conversation { pinned labels } ... on Node { __typename id }'],
  ['muted @include(if: $yes) id @skip(if: $yes) lastSeq', '', { yes: true }],
  ['muted @include(if: $yes) id @skip(if: $yes) lastSeq', '', { yes: false }],
  ['...F @include(if: $yes) id', 'fragment F on Conversation { muted subject }', { yes: false }],
  ['messages(around: { firstUnread: true }, first: 2) { nodes { seq text } } status'],
  ['newest: messages(last: 1) { nodes { text readBy } edges { cursor } } unreadCount'],
  [
    'id ...F',
    'fragment F on Conversation { messages(around: { firstUnread: true }) { nodes { ...M } } } ' +
      'fragment M on Message { seq }',
  ],
  ['lastMessage { text } archived lastMessage { seq } archived'],
];

/** The text behind `"payload":{"data":{"NAME":`, without the braces that close it. */
const inner = (text: string, name: string) => text.slice(text.indexOf(`"${name}":`) + name.length + 3, -'}}}'.length);

/** A conversation of one message, on a server that counts how often that is looked up by those that reply to it. */
async function countReplies() {
  const store = await openSqlite(':memory:');
  let count = 0;
  const messages: typeof store.messages = (id, from, to) => {
    if (to === 1) count++;
    return store.messages(id, from, to);
  };
  const { ws } = await startServer({}, { store: { ...store, messages } });
  const ann = await connectGraphql(ws, ANN);
  const { id } = await say(ann, { text: 'first' });
  return { ws, ann, id, replies: () => count };
}

describe('a shared execution', () => {
  test('gives every subscriber the bytes of a separate execution, for every kind of selection', async () => {
    const { ws } = await startServer();
    const ann = await connectGraphql(ws, ANN);
    const { id } = await say(ann, { text: 'a "quoted" text\nwith 🌍 and \u2028', clientId: 'first' });
    await say(ann, { text: 'second', replyToSeq: 1 });
    const subscribers = await Promise.all([0, 1, 2].map(() => connect(`${ws}/graphql`, 'graphql-transport-ws')));
    const received = subscribers.map(() => new Map<string, string>());
    for (const [i, { socket, send }] of subscribers.entries()) {
      send({ type: 'connection_init', payload: { authorization: `Bearer ${i === 0 ? BOB : ANN}` } });
      await once(socket, 'message');
      socket.on('message', (data) => {
        const text = String(data);
        const { id: operation, type } = JSON.parse(text);
        if (type === 'next') received[i]?.set(operation, text);
      });
      for (const [n, [selection, fragments = '', variables = {}]] of CORPUS.entries()) {
        // One more variable, which differs and on which no result depends.
        const query = `subscription ($id: ID!, $after: Int, $yes: Boolean! = true) {
          messageAdded(conversationId: $id, afterSeq: $after) { ${selection} seq @include(if: $yes) } } ${fragments}`;
        send({ id: String(n), type: 'subscribe', payload: { query, variables: { id, after: 2, ...variables } } });
      }
    }
    await ann.run('{ viewer { email } }');
    const { message } = await say(ann, { text: 'third', replyToSeq: 2 });
    for (const frames of received) await expect.poll(() => frames.size).toBe(CORPUS.length);

    const alone = await connect(`${ws}/graphql`, 'graphql-transport-ws');
    alone.send({ type: 'connection_init', payload: { authorization: `Bearer ${BOB}` } });
    await once(alone.socket, 'message');
    for (const [n, [selection, fragments = '', variables = {}]] of CORPUS.entries()) {
      const query = `query ($id: ID!, $yes: Boolean! = true) {
        node(id: $id) { ... on Message { ${selection} seq @include(if: $yes) } } } ${fragments}`;
      alone.send({ id: `q${n}`, type: 'subscribe', payload: { query, variables: { id: message, ...variables } } });
      const text = await new Promise<string>((resolve) => {
        const read = (data: unknown) => {
          if (JSON.parse(String(data)).type === 'next') resolve(String(data));
          else alone.socket.once('message', read);
        };
        alone.socket.once('message', read);
      });
      const expected = inner(text, 'node');
      expect(expected).toContain('"seq":3');
      for (const frames of received) expect(inner(frames.get(String(n)) ?? '', 'messageAdded')).toBe(expected);
    }
  });

  test('gives every viewer of a chat list the bytes of a separate execution, with fields in order', async () => {
    const { ws } = await startServer();
    const lines = await Promise.all(
      [ANN, BOB, BOB].map((user) =>
        connect(`${ws}/graphql`, 'graphql-transport-ws').then((line) => ({ ...line, user })),
      ),
    );
    for (const { send, next, user } of lines) {
      send({ type: 'connection_init', payload: { authorization: `Bearer ${user}` } });
      await next();
    }
    const run = async ({ send, socket }: (typeof lines)[number], query: string, variables: object) => {
      send({ id: 'query', type: 'subscribe', payload: { query, variables } });
      return new Promise<string>((resolve) => {
        const read = (data: unknown) => {
          if (!String(data).startsWith('{"id":"query","type":"next"')) return;
          socket.off('message', read);
          resolve(String(data));
        };
        socket.on('message', read);
      });
    };
    const ann = await connectGraphql(ws, ANN);
    await say(ann, { text: 'a "quoted" text\nwith \u2028', clientId: 'first' });
    const received = lines.map(() => new Map<string, string>());
    for (const [i, { socket, send }] of lines.entries()) {
      socket.on('message', (data) => {
        const { id, type } = JSON.parse(String(data));
        if (type === 'next' && id !== 'query') received[i]?.set(id, String(data));
      });
      for (const [n, [selection, fragments = '', variables = {}]] of CHAT_CORPUS.entries()) {
        const query =
          `subscription ($yes: Boolean! = true) { ` +
          `chatListChanged { ${selection} createdAt @include(if: $yes) } } ${fragments}`;
        send({ id: String(n), type: 'subscribe', payload: { query, variables } });
      }
    }
    for (const line of lines) await run(line, '{ viewer { email } }', {});
    const { id } = await say(ann, { text: 'second' });
    for (const frames of received) await expect.poll(() => frames.size).toBe(CHAT_CORPUS.length);
    for (const [i, line] of lines.entries()) {
      for (const [n, [selection, fragments = '', variables = {}]] of CHAT_CORPUS.entries()) {
        const query =
          `query ($id: ID!, $yes: Boolean! = true) { ` +
          `conversation(by: { id: $id }) { ${selection} createdAt @include(if: $yes) } } ${fragments}`;
        const expected = inner(await run(line, query, { id, ...variables }), 'conversation');
        expect(inner(received[i]?.get(String(n)) ?? '', 'chatListChanged')).toBe(expected);
      }
    }
  });

  test('runs once an event for any number of subscribers, from any position', async () => {
    const { ws, ann, id, replies } = await countReplies();
    await say(ann, { text: 'second' });
    const query =
      'subscription ($id: ID!, $after: Int) { ' +
      'messageAdded(conversationId: $id, afterSeq: $after) { seq replyTo { text } } }';
    const lines = await Promise.all(Array.from({ length: 20 }, (_, i) => connectGraphql(ws, i % 2 ? ANN : BOB)));
    const streams = lines.map((line, i) => line.subscribe(query, { id, after: i < 10 ? 2 : undefined }));
    for (const line of lines) await line.run('{ viewer { email } }');
    await say(ann, { text: 'third', replyToSeq: 1 });
    for (const stream of streams)
      expect(await stream.next()).toEqual({ data: { messageAdded: { seq: 3, replyTo: { text: 'first' } } } });
    expect(replies()).toBe(1);
  });

  test('covers every kind of event of a conversation', async () => {
    const { ws, ann, id, replies } = await countReplies();
    const query = `subscription ($id: ID!, $after: Int) { conversationEvents(conversationId: $id, afterRev: $after) {
      __typename ... on MessageAdded { message { seq replyTo { text } } } } }`;
    const lines = await Promise.all(Array.from({ length: 20 }, (_, i) => connectGraphql(ws, i % 2 ? ANN : BOB)));
    const streams = lines.map((line, i) => line.subscribe(query, { id, after: i < 10 ? 1 : undefined }));
    for (const stream of streams) {
      while ((await stream.next())?.data.conversationEvents.__typename !== 'CaughtUp');
    }
    await say(ann, { text: 'second', replyToSeq: 1 });
    const expected = { __typename: 'MessageAdded', message: { seq: 2, replyTo: { text: 'first' } } };
    for (const stream of streams) expect((await stream.next())?.data.conversationEvents).toEqual(expected);
    expect(replies()).toBe(1);
  });

  test('is decided from the schema: not if a field depends on the viewer, and separately if a variable matters', () => {
    const schema = createSchema();
    const masked = (result: ExecutionResult) => result;
    const sharing = createSharedExecution({ schema, masked, responseBytes: 100_000, slice: () => null });
    const { prepareTrusted } = createPrepare({
      ...{ schema, limits: {} as PrepareOptions['limits'], introspection: true },
      mask: (error) => error as GraphQLError,
    });
    const operations = new Map<string, PreparedOperation>();
    const operationOf = (query: string) => getOrMake(operations, query, () => prepareTrusted(parse(query)));
    const event = {};
    /** The JSON that a subscription of this viewer gets for one and the same event. */
    const jsonFor = (email: string, query: string, variableValues: Record<string, unknown> = {}) => {
      const context = { chat: {}, viewer: { email, role: null } } as unknown as Context;
      return sharing.join(operationOf(query), variableValues, context).json(event);
    };
    const isShared = (query: string) => jsonFor(ANN, query) === jsonFor(BOB, query);
    expect(isShared('subscription { chatListChanged { __typename id unreadCount } }')).toBe(false);
    expect(isShared('subscription { ...S } fragment S on Subscription { chatListChanged { m: muted } }')).toBe(false);
    expect(
      isShared('subscription { chatListChanged { messages(around: { firstUnread: true }) { nodes { seq } } } }'),
    ).toBe(false);
    expect(isShared('subscription { chatListChanged { messages(last: 1) { nodes { seq } } } }')).toBe(true);
    expect(isShared('subscription { chatListChanged { id lastSeq members { email } } }')).toBe(true);

    const query = `subscription ($id: ID!, $after: Int, $yes: Boolean = true) {
      messageAdded(conversationId: $id, afterSeq: $after) { seq text @include(if: $yes) } }`;
    const one = jsonFor(ANN, query, { id: 'c', after: 1 });
    expect(jsonFor(BOB, query, { id: 'c', after: 2 })).toBe(one);
    expect(jsonFor(ANN, query, { id: 'c', yes: false })).not.toBe(one);
    expect(jsonFor(ANN, query, { id: 'c', yes: null })).not.toBe(one);
  });

  test('finds no field of a conversation that depends on the viewer and is not marked', async () => {
    const { ws } = await startServer();
    const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
    const type = createSchema().getType('Conversation');
    const unmarked = Object.values(isObjectType(type) ? type.getFields() : {}).filter(
      ({ astNode }) => !astNode?.directives?.some(({ name }) => name.value === 'perViewer'),
    );
    expect(unmarked.length).toBeGreaterThan(10);
    const nested: Record<string, string> = {
      members: '{ email role }',
      lastMessage: '{ text replyTo { text } readBy }',
      messages: '{ nodes { text } }',
    };
    const events = bob.subscribe(
      `subscription { chatListChanged { ${unmarked.map(({ name }) => `${name} ${nested[name] ?? ''}`).join(' ')} } }`,
    );
    await bob.run('{ viewer { email } }');
    await say(ann, { text: 'first' });
    expect((await events.next())?.errors).toBeUndefined();
  });
});

test('frames that become ready in the same turn leave in one write', async () => {
  const { ws } = await startServer();
  const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
  const { id } = await say(ann, { text: 'first' });
  const live = bob.subscribe('subscription ($id: ID!) { messageAdded(conversationId: $id) { seq text } }', { id });
  await bob.run('{ viewer { email } }');
  const write = vi.spyOn(Socket.prototype, 'write');
  await ann.run('mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { deduplicated } }', {
    input: { to: TO, messages: Array.from({ length: 60 }, (_, i) => ({ text: `m${i}` })) },
  });
  for (let seq = 2; seq <= 61; seq++) expect((await live.next())?.data.messageAdded.seq).toBe(seq);
  const events = write.mock.calls.filter(([bytes]) => String(bytes).includes('"messageAdded":'));
  expect(events.length).toBeLessThan(5);
  write.mockRestore();
});
