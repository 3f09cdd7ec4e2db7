import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { email, writeOf } from '../store/writes.ts';
import { type Answer, post } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const KEY = { configId: 'c1', members: [ANN, BOB] };

async function filled(count: number, configId = 'c1', to?: TestServer): Promise<TestServer & { id: string }> {
  const server = to ?? (await startServer());
  let id = '';
  for (let sent = 0; sent < count; sent += 100) {
    const messages = Array.from({ length: Math.min(100, count - sent) }, (_, i) => ({ text: `m${sent + i + 1}` }));
    const { data } = await post(
      server.url,
      ANN,
      'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { id } } }',
      { input: { to: { key: { ...KEY, configId } }, messages } },
    );
    id = data.sendMessages.conversation.id;
  }
  return { ...server, id };
}

const PAGE = `query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $around: MessagePosition) {
  conversation(by: { id: $id }) {
    messages(first: $first, after: $after, last: $last, before: $before, around: $around) {
      nodes { seq } edges { cursor node { seq text } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}`;
const page = async ({ url, id }: { url: string; id: string }, args: object, user = BOB) =>
  (await post(url, user, PAGE, { id, ...args })).data.conversation.messages;
const code = ({ errors }: Answer) => errors?.[0]?.extensions.code;

describe('Conversation.messages', () => {
  test('returns any window of the log, with correct page information', async () => {
    const server = await filled(23);
    const cursors: string[] = (await page(server, { first: 100 })).edges.map(
      ({ cursor }: { cursor: string }) => cursor,
    );
    const size = fc.integer({ min: 1, max: 30 });
    const at = fc.integer({ min: 1, max: 23 });
    const clip = (from: number, to: number) => [Math.max(1, from), Math.min(23, to)] as const;
    const request = fc.oneof(
      size.map((n) => ({ args: { first: n }, range: clip(1, n) })),
      size.map((n) => ({ args: { last: n }, range: clip(24 - n, 23) })),
      fc.tuple(size, at).map(([n, s]) => ({ args: { first: n, after: cursors[s - 1] }, range: clip(s + 1, s + n) })),
      fc.tuple(size, at).map(([n, s]) => ({ args: { last: n, before: cursors[s - 1] }, range: clip(s - n, s - 1) })),
      fc.tuple(size, fc.integer({ min: -5, max: 40 })).map(([n, s]) => {
        const middle = Math.min(23, Math.max(1, s));
        const from = middle - Math.floor(n / 2);
        return { args: { first: n, around: { seq: s } }, range: clip(from, from + n - 1) };
      }),
    );
    await fc.assert(
      fc.asyncProperty(request, async ({ args, range: [from, to] }) => {
        const { nodes, edges, pageInfo } = await page(server, args);
        const seqs = Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
        expect(nodes).toEqual(seqs.map((seq) => ({ seq })));
        expect(edges).toEqual(seqs.map((seq) => ({ cursor: cursors[seq - 1], node: { seq, text: `m${seq}` } })));
        expect(pageInfo).toEqual({
          ...{ hasPreviousPage: from > 1, hasNextPage: to < 23 },
          ...{ startCursor: edges[0]?.cursor ?? null, endCursor: edges.at(-1)?.cursor ?? null },
        });
      }),
      { numRuns: 150 },
    );
  });

  test('returns the newest 50 without arguments', async () => {
    const server = await filled(120);
    expect((await page(server, {})).nodes.map(({ seq }: { seq: number }) => seq)).toEqual(
      Array.from({ length: 50 }, (_, i) => 71 + i),
    );
    expect((await page(server, { around: { seq: 60 } })).nodes).toHaveLength(50);
  });

  test('returns 50 messages deep in 200,000 as a full read does, from either end', async () => {
    const store = await openSqlite(':memory:');
    for (let seq = 0; seq < 200_000; seq += 1000)
      await store.write(writeOf('c1', [email('ann'), email('bob')], seq, 1000));
    const server = {
      ...(await startServer({}, { store })),
      id: writeOf('c1', [email('ann'), email('bob')], 0).conversation,
    };
    for (const middle of [51, 100_000, 199_950]) {
      const at = (await page(server, { around: { seq: middle }, first: 1 })).pageInfo.startCursor;
      const texts = async (args: object) =>
        (await page(server, args)).edges.map(
          ({ node }: { node: { seq: number; text: string } }) => `${node.seq} ${node.text}`,
        );
      expect(await texts({ last: 50, before: at })).toEqual(
        Array.from({ length: 50 }, (_, i) => `${middle - 50 + i} m${middle - 50 + i}`),
      );
      expect(await texts({ first: 50, after: at })).toEqual(
        Array.from({ length: 50 }, (_, i) => `${middle + 1 + i} m${middle + 1 + i}`),
      );
    }
  });

  test('returns the messages around a time or the first unread message', async () => {
    let now = 0;
    const server = await filled(0, 'c1', await startServer({}, { clock: () => now }));
    for (const at of [1000, 2000, 3000, 4000, 5000]) {
      now = at;
      Object.assign(server, await filled(1, 'c1', server));
    }
    const middle = async (around: object, user?: string) =>
      (await page(server, { around, first: 1 }, user)).nodes[0].seq;
    expect(await middle({ time: '1970-01-01T00:00:00Z' })).toBe(1);
    expect(await middle({ time: '1970-01-01T00:00:03.000Z' })).toBe(3);
    expect(await middle({ time: '1970-01-01T01:00:03.001+01:00' })).toBe(4);
    expect(await middle({ time: '2999-01-01T00:00:00Z' })).toBe(5);
    expect(await middle({ firstUnread: true })).toBe(1);
    await post(
      server.url,
      BOB,
      'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }',
      {
        input: { conversationId: server.id, seq: 3 },
      },
    );
    expect(await middle({ firstUnread: true })).toBe(4);
    expect(await middle({ firstUnread: true }, ANN)).toBe(5);
  });

  test('refuses contradicting arguments, sizes out of range and cursors of other connections', async () => {
    const server = await filled(5);
    const other = await filled(9, 'c2', server);
    const cursor = (await page(server, { first: 1 })).pageInfo.endCursor;
    const foreign = (await page(other, { first: 9 })).pageInfo.endCursor;
    const beyond = cursor.replace(/:1$/, ':6');
    const around = { seq: 1 };
    for (const args of [
      ...[0, -1, 101, 1e9].flatMap((n) => [
        { first: n },
        { last: n },
        { first: n, around },
        { first: n, after: cursor },
      ]),
      ...['', 'nonsense', foreign, beyond, server.id, Buffer.from(cursor).toString('base64')].flatMap((c) => [
        { first: 5, after: c },
        { last: 5, before: c },
      ]),
      ...[
        { first: 5, last: 5 },
        { first: 5, before: cursor },
        { last: 5, after: cursor },
        { after: cursor },
        { before: cursor },
      ],
      ...[
        { around, last: 5 },
        { around, after: cursor },
        { around, before: cursor },
        { around: {} },
        { around: { seq: 1, firstUnread: true } },
      ],
      ...[
        { around: { firstUnread: false } },
        { around: { time: '2024-02-31T00:00:00Z' } },
        { around: { time: 'now' } },
        { around: { time: 0 } },
      ],
      ...[{ first: 1.5 }, { first: '5' }, { first: 2 ** 31 }, { first: { $gt: 0 } }],
    ]) {
      expect(code(await post(server.url, BOB, PAGE, { id: server.id, ...args })), JSON.stringify(args)).toBe(
        'BAD_USER_INPUT',
      );
    }
  });
});

