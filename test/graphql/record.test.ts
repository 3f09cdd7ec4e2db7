import { expect, test } from 'vitest';
import { openCheckpoint } from '../../src/record/signed-note.ts';
import { verifyMessageProof } from '../../src/record/tlog-proof.ts';
import { connectGraphql, post } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CAT, DAN, EVE] = ['ann', 'bob', 'cat', 'dan', 'eve'].map((name) => `${name}@example.com`) as [
  ...[string, string, string, string, string],
];

const PROOFS = 'query ($id: ID!) { conversation(by: { id: $id }) { lastRev messages { nodes { seq proof } } } }';

/** A conversation of Ann and Bob, on a server that shows no checkpoint before `sign`, and no other after `freeze`. */
async function setUp() {
  const { url, ws, store } = await startServer();
  const { register } = store;
  /** The checkpoint that is shown; undefined for the newest. */
  let shown: string | null | undefined = null;
  const sign = () => {
    shown = undefined;
  };
  const freeze = async () => {
    shown = (await register()).checkpoint;
  };
  store.register = async () => ({ ...(await register()), ...(shown !== undefined && { checkpoint: shown }) });
  const run = async (query: string, variables: object = {}, who = ANN) => {
    const { data, errors } = await post(url, who, query, variables as Record<string, unknown>);
    expect(errors, query).toBeUndefined();
    return data;
  };
  const say = async (text: string, who = ANN) => {
    const input = { to: { key: { configId: 'c', members: [ANN, BOB] } }, text, clientId: text };
    const query =
      'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { proof } conversation { id } } }';
    const { sendMessage } = await run(query, { input }, who);
    if (shown !== undefined) expect(sendMessage.message.proof).toBeNull();
    return sendMessage.conversation.id as string;
  };
  const proofs = async (id: string): Promise<(string | null)[]> =>
    (await run(PROOFS, { id })).conversation.messages.nodes.map(({ proof }: { proof: string | null }) => proof);
  /** The proofs of all messages, once there are. */
  const proved = async (id: string) => {
    await expect.poll(() => proofs(id), { timeout: 30_000 }).not.toContain(null);
    const keys = (await run('{ recordKeys }')).recordKeys;
    return (await proofs(id)).map((proof) => verifyMessageProof(proof as string, keys));
  };
  return { url, ws, run, say, proofs, proved, sign, freeze };
}

const namesOf = (disclosures: readonly { readonly name: string }[]) => disclosures.map(({ name }) => name);
const discloses = (disclosures: readonly { readonly name: string; readonly value: string }[], name: string) =>
  disclosures.find((one) => one.name === name)?.value;

test('a message has no proof until the record is signed, and then one that verifies, without a change', async () => {
  const { say, run, proofs, proved, sign } = await setUp();
  const id = await say('one');
  await say('two');
  const update = 'mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { __typename } }';
  await run(update, { input: { conversationId: id, addLabels: ['x'], addMembers: [CAT] } });
  expect(await proofs(id)).toEqual([null, null, null]);
  expect(await run('{ recordCheckpoint }')).toEqual({ recordCheckpoint: null });
  sign();
  const [one, two, three] = await proved(id);
  expect(one?.entry.slice(0, 5)).toEqual([1, id, 1, 'ADDED', 1]);
  expect(one?.entry[6]).toBe(ANN);
  expect(namesOf(one?.disclosures ?? [])).toEqual(['text', 'opening', 'client']);
  expect(discloses(one?.disclosures ?? [], 'text')).toBe('one');
  expect(JSON.parse(discloses(one?.disclosures ?? [], 'opening') ?? '')).toEqual({
    ...{ configId: 'c', members: [ANN, BOB], party: null, subject: null },
  });
  expect(two?.entry.slice(0, 5)).toEqual([1, id, 2, 'ADDED', 2]);
  expect(three?.entry.slice(0, 5)).toEqual([1, id, 3, 'ADDED', 3]);
  expect(JSON.parse(discloses(three?.disclosures ?? [], 'changes') ?? '')).toEqual([
    { field: 'labels', from: null, to: 'x' },
    { field: 'members', from: null, to: CAT },
  ]);

  const { recordCheckpoint, recordKeys } = await run('{ recordCheckpoint recordKeys }', {}, EVE);
  expect(recordKeys).toHaveLength(1);
  expect(openCheckpoint(recordCheckpoint, recordKeys)).toMatchObject({ origin: 'kredichat', keys: recordKeys });
  expect(openCheckpoint(recordCheckpoint, recordKeys).size).toBeGreaterThanOrEqual(one?.checkpoint.size ?? 0);
});

