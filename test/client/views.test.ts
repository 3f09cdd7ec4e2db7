import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { StoreUnavailable } from '../../src/store/store.ts';
import { addRange, type Ranges } from '../../web/client/conversation/ranges.ts';
import { deliveryOf, type MessageFieldsFragment as Message, readersOf } from '../../web/client/index.ts';
import { post } from '../support/clients.ts';
import { clientOf, sent, when } from '../support/kredichat.ts';
import { wire } from '../support/proxy.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CY] = ['ann@example.com', 'bob@example.com', 'cy@example.com'];
const KEY = { configId: 'c1', members: [ANN, BOB] };

/** Stores messages `1` to `count` of `user`, and gives the conversation's id. */
async function fill(url: string, user: string, count: number, key = KEY): Promise<string> {
  let id = '';
  for (let from = 1; from <= count; from += 100) {
    const messages = Array.from({ length: Math.min(100, count - from + 1) }, (_, i) => ({ text: String(from + i) }));
    const send = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { id } } }';
    id = (await post(url, user, send, { input: { to: { key }, messages } })).data.sendMessages.conversation.id;
  }
  return id;
}

const seqs = (messages: readonly Message[]) => messages.map(({ seq }) => seq);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe('a conversation', () => {
  test('opens at the first unread message, and loads to both ends without a gap', async () => {
    const { url } = await startServer();
    const id = await fill(url, BOB, 300);
    await post(url, ANN, 'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }', {
      input: { conversationId: id, seq: 120 },
    });
    const view = clientOf(url, ANN).conversation({ id }, { pageSize: 40 });
    const opened = await when(view, ({ phase }) => phase === 'ready');
    expect(opened.firstUnread).toBe(121);
    expect(opened.messages.some(({ seq }) => seq === 121)).toBe(true);
    expect([opened.hasOlder, opened.hasNewer]).toEqual([true, true]);

    // A message written in the meantime waits behind the gap until the gap is closed.
    const bob = clientOf(url, BOB);
    await sent(bob, { to: { id }, text: '301' });
    while (view.get().hasOlder) await Promise.all([view.loadOlder(), view.loadOlder()]);
    while (view.get().hasNewer) await Promise.all([view.loadNewer(), view.loadOlder()]);
    await when(view, ({ messages }) => messages.length === 301);
    expect(seqs(view.get().messages)).toEqual(range(1, 301));
    expect(view.get().messages.map(({ text }) => text)).toEqual(range(1, 301).map(String));
    await view.loadOlder();
    await view.loadNewer();
    expect(view.get().messages).toHaveLength(301);
  });

  test('jumps to its end and back over messages that are not loaded', async () => {
    const { url } = await startServer();
    const id = await fill(url, BOB, 300);
    const view = clientOf(url, ANN).conversation({ id }, { pageSize: 20 });
    await when(view, ({ phase }) => phase === 'ready');
    expect(seqs(view.get().messages)).toContain(1);
    await view.jumpToEnd();
    expect(view.get().messages.at(-1)?.seq).toBe(300);
    expect([view.get().hasOlder, view.get().hasNewer]).toEqual([true, false]);
    while (view.get().hasOlder) await view.loadOlder();
    expect(seqs(view.get().messages)).toEqual(range(1, 300));
  });

  test('is opened by its first message, and shows each outgoing message once', async () => {
    const { url } = await startServer();
    const [ann, bob] = [clientOf(url, ANN), clientOf(url, BOB)];
    const view = ann.conversation({ key: KEY });
    await when(view, ({ phase }) => phase === 'new');
    const shown: string[][] = [];
    view.subscribe(() => {
      const { messages, outgoing } = view.get();
      shown.push([...messages, ...outgoing].map(({ text }) => text));
    });
    for (const text of ['a', 'b', 'c']) view.send(text, { subject: 'About it', party: '7' });
    const { conversation } = await when(
      view,
      ({ messages, outgoing }) => messages.length === 3 && outgoing.length === 0,
    );
    expect(conversation).toMatchObject({ subject: 'About it', party: '7' });
    // No message is missing or shown twice while it moves from the outbox to the log.
    for (const texts of shown.slice(3)) expect(texts).toEqual(['a', 'b', 'c']);

    const other = bob.conversation({ key: { ...KEY, members: [BOB.toUpperCase(), ANN] } });
    await when(other, ({ messages }) => messages.length === 3);
    other.markRead(3);
    const read = await when(view, (state) => state.conversation?.members.some(({ readSeq }) => readSeq === 3));
    const [first, second] = read.messages;
    expect(deliveryOf(read, first?.clientId ?? '')).toEqual({ state: 'read', seq: 1, by: [BOB] });
    expect(deliveryOf(read, 'never heard of')).toBeNull();
    expect(read.conversation && second && readersOf(read.conversation, second)).toEqual([BOB]);
  });

  test('reports a missing conversation, and one without the viewer', async () => {
    const { url } = await startServer();
    const id = await fill(url, BOB, 1);
    for (const name of [id, 'nothing']) {
      const view = clientOf(url, CY).conversation({ id: name });
      await when(view, ({ phase }) => phase === 'gone');
    }
  });
});

test('a page of messages that failed is loaded once the store is back', async () => {
  const store = { ...(await openSqlite(':memory:')) };
  const { messages } = store;
  const { url } = await startServer({}, { store });
  const view = clientOf(url, ANN).conversation({ id: await fill(url, BOB, 30) }, { pageSize: 10, at: 30 });
  await when(view, ({ phase }) => phase === 'ready');
  store.messages = () => Promise.reject(new StoreUnavailable(true, new Error('away')));
  await view.loadOlder();
  expect(view.get().error?.code).toBe('UNAVAILABLE');
  store.messages = messages;
  const { messages: shown } = await when(view, ({ error }) => error === null);
  expect(seqs(shown)[0]).toBeLessThan(20);
});

