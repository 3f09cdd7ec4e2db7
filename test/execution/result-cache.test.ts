import { expect, test } from 'vitest';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { connectGraphql, type GraphqlLine } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CAT] = ['ann@example.com', 'bob@example.com', 'cat@example.com'];
const PAGE = `query ($id: ID!) { conversation(by: { id: $id }) {
  lastSeq messages(last: 10) { nodes { seq text readBy } pageInfo { hasPreviousPage } } } }`;

/** A server that counts the pages read from its store, and a conversation of Ann and Bob. */
async function setUp() {
  const store = await openSqlite(':memory:');
  let pages = 0;
  const messages: typeof store.messages = (...args) => {
    pages++;
    return store.messages(...args);
  };
  const { ws } = await startServer({}, { store: { ...store, messages } });
  const [ann, bob, cat] = await Promise.all([ANN, BOB, CAT].map((user) => connectGraphql(ws, user)));
  if (!ann || !bob || !cat) throw new Error('three connect');
  const say = async (line: GraphqlLine, text: string): Promise<string> => {
    const input = { to: { key: { configId: 'c', members: [ANN, BOB] } }, text };
    const { data } = await line.run(
      'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }',
      { input },
    );
    return data.sendMessage.conversation.id;
  };
  return { ann, bob, cat, say, id: await say(ann, 'm1'), pages: () => pages };
}

test('a page is computed once for all members, and not returned to others', async () => {
  const { ann, bob, cat, id, pages } = await setUp();
  const page = await ann.run(PAGE, { id });
  expect(page.data.conversation.messages.nodes).toMatchObject([{ seq: 1, text: 'm1', readBy: [ANN] }]);
  const before = pages();
  for (const line of [ann, bob]) expect(await line.run(PAGE, { id })).toEqual(page);
  expect(await cat.run(PAGE, { id })).toEqual({ data: { conversation: null } });
  expect(pages()).toBe(before);
});

test('a cached page is not used after a message or a read position', async () => {
  const { ann, bob, say, id } = await setUp();
  const nodes = async (line: GraphqlLine) => (await line.run(PAGE, { id })).data.conversation.messages.nodes;
  for (let seq = 2; seq <= 10; seq++) {
    await nodes(bob);
    await say(seq % 2 ? ann : bob, `m${seq}`);
    expect((await nodes(ann)).map(({ text }: { text: string }) => text)).toContain(`m${seq}`);
    await bob.run('mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }', {
      input: { conversationId: id, seq },
    });
    expect((await nodes(ann)).at(-1).readBy).toContain(BOB);
  }
});

test('a result that depends on the viewer is not shared', async () => {
  const { ann, bob, say, id } = await setUp();
  await say(bob, 'm2');
  await say(bob, 'm3');
  const own = `query ($id: ID!) { conversation(by: { id: $id }) { unreadCount
    messages(around: { firstUnread: true }, first: 1) { nodes { seq } } } }`;
  const answer = (unreadCount: number, seq: number) => ({
    data: { conversation: { unreadCount, messages: { nodes: [{ seq }] } } },
  });
  for (let i = 0; i < 2; i++) {
    expect(await ann.run(own, { id })).toEqual(answer(2, 2));
    expect(await bob.run(own, { id })).toEqual(answer(1, 1));
  }
});

test('other variables, another operation of the document and other defaults have separate results', async () => {
  const { ann, say, id } = await setUp();
  await say(ann, 'm2');
  const query =
    `query One($id: ID!, $n: Int = 1) { ` +
    `node(id: $id) { ... on Conversation { messages(last: $n) { nodes { text } } } } }`;
  const texts = async (variables: object) =>
    (await ann.run(query, { id, ...variables })).data.node.messages.nodes.map(({ text }: { text: string }) => text);
  for (let i = 0; i < 2; i++) {
    expect(await texts({})).toEqual(['m2']);
    expect(await texts({ n: 2 })).toEqual(['m1', 'm2']);
    expect(await texts({ n: null })).toEqual(['m1', 'm2']);
  }
});