test('an edit and a redaction have proofs of their own, and disclose no text that is gone', async () => {
  const { say, run, proofs, proved, sign, freeze } = await setUp();
  sign();
  const id = await say('first');
  await say('second');
  const edit = 'mutation ($input: EditMessageInput!) { editMessage(input: $input) { message { rev } } }';
  for (const seq of [1, 2]) await run(edit, { input: { conversationId: id, seq, text: 'edited' } });
  const redact = 'mutation ($input: RedactMessageInput!) { redactMessage(input: $input) { message { rev } } }';
  await run(redact, { input: { conversationId: id, seq: 2, reason: 'a mistake' } });
  const [edited, redacted] = await proved(id);
  expect(edited?.entry.slice(0, 5)).toEqual([1, id, 3, 'EDITED', 1]);
  expect(edited?.disclosures.map(({ name, value }) => [name, value])).toEqual([['text', 'edited']]);
  expect(redacted?.entry.slice(0, 5)).toEqual([1, id, 5, 'REDACTED', 2]);
  expect(redacted?.entry[6]).toBe(ANN);
  expect(redacted?.disclosures.map(({ name, value }) => [name, value])).toEqual([['reason', 'a mistake']]);

  // Inside a snapshot: the message as it stood, with the proof of its newest entry.
  const then = 'query ($id: ID!) { conversationAsOf(id: $id, at: { rev: 2 }) { messages { nodes { rev proof } } } }';
  const nodes: { rev: number; proof: string }[] = (await run(then, { id })).conversationAsOf.messages.nodes;
  expect(nodes.map(({ rev }) => rev)).toEqual([1, 2]);
  expect(nodes.map(({ proof }) => proof)).toEqual(await proofs(id));

  await freeze();
  // A change has no proof yet, though the message before it had one.
  await run(edit, { input: { conversationId: id, seq: 1, text: 'edited again' } });
  expect((await proofs(id)).map((proof) => proof === null)).toEqual([true, false]);
});

test('a proof is the same by every way to a message, for every member', async () => {
  const { say, run, proved, sign, freeze, ws } = await setUp();
  sign();
  const id = await say('only');
  await proved(id);
  const { recordKeys } = await run('{ recordKeys }');
  const verify = (answer: unknown) => {
    const [, proof] = /"p":"([^"]+)"/.exec(JSON.stringify(answer)) ?? [];
    const { entry, disclosures } = verifyMessageProof((proof ?? '').replaceAll('\\n', '\n'), recordKeys);
    expect(entry.slice(0, 5)).toEqual([1, id, 1, 'ADDED', 1]);
    expect(namesOf(disclosures)).toEqual(['text', 'opening', 'client']);
  };
  const lines = await Promise.all([ANN, BOB].map((who) => connectGraphql(ws, who)));
  const queries = [
    `{ node(id: "${id}:1") { ... on Message { p: proof } } }`,
    `{ conversation(by: { id: "${id}" }) { lastMessage { seq ...P } } } fragment P on Message { p: proof }`,
    '{ chatList { nodes { lastMessage { p: proof } } } }',
    '{ searchMessages(query: "only") { edges { node { p: proof } } } }',
    `{ conversationAsOf(id: "${id}", at: { rev: 1 }) { messages { nodes { p: proof } } } }`,
  ];
  for (const query of queries) {
    for (const who of [ANN, BOB]) verify(await run(query, {}, who));
    for (const line of lines) verify(await line.run(query));
  }
  const subscriptions = [
    `subscription { messageAdded(conversationId: "${id}", afterSeq: 0) { seq p: proof text } }`,
    `subscription { conversationEvents(conversationId: "${id}", afterRev: 0) {
      ... on MessageAdded { rev message { p: proof } } } }`,
  ];
  const streams = subscriptions.flatMap((query) => lines.map((line) => line.subscribe(query)));
  for (const stream of streams) verify(await stream.next());
  // Live, an event comes before it is registered.
  await freeze();
  await say('live', BOB);
  for (const stream of streams.slice(0, 2))
    expect((await stream.next())?.data).toEqual({ messageAdded: { seq: 2, p: null, text: 'live' } });
});

