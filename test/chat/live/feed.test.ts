import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ConversationId, conversationId, type EmailAddress } from '../../../src/model.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { StoreUnavailable } from '../../../src/store/store.ts';
import { connectGraphql, type GraphqlLine } from '../../support/clients.ts';
import { startServer } from '../../support/server.ts';

const [ANN, BOB, CAT] = ['ann@example.com', 'bob@example.com', 'cat@example.com'];
const ADDED =
  'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { seq text sender } }';

async function say(line: GraphqlLine, configId: string, text: string): Promise<string> {
  const { data } = await line.run(
    'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }',
    { input: { to: { key: { configId, members: [ANN, BOB, CAT] } }, text } },
  );
  return data.sendMessage.conversation.id;
}

async function storedTexts(line: GraphqlLine, id: string, count: number): Promise<string[]> {
  const texts: string[] = [];
  for (let from = 1; from <= count; from += 100) {
    const { data } = await line.run(
      'query ($id: ID!, $first: Int, $after: String) { conversation(by: { id: $id }) { ' +
        'messages(first: $first, after: $after) { nodes { text } } } }',
      { id, first: 100, after: from === 1 ? null : `${id}:${from - 1}` },
    );
    texts.push(...data.conversation.messages.nodes.map(({ text }: { text: string }) => text));
  }
  return texts;
}

describe('a subscriber that is killed and resumes with its last seq', () => {
  test('gets every message once and in order after a cut at any point, while two writers write', async () => {
    const { ws, server } = await startServer();
    let run = 0;
    // Messages that the subscriber receives before each cut.
    const cuts = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(cuts, async (lives) => {
        const configId = `run ${++run}`;
        const writers = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)] as const;
        const id = await say(writers[0], configId, 'first');
        const total = 61;
        const writing = Promise.all(
          writers.map(async (writer, w) => {
            for (let i = 0; i < 30; i++) await say(writer, configId, `${w}.${i}`);
          }),
        );
        const seen: { seq: number; text: string }[] = [];
        for (let life = 0; seen.length < total; life++) {
          const reader = await connectGraphql(ws, CAT);
          const events = reader.subscribe(ADDED, { id, after: seen.length });
          // The first lives are cut at every message boundary.
          const take = life < 20 ? 1 : (lives[life % lives.length] ?? 1);
          for (let i = 0; i < take && seen.length < total; i++) seen.push((await events.next())?.data.messageAdded);
          reader.socket.terminate();
        }
        await writing;
        expect(seen.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, i) => i + 1));
        expect(seen.map(({ text }) => text)).toEqual(await storedTexts(writers[0], id, total));
        for (const writer of writers) writer.close();
      }),
      { numRuns: 8 },
    );
    await expect.poll(() => server.subscriptions()).toBe(0);
  });

  test('reads from the store if far behind the tail, then continues live', async () => {
    const { ws } = await startServer();
    const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
    const id = await say(ann, 'c', 'm1');
    const live = bob.subscribe(ADDED, { id });
    await bob.run('{ viewer { email } }');
    for (let sent = 1; sent < 1000; sent += 100) {
      const messages = Array.from({ length: Math.min(100, 1000 - sent) }, (_, i) => ({ text: `m${sent + i + 1}` }));
      await ann.run('mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { deduplicated } }', {
        input: { to: { id }, messages },
      });
    }
    const late = bob.subscribe(ADDED, { id, after: 3 });
    for (let seq = 2; seq <= 1000; seq++) expect((await live.next())?.data.messageAdded.text).toBe(`m${seq}`);
    for (let seq = 4; seq <= 1000; seq++) expect((await late.next())?.data.messageAdded.text).toBe(`m${seq}`);
    await say(ann, 'c', 'm1001');
    for (const events of [live, late]) expect((await events.next())?.data.messageAdded.seq).toBe(1001);
  });
});

test('a lost wake-up costs at most the time of the slow poll, never a message', async () => {
  const store = await openSqlite(':memory:');
  const { ws } = await startServer({}, { store: { ...store, watch: () => () => {} } });
  const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
  const id = await say(ann, 'c', 'm1');
  const events = bob.subscribe(ADDED, { id, after: 0 });
  expect((await events.next())?.data.messageAdded.seq).toBe(1);
  for (const text of ['m2', 'm3']) await say(ann, 'c', text);
  expect((await events.next())?.data.messageAdded.seq).toBe(2);
  expect((await events.next())?.data.messageAdded.seq).toBe(3);
});

