import { expect, test } from 'vitest';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { type Store, StoreUnavailable } from '../../../src/store/store.ts';
import { post } from '../../support/clients.ts';
import { startServer } from '../../support/server.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const KEY = { configId: 'c', members: [ANN, BOB] };
const SEND = `mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
  deduplicated message { seq } conversation { id members { email readSeq } } } }`;

const send = (url: string, user: string, input: object) =>
  post(url, user, SEND, { input: { to: { key: KEY }, ...input } });
/** A store of which no wake-up comes. */
const deaf = (store: Store): Store => ({ ...store, watch: () => () => {} });

test('instances without hints of each other still append one after the other', async () => {
  const store = await openSqlite(':memory:');
  const urls = [
    (await startServer({}, { store: deaf(store) })).url,
    (await startServer({}, { store: deaf(store) })).url,
  ];
  const seqs: number[] = [];
  for (let i = 0; i < 10; i++) {
    const { data } = await send(urls[i % 2] ?? '', ANN, { text: `m${i}` });
    seqs.push(data.sendMessage.message.seq);
  }
  expect(seqs).toEqual(seqs.map((_, i) => i + 1));
});

test('a repeat by a member removed meanwhile is answered as to any non-member', async () => {
  const store = await openSqlite(':memory:');
  let left = false;
  const conversation: Store['conversation'] = async (id) => {
    const found = await store.conversation(id);
    const member = found?.members.get(ANN as never);
    if (!found || !member || !left) return found;
    return { ...found, members: new Map(found.members).set(member.email, { ...member, leftAt: 1 }) };
  };
  const { url } = await startServer({}, { store: deaf({ ...store, conversation }) });
  await send(url, ANN, { text: 'x', clientId: '1' });
  expect((await send(url, ANN, { text: 'x', clientId: '1' })).data.sendMessage.deduplicated).toBe(true);
  await send(url, ANN, { text: 'y' });
  left = true;
  expect((await send(url, ANN, { text: 'x', clientId: '1' })).errors?.[0]?.extensions.code).toBe('NOT_FOUND');
});

test('a read position is read again if its write has an unknown outcome', async () => {
  const store = await openSqlite(':memory:');
  const advanceReadPosition: Store['advanceReadPosition'] = async (...args) => {
    await store.advanceReadPosition(...args);
    throw new StoreUnavailable(false, new Error('the writer ended'));
  };
  const watch: Store['watch'] = (listener) => store.watch((wakeUp) => wakeUp?.kind !== 'read' && listener(wakeUp));
  const { url } = await startServer({}, { store: { ...store, advanceReadPosition, watch } });
  const { data } = await send(url, ANN, { text: 'x' });
  const { errors } = await post(
    url,
    BOB,
    'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }',
    { input: { conversationId: data.sendMessage.conversation.id, seq: 1 } },
  );
  expect(errors?.[0]?.extensions.code).toBe('UNAVAILABLE');
  const again = await send(url, ANN, { text: 'y' });
  expect(again.data.sendMessage.conversation.members).toContainEqual({ email: BOB, readSeq: 1 });
});

test('a send shows the read positions that moved since the last one', async () => {
  const { url } = await startServer();
  const { data } = await send(url, ANN, { text: 'x' });
  const { id } = data.sendMessage.conversation;
  await send(url, ANN, { text: 'y' });
  await post(url, BOB, 'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }', {
    input: { conversationId: id, seq: 2 },
  });
  const again = await send(url, ANN, { text: 'z' });
  expect(again.data.sendMessage.conversation.members).toContainEqual({ email: BOB, readSeq: 2 });
});
