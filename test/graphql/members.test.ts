import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { ConversationId } from '../../src/model.ts';
import type { Store } from '../../src/store/store.ts';
import { email, writeOf } from '../store/writes.ts';
import { post } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';

const ZOE = 'zoe@example.com';
const CROWD = [...Array.from({ length: 1023 }, (_, i) => email(`m${String(i).padStart(4, '0')}`)), email('zoe')];

interface Crowds extends TestServer {
  readonly ids: readonly ConversationId[];
  /** Names of the conversations that were read with all their members, in order. */
  readonly loaded: ConversationId[];
  /** How many of them were read in one turn of the event loop, at most. */
  readonly mostInOneTurn: () => number;
}

/** Conversations of 1,024 members each, and a server that has read none of them. */
async function crowds(count: number, change: (store: Store) => void = () => {}): Promise<Crowds> {
  const { store } = await startServer();
  const writes = Array.from({ length: count }, (_, i) => writeOf(`c${i}`, CROWD, 0, 2));
  expect(await Promise.all(writes.map((write) => store.write(write)))).not.toContain(false);
  const loaded: ConversationId[] = [];
  let inThisTurn = 0;
  let most = 0;
  const { conversation } = store;
  store.conversation = (id, reader) => {
    loaded.push(id);
    most = Math.max(most, ++inThisTurn);
    if (inThisTurn === 1) void setImmediate().then(() => (inThisTurn = 0));
    return conversation(id, reader);
  };
  change(store);
  const ids = writes.map((write) => write.conversation);
  return { ...(await startServer({}, { store })), ids, loaded, mostInOneTurn: () => most };
}

const ROW = 'id lastSeq unreadCount pinned lastMessage { text } memberCount membership { email readSeq leftAt }';

describe('a list of conversations of 1,024 members', () => {
  test('is read without the members except the first and the viewer', async () => {
    const { url, loaded } = await crowds(3);
    const { data, errors } = await post(
      url,
      ZOE,
      `{ chatList { nodes { ${ROW} members(first: 16) { email } } }
         searchMessages(query: "m1") { nodes { text seq conversationId } } }`,
    );
    expect(errors).toBeUndefined();
    const firsts = CROWD.slice(0, 16).map((address) => ({ email: address }));
    const membership = { email: ZOE, readSeq: 0, leftAt: null };
    const row = { memberCount: 1024, membership, unreadCount: 2, members: firsts, lastMessage: { text: 'm2' } };
    expect(data.chatList.nodes).toEqual(Array(3).fill(expect.objectContaining(row)));
    expect(data.searchMessages.nodes).toHaveLength(3);
    expect(loaded).toEqual([]);
  });

  test('has the members if requested, read once each and in slices of the event loop', async () => {
    const { url, ids, loaded, mostInOneTurn } = await crowds(30, (store) => {
      const { conversation } = store;
      store.conversation = (id, reader) => {
        for (const until = performance.now() + 1; performance.now() < until; );
        return conversation(id, reader);
      };
    });
    const { data, errors } = await post(
      url,
      ZOE,
      `{ chatList(first: 30) { nodes { id members { email } more: members(first: 17) { email }
         messages(last: 2) { nodes { readBy } } } } }`,
    );
    expect(errors).toBeUndefined();
    const all = CROWD.map((address) => ({ email: address }));
    for (const { members, more, messages } of data.chatList.nodes) {
      expect(members).toEqual(all);
      expect(more).toEqual(all.slice(0, 17));
      expect(messages.nodes).toEqual([{ readBy: ['ann@example.com'] }, { readBy: ['ann@example.com'] }]);
    }
    expect(loaded.toSorted()).toEqual(ids.toSorted());
    // Ten milliseconds a turn; each takes at least one.
    expect(mostInOneTurn()).toBeLessThan(ids.length);
  });

  test('is answered with all members for 20 conversations', async () => {
    const { url } = await crowds(20);
    const { data, errors } = await post(url, ZOE, '{ chatList(first: 100) { nodes { members { email } } } }');
    expect(errors).toBeUndefined();
    const lengths = data.chatList.nodes.map(({ members }: { members: unknown[] }) => members.length);
    expect(lengths).toEqual(Array(20).fill(1024));
  });

  test('shows a member that left during the read only to that member', async () => {
    const { url } = await crowds(2, (store) => {
      store.conversation = async () => null;
    });
    const { data, errors } = await post(url, ZOE, '{ chatList { nodes { members { email } } } }');
    expect(errors).toBeUndefined();
    expect(data.chatList.nodes).toEqual(Array(2).fill({ members: [{ email: ZOE }] }));
  });
});

test('a listed conversation has the same members as the conversation itself', async () => {
  const { url, store } = await startServer();
  for (const members of [CROWD.slice(-2), CROWD.slice(-16), CROWD.slice(-17)]) {
    await store.write(writeOf(`of ${members.length}`, members, 0));
  }
  const fields = `id memberCount membership { email role } all: members { email joinedAt }
    two: members(first: 2) { email } many: members(first: 2000) { email }`;
  const { data } = await post(url, ZOE, `{ chatList { nodes { ${fields} } } }`);
  const counts = data.chatList.nodes.map(({ memberCount }: { memberCount: number }) => memberCount);
  expect(new Set(counts)).toEqual(new Set([2, 16, 17]));
  for (const node of data.chatList.nodes) {
    expect([node.all.length, node.many.length, node.two.length]).toEqual([node.memberCount, node.memberCount, 2]);
    const alone = await post(url, ZOE, `query ($id: ID!) { conversation(by: { id: $id }) { ${fields} } }`, {
      id: node.id,
    });
    expect(alone.data.conversation).toEqual(node);
  }
  for (const first of [0, -1]) {
    const refused = await post(url, ZOE, `{ chatList { nodes { members(first: ${first}) { email } } } }`);
    expect(refused.errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
  }
});

test('an answer has 1,024 readers of each of 100 messages that were just written', async () => {
  const { url, ids } = await crowds(1);
  const [id] = ids;
  const read = `mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation {
    lastSeq messages(last: 100) { nodes { readBy } } } } }`;
  const { data, errors } = await post(
    url,
    ZOE,
    `mutation ($input: SendMessagesInput!) { sendMessages(input: $input) {
      messages { seq readBy } conversation { members { email readSeq joinedAt } } } }`,
    { input: { to: { id }, messages: Array.from({ length: 100 }, (_, i) => ({ text: `x${i}` })) } },
  );
  expect(errors).toBeUndefined();
  expect(data.sendMessages.messages).toHaveLength(100);
  expect(data.sendMessages.conversation.members).toHaveLength(1024);
  const moved = await post(url, ZOE, read, { input: { conversationId: id, seq: 102 } });
  expect(moved.errors).toBeUndefined();
  expect(moved.data.markRead.conversation.messages.nodes).toHaveLength(100);
});