test('chatListChanged repeats the top of the list after wake-ups were lost', async () => {
  const store = await openSqlite(':memory:');
  let wake: Parameters<typeof store.watch>[0] = () => {};
  const watch: typeof store.watch = (listener) => {
    wake = listener;
    return () => {};
  };
  const { ws } = await startServer({}, { store: { ...store, watch } });
  const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
  const events = bob.subscribe('subscription { chatListChanged { lastSeq } }');
  await bob.run('{ viewer { email } }');
  for (const text of ['m1', 'm2']) await say(ann, 'c', text);
  wake(null);
  expect((await events.next())?.data).toEqual({ chatListChanged: { lastSeq: 2 } });
});

test('a store that fails for a while costs a subscriber no message', async () => {
  const store = await openSqlite(':memory:');
  let away = false;
  const messages: typeof store.messages = async (...args) => {
    if (away) throw new Error('away');
    return store.messages(...args);
  };
  const { ws } = await startServer({}, { store: { ...store, messages } });
  const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
  const id = await say(ann, 'c', 'm1');
  const events = bob.subscribe(ADDED, { id });
  await bob.run('{ viewer { email } }');
  away = true;
  const behind = bob.subscribe(ADDED, { id, after: 0 });
  for (const text of ['m2', 'm3']) await say(ann, 'c', text);
  away = false;
  expect((await events.next())?.data.messageAdded.seq).toBe(2);
  for (const seq of [1, 2, 3]) expect((await behind.next())?.data.messageAdded.seq).toBe(seq);
});

test('a store that shows an older state for a moment repeats nothing to any subscriber', async () => {
  const store = await openSqlite(':memory:');
  let older: Awaited<ReturnType<typeof store.conversation>> = null;
  let looks = 0;
  const conversation: typeof store.conversation = async (id) => {
    looks++;
    return older ?? (await store.conversation(id));
  };
  const { ws } = await startServer({}, { store: { ...store, conversation } });
  const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
  const id = (await say(ann, 'c', 'm1')) as ConversationId;
  const events = bob.subscribe(ADDED, { id, after: 0 });
  const seen: number[] = [];
  const take = async (count: number) => {
    for (let i = 0; i < count; i++) seen.push((await events.next())?.data.messageAdded.seq);
  };
  const first = await store.conversation(id);
  for (const text of ['m2', 'm3']) await say(ann, 'c', text);
  await take(3);
  older = first;
  const before = looks;
  // By the slow poll.
  await expect.poll(() => looks).toBeGreaterThan(before);
  older = null;
  await say(ann, 'c', 'm4');
  await take(1);
  expect(seen).toEqual([1, 2, 3, 4]);
});