test('the proofs of a page share their reads', async () => {
  const { url, store } = await startServer();
  const messages = Array.from({ length: 100 }, (_, i) => ({ text: `m${i}` }));
  const say = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { id } } }';
  const { data } = await post(url, ANN, say, {
    input: { to: { key: { configId: 'c', members: [ANN, BOB] } }, messages },
  });
  const { id } = data.sendMessages.conversation;
  const page = async () =>
    (await post(url, ANN, `{ conversation(by: { id: "${id}" }) { messages(last: 100) { nodes { proof } } } }`)).data
      .conversation.messages.nodes;
  await expect
    .poll(async () => (await page()).filter(({ proof }: { proof: unknown }) => proof), { timeout: 30_000 })
    .toHaveLength(100);
  const { register, tiles } = store;
  let [registers, read] = [0, 0];
  store.register = () => {
    registers++;
    return register();
  };
  store.tiles = (log, keys) => {
    read += keys.length;
    return tiles(log, keys);
  };
  await page();
  // The server registers and signs besides; the page is made in a few turns of the event loop.
  expect(registers).toBeLessThan(30);
  expect(read).toBeLessThan(60);
});

test('programs can read what changed, since when an earlier text stood, and when a member had read', async () => {
  const { say, run } = await setUp();
  const id = await say('one');
  const edit = 'mutation ($input: EditMessageInput!) { editMessage(input: $input) { message { rev } } }';
  await say('two', BOB);
  for (const text of ['second', 'third']) await run(edit, { input: { conversationId: id, seq: 1, text } });
  const update = 'mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { __typename } }';
  const changes = { status: 'PENDING', assignee: BOB, addLabels: ['x', 'y'], addMembers: [DAN] };
  await run(update, { input: { conversationId: id, ...changes } });
  await run(
    update,
    { input: { conversationId: id, assignee: null, removeLabels: ['x'], removeMembers: [DAN] } },
    `${ANN}:BANK`,
  );
  const before = Date.now();
  await run('mutation ($input: MarkReadInput!) { markRead(input: $input) { __typename } }', {
    input: { conversationId: id, seq: 3 },
  });
  const { conversation } = await run(
    `query ($id: ID!) { conversation(by: { id: $id }) { members { email readSeq readAt }
      messages { nodes { changes { field from to } revisions { text rev } } } } }`,
    { id },
  );
  const nodes: { changes: object[]; revisions: object[] }[] = conversation.messages.nodes;
  expect(nodes[0]?.revisions).toEqual([
    { text: 'one', rev: 1 },
    { text: 'second', rev: 3 },
  ]);
  expect(nodes.map(({ changes }) => changes)).toEqual([
    [],
    [],
    [
      { field: 'status', from: 'OPEN', to: 'PENDING' },
      { field: 'assignee', from: null, to: BOB },
      { field: 'labels', from: null, to: 'x' },
      { field: 'labels', from: null, to: 'y' },
      { field: 'members', from: null, to: DAN },
    ],
    [
      { field: 'assignee', from: BOB, to: null },
      { field: 'labels', from: 'x', to: null },
      { field: 'members', from: DAN, to: null },
    ],
  ]);
  const [ann, bob] = conversation.members;
  expect([ann.readSeq, bob]).toEqual([3, { email: BOB, readSeq: 0, readAt: null }]);
  expect(Date.parse(ann.readAt)).toBeGreaterThanOrEqual(before);
});

test('proofs and snapshots count as what they cost', async () => {
  const { say, url } = await setUp();
  const id = await say('one');
  const ask = async (query: string) => (await post(url, ANN, query)).errors?.[0]?.extensions.code;
  const page = (name: number) =>
    `a${name}: conversation(by: { id: "${id}" }) { messages(last: 100) { nodes { proof } } }`;
  const pages = (count: number) => `{ ${Array.from({ length: count }, (_, i) => page(i)).join(' ')} }`;
  expect(await ask(pages(4))).toBeUndefined();
  expect(await ask(pages(5))).toBe('BAD_USER_INPUT');
  // Fragments and aliases do not make them cheaper.
  const many = Array.from({ length: 5 }, (_, i) => `p${i}: proof`).join(' ');
  const fragment = `fragment F on MessageConnection { edges { node { ${many} } } }`;
  expect(await ask(`{ conversation(by: { id: "${id}" }) { messages(last: 100) { ...F } } } ${fragment}`)).toBe(
    'BAD_USER_INPUT',
  );
});
