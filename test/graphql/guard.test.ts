import { describe, expect, test } from 'vitest';
import { conversationId, type EmailAddress } from '../../src/model.ts';
import { type Answer, connectGraphql, connectLegacy, post } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const EVE = 'eve@example.com';
const KEY = { configId: 'c1', members: [ANN, BOB, ...Array.from({ length: 1022 }, (_, i) => `m${i}@example.com`)] };
const SEND = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';

/** What a stranger can try with the id of a conversation. */
const ATTEMPTS: Record<string, string> = {
  conversation: 'query ($id: ID!) { conversation(by: { id: $id }) { id } }',
  // As many as aliases allow.
  'conversation, 16 times': `query ($id: ID!) { ${['', ...Array.from({ length: 15 }, (_, i) => `c${i}: `)]
    .map((alias) => `${alias}conversation(by: { id: $id }) { id }`)
    .join(' ')} }`,
  node: 'query ($id: ID!) { node(id: $id) { id } }',
  sendMessage: 'mutation ($id: ID!) { sendMessage(input: { to: { id: $id }, text: "x" }) { deduplicated } }',
  markRead: 'mutation ($id: ID!) { markRead(input: { conversationId: $id, seq: 1 }) { conversation { id } } }',
  editMessage:
    'mutation ($id: ID!) { editMessage(input: { conversationId: $id, seq: 1, text: "x" }) { message { seq } } }',
  redactMessage:
    'mutation ($id: ID!) { redactMessage(input: { conversationId: $id, seq: 1, reason: "x" }) { message { seq } } }',
  updateConversation:
    'mutation ($id: ID!) { ' +
    'updateConversation(input: { conversationId: $id, status: PENDING }) { conversation { id } } }',
  updateView:
    'mutation ($id: ID!) { ' + 'updateView(input: { conversationId: $id, muted: true }) { conversation { id } } }',
  setTyping: 'mutation ($id: ID!) { setTyping(conversationId: $id, typing: true) }',
  searchMessages: 'query ($id: ID!) { searchMessages(query: "x", in: $id) { nodes { seq } } }',
  conversationEvents: 'subscription ($id: ID!) { conversationEvents(conversationId: $id) { __typename } }',
  messageAdded: 'subscription ($id: ID!) { messageAdded(conversationId: $id) { text } }',
};

/** A large conversation that is being written to all the time, until `stop`. */
async function busy(server: TestServer) {
  const { data } = await post(server.url, ANN, SEND, { input: { to: { key: KEY }, text: 'x' } });
  const foreign: string = data.sendMessage.conversation.id;
  const line = await connectGraphql(server.ws, ANN);
  let stopped = false;
  const writing = (async () => {
    while (!stopped) await line.run(SEND, { input: { to: { id: foreign }, text: 'x' } });
  })();
  const stop = async () => {
    stopped = true;
    await writing;
  };
  const missing = conversationId({ ...KEY, configId: 'missing', members: KEY.members as EmailAddress[] });
  return { foreign, missing: missing as string, stop };
}

describe('to a non-member, a foreign conversation and a missing one are indistinguishable', () => {
  test('by the bytes of the answer, on every transport', async () => {
    const server = await startServer();
    const { foreign, missing, stop } = await busy(server);
    const line = await connectGraphql(server.ws, EVE);
    const ask = async (query: string, id: string): Promise<(Answer | null)[]> => {
      const events = line.subscribe(query, { id });
      const answers = [await events.next(), await events.next()];
      return query.startsWith('subscription') ? answers : [...answers, await post(server.url, EVE, query, { id })];
    };
    for (const [name, query] of Object.entries(ATTEMPTS)) {
      const [first, ...others] = await Promise.all(
        [missing, foreign, `${foreign}:1`, 'c_', '__proto__'].map((id) => ask(query, id)),
      );
      for (const other of others) expect(JSON.stringify(other), name).toBe(JSON.stringify(first));
    }
    await stop();
  });

  test('by the reads of the store', async () => {
    const { store } = await startServer();
    const asked: string[] = [];
    const server = await startServer(
      {},
      {
        store: new Proxy(store, {
          get: (target, name: keyof typeof store) =>
            name === 'conversation'
              ? async (...args: Parameters<typeof store.conversation>) => {
                  const found = await target.conversation(...args);
                  asked.push(found ? 'members' : 'nothing');
                  return found;
                }
              : target[name],
        }),
      },
    );
    const { foreign, missing, stop } = await busy(server);
    await stop();
    for (const [name, query] of Object.entries(ATTEMPTS)) {
      const line = await connectGraphql(server.ws, EVE);
      const readFor = async (id: string) => {
        asked.length = 0;
        await line.subscribe(query, { id }).next();
        return [...asked];
      };
      expect(await readFor(foreign), name).toEqual(await readFor(missing));
      expect(await readFor(foreign), name).not.toContain('members');
    }
  });

  /**
   * The Mann-Whitney statistic of two samples taken in turn: beyond ±5 by chance once in a million times.
   */
  function difference(a: readonly number[], b: readonly number[]): number {
    let wins = 0;
    for (const x of a) for (const y of b) wins += x > y ? 1 : x === y ? 0.5 : 0;
    const n = a.length * b.length;
    return (wins - n / 2) / Math.sqrt((n * (a.length + b.length + 1)) / 12);
  }

  test('by the time of the answer, even during writes to it', { timeout: 240_000 }, async () => {
    const server = await startServer();
    const { foreign, missing, stop } = await busy(server);
    const line = await connectGraphql(server.ws, EVE);
    for (const [name, query] of Object.entries(ATTEMPTS)) {
      const samples: Record<string, number[]> = { [foreign]: [], [missing]: [] };
      for (let i = 0; i < 60; i++) {
        // In turn, and in both orders, so that other load affects both alike.
        for (const id of i % 2 ? [foreign, missing] : [missing, foreign]) {
          const started = performance.now();
          await line.subscribe(query, { id }).next();
          samples[id]?.push(performance.now() - started);
        }
      }
      expect(Math.abs(difference(samples[foreign] ?? [], samples[missing] ?? [])), name).toBeLessThan(5);
    }
    const legacy = await connectLegacy(server.ws, EVE);
    legacy.send({ type: 'RECEIVE', config_id: KEY.configId, members: KEY.members });
    expect((await legacy.next()).data).toEqual([]);
    await stop();
  });
});