test('a position known only to another instance so far is looked up before it is refused', async () => {
  const store = await openSqlite(':memory:');
  let behind = false;
  const conversation: typeof store.conversation = async (id) => {
    const found = await store.conversation(id);
    return found && behind ? { ...found, lastSeq: 1, lastRev: 1 } : found;
  };
  const ping = async () => {
    behind = false;
  };
  const { ws } = await startServer({}, { store: { ...store, conversation, ping } });
  const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
  const id = await say(ann, 'c', 'm1');
  await say(ann, 'c', 'm2');
  behind = true;
  const events = bob.subscribe(ADDED, { id, after: 2 });
  await bob.run('{ viewer { email } }');
  await say(ann, 'c', 'm3');
  expect((await events.next())?.data.messageAdded.seq).toBe(3);
  expect((await bob.subscribe(ADDED, { id, after: 4 }).next())?.errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
});

test.each(['is in the wake-up', 'is read', 'is found by the slow poll'])(
  'a subscriber that is no longer a member, which %s, gets nothing, and the stream ends',
  async (how) => {
    const store = await openSqlite(':memory:');
    const watch: typeof store.watch = (listener) =>
      store.watch((wakeUp) => {
        if (how === 'is in the wake-up') listener(wakeUp);
        else if (how === 'is read' && wakeUp?.kind === 'log') listener({ ...wakeUp, write: null });
      });
    const { ws, server } = await startServer({}, { store: { ...store, watch } });
    const [ann, bob] = [await connectGraphql(ws, `${ANN}:BANK`), await connectGraphql(ws, BOB)];
    const id = await say(ann, 'c', 'm1');
    const events = bob.subscribe(ADDED, { id, after: 0 });
    expect((await events.next())?.data.messageAdded.seq).toBe(1);
    await ann.run(
      'mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { id } } }',
      {
        input: { conversationId: id, removeMembers: [BOB] },
      },
    );
    await say(ann, 'c', 'm2');
    expect(await events.next()).toBeNull();
    expect((await bob.subscribe(ADDED, { id }).next())?.errors?.[0]?.extensions.code).toBe('NOT_FOUND');
    await expect.poll(() => server.subscriptions()).toBe(0);
  },
);

describe('an unavailable store', () => {
  const CHANGED = 'subscription { chatListChanged { lastSeq } }';

  test('makes chatListChanged lose no change, and is not visible in it', async () => {
    const store = await openSqlite(':memory:');
    let away = false;
    const conversation: typeof store.conversation = async (id) => {
      if (away) throw new Error('mongodb://root:secret@db is away');
      return store.conversation(id);
    };
    const { ws } = await startServer({}, { store: { ...store, conversation } });
    const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
    const id = await say(ann, 'c', 'm1');
    const events = bob.subscribe(CHANGED);
    await bob.run('{ viewer { email } }');
    away = true;
    const found = await store.conversation(id as ConversationId);
    const message = (await store.messages(id as ConversationId, 1, 1))[0];
    if (!found || !message) throw new Error('both were just written');
    await store.write({
      ...{
        conversation: found.id,
        afterRev: 1,
        opening: null,
        roles: new Map(),
        changed: [],
        state: null,
        members: [],
      },
      messages: [{ ...message, seq: 2, rev: 2 }],
    });
    away = false;
    expect(await events.next()).toEqual({ data: { chatListChanged: { lastSeq: 2 } } });
  });

  test('makes a send UNAVAILABLE, with a message that says whether it may be stored', async () => {
    const store = await openSqlite(':memory:');
    let nothingWritten = true;
    const write = async () => {
      throw new StoreUnavailable(nothingWritten, new Error('away'));
    };
    const { ws } = await startServer({}, { store: { ...store, write } });
    const line = await connectGraphql(ws, ANN);
    const send = () =>
      line.run('mutation ($input: SendMessageInput!) { sendMessage(input: $input) { deduplicated } }', {
        input: { to: { key: { configId: 'c', members: [ANN, BOB] } }, text: 'x' },
      });
    const error = (text: string) => ({
      errors: [{ message: expect.stringContaining(text), extensions: { code: 'UNAVAILABLE' } }],
    });
    expect(await send()).toMatchObject(error('not stored'));
    nothingWritten = false;
    expect(await send()).toMatchObject(error('outcome unknown, repeat with the same clientId'));
  });

  test('leaves no operation and no readiness unanswered for 10 s', async () => {
    const store = await openSqlite(':memory:');
    const never = () => new Promise<never>(() => {});
    const { ws, url } = await startServer({}, { store: { ...store, conversation: never, write: never, ping: never } });
    const line = await connectGraphql(ws, ANN);
    const key = { configId: 'c', members: [ANN, BOB] };
    const at = performance.now();
    const sending = line.run('mutation ($input: SendMessageInput!) { sendMessage(input: $input) { deduplicated } }', {
      input: { to: { key }, text: 'x' },
    });
    const reading = line.run('query ($key: ConversationKey!) { conversation(by: { key: $key }) { id } }', { key });
    const other = await connectGraphql(ws, BOB);
    const id = conversationId({ configId: 'other', members: [ANN, BOB] as EmailAddress[] });
    const subscribing = [0, 1, 2].map(() => other.subscribe(ADDED, { id }).next());
    const behind = other.run('{ conversation(by: { id: "x" }) { id } }');
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    for (const answer of await Promise.all([sending, reading, ...subscribing])) {
      expect(answer?.errors?.[0]?.extensions.code).toBe('UNAVAILABLE');
    }
    await behind;
    expect(performance.now() - at).toBeLessThan(10_000);
  });
});