describe('a missing, foreign or malformed id', () => {
  test('is null in conversation and node, and indistinguishable from the others', async () => {
    const server = await filled(3);
    const { id, url } = server;
    const query = 'query ($id: ID!) { node(id: $id) { id } conversation(by: { id: $id }) { id } }';
    for (const named of [id, id.replace(/.$/, 'x'), 'nonsense', '', `${id}:0`, `${id}:99`, `${id}:01`]) {
      expect(await post(url, 'eve@example.com', query, { id: named })).toEqual({
        data: { node: null, conversation: null },
      });
    }
    expect(await post(url, 'eve@example.com', 'query ($id: ID!) { node(id: $id) { id } }', { id: `${id}:1` })).toEqual({
      data: { node: null },
    });
    for (const seq of [0, 4, 99])
      expect(await post(url, BOB, query, { id: `${id}:${seq}` })).toEqual({ data: { node: null, conversation: null } });
  });

  test('is NOT_FOUND in markRead and messageAdded', async () => {
    const { id, url } = await filled(3);
    const mutation = 'mutation ($id: ID!) { markRead(input: { conversationId: $id, seq: 1 }) { conversation { id } } }';
    const answers = await Promise.all(
      [id, id.replace(/.$/, 'x'), 'nonsense', `${id}:1`].map((named) =>
        post(url, 'eve@example.com', mutation, { id: named }),
      ),
    );
    expect(code(answers[0] as Answer)).toBe('NOT_FOUND');
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });

  test('a key without the viewer is refused; one that names no conversation is null', async () => {
    const { url } = await filled(1);
    const query = 'query ($by: ConversationRef!) { conversation(by: $by) { id } }';
    expect(code(await post(url, 'eve@example.com', query, { by: { key: KEY } }))).toBe('BAD_USER_INPUT');
    expect(await post(url, BOB, query, { by: { key: { ...KEY, configId: 'none' } } })).toEqual({
      data: { conversation: null },
    });
  });
});

test('node returns conversations and messages by id', async () => {
  const { id, url } = await filled(3);
  const query =
    'query ($id: ID!) { node(id: $id) { __typename id ... on Message { seq text } ... on Conversation { configId } } }';
  expect((await post(url, BOB, query, { id })).data.node).toEqual({ __typename: 'Conversation', id, configId: 'c1' });
  const message = (await post(url, BOB, query, { id: `${id}:2` })).data.node;
  expect(message).toEqual({ __typename: 'Message', id: `${id}:2`, seq: 2, text: 'm2' });
});