describe('the chat list', () => {
  test('sorts a conversation dated by a wrong clock last, as the server does', async () => {
    let now = Date.now() + 315_360_000_000;
    const { url } = await startServer({}, { clock: () => now });
    const list = clientOf(url, ANN).chatList();
    await when(list, ({ loaded }) => loaded);
    const names = () => list.get().conversations.map(({ configId }) => configId);
    await fill(url, BOB, 1, { configId: 'late', members: [ANN, BOB] });
    now = Date.now();
    await fill(url, BOB, 1, { configId: 'new', members: [ANN, BOB] });
    await when(list, ({ conversations }) => conversations.length === 2);
    expect(names()).toEqual(['new', 'late']);
    now += 1000;
    await fill(url, BOB, 1, { configId: 'late', members: [ANN, BOB] });
    await when(list, () => names()[0] === 'late');
  });

  test('is correct after interruptions: order, unread counts and their total', async () => {
    const { url } = await startServer();
    const line = await wire(url);
    const ann = clientOf(line.url, ANN);
    const list = ann.chatList();
    expect((await when(list, ({ loaded }) => loaded)).conversations).toEqual([]);
    const key = (configId: string) => ({ configId, members: [ANN, BOB] });
    const names = () => list.get().conversations.map(({ configId, unreadCount }) => `${configId} ${unreadCount}`);
    await fill(url, BOB, 2, key('one'));
    await fill(url, BOB, 3, key('two'));
    await when(list, ({ unreadTotal, conversations }) => unreadTotal === 5 && conversations.length === 2);
    expect(names()).toEqual(['two 3', 'one 2']);

    line.aim(null);
    line.cut();
    await when(ann.status, ({ state }) => state === 'offline');
    await fill(url, BOB, 1, key('one'));
    const three = await fill(url, BOB, 4, key('three'));
    line.aim(url);
    await when(list, ({ unreadTotal, conversations }) => unreadTotal === 10 && conversations.length === 3);
    expect(names()).toEqual(['three 4', 'one 3', 'two 3']);

    const view = ann.conversation({ id: three });
    await when(view, ({ phase }) => phase === 'ready');
    view.markRead(4);
    await when(list, ({ unreadTotal }) => unreadTotal === 6);
    expect(names()).toEqual(['three 0', 'one 3', 'two 3']);
  });

  test('is loaded page by page, and applies changes in the meantime', async () => {
    const { url } = await startServer();
    for (let i = 0; i < 25; i++) await fill(url, BOB, 1, { configId: `c${i}`, members: [ANN, BOB] });
    const list = clientOf(url, ANN).chatList({ pageSize: 10 });
    await when(list, ({ loaded }) => loaded);
    await list.loadMore();
    await fill(url, BOB, 1, { configId: 'c0', members: [ANN, BOB] });
    await when(list, ({ conversations }) => conversations[0]?.configId === 'c0');
    while (list.get().hasMore) await list.loadMore();
    const { conversations, unreadTotal } = await when(list, ({ unreadTotal }) => unreadTotal === 26);
    expect(conversations.map(({ configId }) => configId)).toEqual([
      'c0',
      ...range(1, 24)
        .reverse()
        .map((i) => `c${i}`),
    ]);
    expect(unreadTotal).toBe(26);
  });

  test('reports a page that failed, and loads it once the store is back', async () => {
    const store = { ...(await openSqlite(':memory:')) };
    const { chatList } = store;
    const { url } = await startServer({}, { store });
    for (let i = 0; i < 15; i++) await fill(url, BOB, 1, { configId: `c${i}`, members: [ANN, BOB] });
    const list = clientOf(url, ANN).chatList({ pageSize: 10 });
    await when(list, ({ loaded }) => loaded);
    store.chatList = () => Promise.reject(new StoreUnavailable(true, new Error('away')));
    await list.loadMore();
    expect(list.get()).toMatchObject({ error: { code: 'UNAVAILABLE' }, hasMore: true, loadingMore: false });
    store.chatList = chatList;
    const { conversations, error } = await when(list, ({ hasMore }) => !hasMore);
    expect([conversations.length, error]).toEqual([15, null]);
  });
});

test('ranges of messages, added in any order and overlap, are the loaded part of the log', () => {
  const message = (seq: number, rev: number) => ({ seq, rev }) as Message;
  const added = fc.array(
    fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 5 })),
  );
  fc.assert(
    fc.property(added, (pages) => {
      let ranges: Ranges = [];
      const known = new Map<number, number>();
      for (const [from, length, rev] of pages) {
        const page = range(from, from + length - 1).map((seq) => message(seq, rev));
        for (const { seq } of page) known.set(seq, Math.max(known.get(seq) ?? 0, rev));
        ranges = addRange(ranges, page);
      }
      expect(ranges.flat().map(({ seq, rev }) => [seq, rev])).toEqual([...known].sort(([a], [b]) => a - b));
      for (const run of ranges) expect(seqs(run)).toEqual(range(run[0]?.seq ?? 0, run.at(-1)?.seq ?? 0));
      for (const [i, run] of ranges.entries()) {
        // Touching ranges are merged.
        if (i > 0) expect(run[0]?.seq).toBeGreaterThan((ranges[i - 1]?.at(-1)?.seq ?? 0) + 1);
      }
    }),
  );
});
