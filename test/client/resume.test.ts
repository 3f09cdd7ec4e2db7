import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MessageFieldsFragment as Message } from '../../web/client/index.ts';
import { post } from '../support/clients.ts';
import { clientOf, memoryStorage, sent, when } from '../support/kredichat.ts';
import { processes } from '../support/process.ts';
import { wire } from '../support/proxy.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const KEY = { configId: 'c1', members: [ANN, BOB] };
const { start, kill } = processes();

/** All stored texts, read without the client. */
async function stored(url: string): Promise<string[]> {
  const texts: string[] = [];
  for (let after = null, more = true; more; ) {
    const query = `query ($key: ConversationKey!, $after: String) { conversation(by: { key: $key }) {
      messages(first: 100, after: $after) { nodes { text } pageInfo { hasNextPage endCursor } } } }`;
    const { data } = await post(url, ANN, query, { key: KEY, after });
    const page = data.conversation.messages;
    texts.push(...page.nodes.map(({ text }: { text: string }) => text));
    after = page.pageInfo.endCursor;
    more = page.pageInfo.hasNextPage;
  }
  return texts;
}

describe('a stream of messages', () => {
  test('resumes after random cuts: every message once, in order', async () => {
    const { url } = await startServer();
    const writer = clientOf(url, ANN);
    const { conversationId } = await sent(writer, { to: { key: KEY }, text: 'first' });
    let written = 1;
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 12 }), async (cuts) => {
        const line = await wire(url);
        const reader = clientOf(line.url, BOB);
        const [from, to] = [written, written + 60];
        const seen: number[] = [];
        const sending = Promise.all(
          Array.from({ length: 60 }, () => sent(writer, { to: { id: conversationId }, text: String(++written) })),
        );
        for await (const { seq } of reader.messages(conversationId, from)) {
          seen.push(seq);
          if (cuts.includes(seen.length)) line.cut();
          if (seq === to) break;
        }
        await sending;
        reader.close();
        expect(seen).toEqual(Array.from({ length: 60 }, (_, i) => from + 1 + i));
      }),
      { numRuns: 12 },
    );
  });

  test('ends with the error of the server for an unknown conversation', async () => {
    const { url } = await startServer();
    const follow = async () => {
      for await (const message of clientOf(url, ANN).messages('nothing', 0)) expect(message).toBeUndefined();
    };
    await expect(follow()).rejects.toMatchObject({ name: 'KredichatError', code: 'NOT_FOUND', transient: false });
  });
});

test('servers killed and sockets cut while both write: nothing is missing, duplicated or out of order', async () => {
  const file = { STORE_URL: 'sqlite:client/kredichat.db' };
  let running = await start(file);
  const line = await wire(running.url);
  const [ann, bob] = [clientOf(line.url, ANN), clientOf(line.url, BOB)];
  const view = ann.conversation({ key: KEY });
  const { conversationId } = await sent(ann, { to: { key: KEY }, text: 'ann 0' });
  const reader = bob.conversation({ id: conversationId });
  await when(reader, ({ phase }) => phase === 'ready');
  const heard: string[] = [];
  const listening = (async () => {
    for await (const { text } of bob.messages(conversationId, 0)) if (heard.push(text) === 401) return;
  })();

  const all: Promise<Message>[] = [];
  for (let i = 1; i <= 200; i++) {
    const to = { id: conversationId };
    all.push(sent(ann, { to, text: `ann ${i}` }), sent(bob, { to, text: `bob ${i}` }));
    if (i % 20 === 0) await all[all.length - 10];
    if (i % 40 === 0) line.cut();
    if (i % 75 === 0) {
      await kill(running.child);
      running = await start(file);
      line.aim(running.url);
    }
  }
  await Promise.all(all);
  await listening;

  const log = await stored(running.url);
  expect(log).toHaveLength(401);
  expect(new Set(log).size).toBe(401);
  for (const [who, first] of [['ann', 0] as const, ['bob', 1] as const]) {
    const own = log.filter((text) => text.startsWith(who)).map((text) => Number(text.split(' ')[1]));
    expect(own).toEqual(Array.from({ length: 201 - first }, (_, i) => i + first));
  }
  expect(heard).toEqual(log);
  for (const open of [view, reader]) {
    const { messages } = await when(open, ({ messages, outgoing }) => messages.length === 401 && outgoing.length === 0);
    expect(messages.map(({ text }) => text)).toEqual(log);
  }
  expect(ann.outbox.get()).toEqual([]);
});

test('a message written while the server is down is sent once, after a reload', async () => {
  const { url } = await startServer();
  const line = await wire(url);
  const storage = memoryStorage();
  const before = clientOf(line.url, ANN, { storage });
  await before.viewer();
  line.aim(null);
  line.cut();
  await when(before.status, ({ state }) => state === 'offline');
  for (const text of ['one', 'two', 'three']) before.outbox.send({ to: { key: KEY }, text });
  // Simulates a closed page.
  before.close();
  expect(storage.length).toBe(3);

  line.aim(url);
  const after = clientOf(line.url, ANN, { storage });
  await after.viewer();
  await when(after.outbox, (items) => items.length === 0);
  expect(await stored(url)).toEqual(['one', 'two', 'three']);
  expect(storage.length).toBe(0);

  // Another viewer in the same browser gets none of these messages.
  after.close();
  const bob = clientOf(line.url, BOB, { storage });
  await bob.viewer();
  expect(bob.outbox.get()).toEqual([]);
});

test('servers of one origin, told apart by their paths, do not get each other’s messages', async () => {
  const { url } = await startServer({ BASE_PATH: '/chat' });
  const line = await wire(null);
  const storage = memoryStorage();
  // The viewer has to be known, so the connection is cut later.
  line.aim(url);
  const before = clientOf(line.url, ANN, { storage });
  await before.viewer();
  line.aim(null);
  line.cut();
  await when(before.status, ({ state }) => state === 'offline');
  const { clientId } = before.outbox.send({ to: { key: KEY }, text: 'for the first' });
  before.close();
  expect(storage.key(0)).toBe(`kredichat:outbox:${ANN}:${clientId}`);

  const other = clientOf(`${url}/chat`, ANN, { storage });
  await other.viewer();
  expect(other.outbox.get()).toEqual([]);
  await sent(other, { to: { key: KEY }, text: 'for the second' });
  expect(storage.length).toBe(1);
  const again = clientOf(url, ANN, { storage });
  await again.viewer();
  await when(again.outbox, (items) => items.length === 0);
  expect(await stored(url)).toEqual(['for the second', 'for the first']);
});

test('a message with a lost answer is not stored twice', async () => {
  const { url } = await startServer();
  const line = await wire(url);
  const storage = memoryStorage();
  const first = clientOf(line.url, ANN, { storage });
  await first.viewer();
  const { clientId } = first.outbox.send({ to: { key: KEY }, text: 'only once' });
  const entry = storage.getItem(storage.key(0) ?? '');
  await when(first.outbox, (items) => items.length === 0);
  first.close();
  // The page was closed before the answer.
  storage.setItem(`kredichat:outbox:${ANN}:${clientId}`, entry ?? '');
  const again = clientOf(line.url, ANN, { storage });
  await when(again.status, ({ state }) => state === 'online');
  await again.viewer();
  await when(again.outbox, (items) => items.length === 0);
  expect(await stored(url)).toEqual(['only once']);
});