describe('markRead', () => {
  const mutation = `mutation ($id: ID!, $seq: Int!) {
    markRead(input: { conversationId: $id, seq: $seq }) { conversation { unreadCount members { email readSeq role } } }
  }`;

  test('moves forward only, appears in readBy, and refuses positions beyond the log', async () => {
    const { id, url } = await filled(5);
    const mark = async (seq: number) =>
      (await post(url, `${BOB}:SELLER`, mutation, { id, seq })).data?.markRead.conversation;
    const state = (readSeq: number) => ({
      ...{ unreadCount: 5 - readSeq },
      members: [
        { email: ANN, readSeq: 0, role: null },
        { email: BOB, readSeq, role: 'SELLER' },
      ],
    });
    expect(await mark(0)).toEqual(state(0));
    expect(await mark(3)).toEqual(state(3));
    expect(await mark(2)).toEqual(state(3));
    expect(await mark(5)).toEqual(state(5));
    for (const seq of [-1, 6]) expect(code(await post(url, BOB, mutation, { id, seq }))).toBe('BAD_USER_INPUT');
    const { data } = await post(url, ANN, 'query ($id: ID!) { node(id: $id) { ... on Message { readBy } } }', {
      id: `${id}:5`,
    });
    expect(data.node.readBy).toEqual([ANN, BOB]);
  });
});

describe('chatList', () => {
  test('has the newest activity first, is paged by cursor, and has the unread total of the matches', async () => {
    let now = 1000;
    const server = await startServer({}, { clock: () => now++ });
    for (let i = 1; i <= 25; i++) await filled(i % 3 === 0 ? 2 : 1, `c${i}`, server);
    const query = `query ($first: Int, $after: String, $filter: ChatListFilter) {
      chatList(first: $first, after: $after, filter: $filter) {
      unreadTotal nodes { configId }
        edges { cursor node { configId } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`;
    const seen: string[] = [];
    let after: string | null = null;
    do {
      const answer: Answer = await post(server.url, BOB, query, { first: 7, after });
      const { chatList } = answer.data;
      expect(chatList.unreadTotal).toBe(33);
      expect(chatList.pageInfo.hasPreviousPage).toBe(after !== null);
      expect(chatList.edges.map(({ node }: { node: object }) => node)).toEqual(chatList.nodes);
      expect(chatList.pageInfo.endCursor).toBe(chatList.edges.at(-1).cursor);
      seen.push(...chatList.nodes.map(({ configId }: { configId: string }) => configId));
      after = chatList.pageInfo.hasNextPage ? chatList.pageInfo.endCursor : null;
    } while (after);
    expect(seen).toEqual(Array.from({ length: 25 }, (_, i) => `c${25 - i}`));
    expect((await post(server.url, BOB, query, {})).data.chatList.nodes).toHaveLength(20);
    expect((await post(server.url, BOB, query, { filter: { configId: 'c3' } })).data.chatList).toMatchObject({
      unreadTotal: 2,
      nodes: [{ configId: 'c3' }],
    });
    expect((await post(server.url, ANN, query, { filter: { unreadOnly: true } })).data.chatList).toMatchObject({
      unreadTotal: 0,
      nodes: [],
    });
    const empty = { hasNextPage: false, hasPreviousPage: false, startCursor: null, endCursor: null };
    expect((await post(server.url, BOB, query, { filter: { archived: true } })).data.chatList.pageInfo).toEqual(empty);

    const { startCursor } = (await post(server.url, BOB, query, {})).data.chatList.pageInfo;
    for (const bad of [
      { first: 0 },
      { first: -1 },
      { first: 101 },
      { after: '' },
      { after: 'nonsense' },
      { filter: { status: ['NONE'] } },
      { filter: { configId: { $ne: null } } },
    ]) {
      expect(code(await post(server.url, BOB, query, bad)), JSON.stringify(bad)).toBe('BAD_USER_INPUT');
    }
    // A cursor is a place in an order: it does not tell whether there is, or was, a conversation of that name.
    expect((await post(server.url, 'eve@example.com', query, { after: startCursor })).data.chatList.nodes).toEqual([]);
  });
});

test('without an identity every field is UNAUTHENTICATED', async () => {
  const { id, url } = await filled(1);
  for (const query of [
    '{ viewer { email } }',
    `{ node(id: "${id}") { id } }`,
    `{ conversation(by: { id: "${id}" }) { id } }`,
    '{ chatList { unreadTotal } }',
    `mutation { markRead(input: { conversationId: "${id}", seq: 1 }) { conversation { id } } }`,
    `mutation { sendMessage(input: { to: { id: "${id}" }, text: "x" }) { message { id } } }`,
    `mutation { sendMessages(input: { to: { id: "${id}" }, messages: [{ text: "x" }] }) { messages { id } } }`,
  ]) {
    expect(code(await post(url, null, query)), query).toBe('UNAUTHENTICATED');
  }
});
