import { describe, expect, test } from 'vitest';
import { createChatListFeeds } from '../../../src/chat/live/chat-list-feed.ts';
import type { Backpressure } from '../../../src/chat/live/event-stream.ts';
import { createKnownStates } from '../../../src/chat/log/known-states.ts';
import type { Conversation, EmailAddress } from '../../../src/model.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../../src/store/store.ts';
import { ANN, BOB, writeOf } from '../../store/writes.ts';
import { connectGraphql, type GraphqlLine } from '../../support/clients.ts';
import { startServer } from '../../support/server.ts';

const viewer = (email: EmailAddress) => ({ email, role: null });

/** Followers of a store's chat lists that are woken by each of its writes. */
async function followed(store: Store, readsBack = false) {
  const states = createKnownStates(store);
  const lists = createChatListFeeds(store, states, Date.now, (error) => {
    throw error;
  });
  store.watch((wakeUp) => {
    if (!wakeUp || wakeUp.kind === 'typing') return;
    const told = readsBack && wakeUp.kind === 'log' ? { ...wakeUp, write: null } : wakeUp;
    void lists.wake(told, states.wake(told));
  });
  return lists;
}
const UNBOUNDED: Backpressure = { free: () => true, drained: async () => {} };

describe('changes of the chat list', () => {
  test.each([
    ['named by the wake-up', 0],
    ['read once', 1],
  ])('share one object among all followers, %s', async (how, times) => {
    const store = await openSqlite(':memory:');
    let reads = 0;
    const conversation: Store['conversation'] = async (id) => {
      reads++;
      const found = await store.conversation(id);
      return found && { ...found };
    };
    const lists = await followed({ ...store, conversation }, how === 'read once');
    const followers = [ANN, BOB, BOB].map((email) => lists.follow(viewer(email), UNBOUNDED));
    await store.write(writeOf('c', [ANN, BOB], 0));
    const told = await Promise.all(followers.map(async (follower) => (await follower.next()).value as Conversation));
    expect(reads).toBe(times);
    expect(new Set(told).size).toBe(1);
    await store.close();
  });

  test('wait for a subscriber that does not read, which then gets only the newest state', async () => {
    const store = await openSqlite(':memory:');
    const lists = await followed(store);
    let drain = () => {};
    let asked = () => {};
    const waiting = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const drained = () =>
      new Promise<void>((resolve) => {
        drain = resolve;
        asked();
      });
    const follower = lists.follow(viewer(BOB), { free: () => false, drained });
    const first = follower.next();
    await store.write(writeOf('c', [ANN, BOB], 0));
    await waiting;
    await store.write(writeOf('c', [ANN, BOB], 1));
    await store.write(writeOf('c', [ANN, BOB], 2));
    drain();
    expect((await first).value.lastSeq).toBe(3);
    const second = follower.next();
    await follower.return?.();
    expect(await second).toEqual({ done: true, value: undefined });
    await store.close();
  });
});

describe('a former member', () => {
  const CHANGED = `subscription { chatListChanged {
    id configId subject party status labels assignee lastSeq lastRev unreadCount
    lastMessage { text } members { email } messages(last: 5) { nodes { text } }
    around: messages(around: { firstUnread: true }) { nodes { text } } } }`;
  const members = [ANN, BOB, 'cat@example.com'];
  const update = (line: GraphqlLine, id: string, input: object) =>
    line.run(
      'mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { id } } }',
      {
        input: { conversationId: id, ...input },
      },
    );

  /** A conversation that Bob has not read, and two of Bob's lines. */
  async function begun(watched = true) {
    const store = await openSqlite(':memory:');
    let wake: Parameters<Store['watch']>[0] = () => {};
    const watch: Store['watch'] = (listener) => {
      wake = listener;
      return watched ? store.watch(listener) : () => {};
    };
    const { ws } = await startServer({}, { store: { ...store, watch } });
    const [ann, bob, other] = await Promise.all([`${ANN}:BANK`, BOB, BOB].map((user) => connectGraphql(ws, user)));
    if (!ann || !bob || !other) throw new Error('they were just connected');
    const say = async (text: string, key = { configId: 'c', members }) => {
      const input = { to: { key }, text, subject: 'secret subject', party: 'secret party' };
      const { data } = await ann.run(
        'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }',
        { input },
      );
      return data.sendMessage.conversation.id as string;
    };
    return { id: await say('secret'), ann, bob, other, say, lose: () => wake(null) };
  }
  const registered = (lines: GraphqlLine[]) => Promise.all(lines.map((line) => line.run('{ viewer { email } }')));
  const gone = (id: string) => ({
    ...{ id, configId: 'c', subject: null, party: null, status: 'CLOSED', labels: [], assignee: null },
    ...{ lastSeq: 0, lastRev: 0, unreadCount: 0, lastMessage: null, members: [{ email: BOB }] },
    ...{ messages: { nodes: [] }, around: { nodes: [] } },
  });

  test.each(['is removed', 'leaves elsewhere'])(
    'is told once that the conversation is gone if the member %s',
    async (how) => {
      const { id, ann, bob, other, say } = await begun();
      const lists = [bob, other].map((line) => line.subscribe(CHANGED));
      await registered([bob, other]);
      await update(how === 'is removed' ? ann : bob, id, { removeMembers: [BOB] });
      await say('another secret');
      const own = await say('x', { configId: 'own', members });
      for (const list of lists) {
        expect((await list.next())?.data.chatListChanged).toEqual(gone(id));
        expect((await list.next())?.data.chatListChanged.id).toBe(own);
      }
      await update(ann, id, { addMembers: [BOB] });
      for (const list of lists)
        expect((await list.next())?.data.chatListChanged.lastMessage.text).toMatch(/^members: /);
      await update(ann, id, { removeMembers: [BOB] });
      for (const list of lists) expect((await list.next())?.data.chatListChanged).toEqual(gone(id));
    },
  );

  test('gets no further change of it', async () => {
    const { id, ann, bob, say } = await begun();
    await update(ann, id, { removeMembers: [BOB] });
    const list = bob.subscribe(CHANGED);
    await registered([bob]);
    await say('another secret');
    await update(ann, id, { addLabels: ['x'] });
    const own = await say('x', { configId: 'own', members });
    expect((await list.next())?.data.chatListChanged.id).toBe(own);
  });

  test('is told even if wake-ups were lost', async () => {
    const { id, ann, bob, lose } = await begun(false);
    const list = bob.subscribe(CHANGED);
    await registered([bob]);
    await update(ann, id, { removeMembers: [BOB] });
    lose();
    expect((await list.next())?.data.chatListChanged).toEqual(gone(id));
  });
});
