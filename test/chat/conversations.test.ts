import { describe, expect, test } from 'vitest';
import { newMessage } from '../../src/chat/log/change-set.ts';
import type { Conversation, ConversationId, EmailAddress } from '../../src/model.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { StoreUnavailable } from '../../src/store/store.ts';
import { type Answer, connectGraphql, type GraphqlLine, legacyOnce, post } from '../support/clients.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CAT, DAN] = ['ann', 'bob', 'cat', 'dan'].map((name) => `${name}@example.com`) as [
  ...[string, string, string, string],
];
const KEY = { configId: 'c', members: [ANN, BOB] };
const EVENTS = `subscription ($id: ID!, $afterRev: Int) {
  conversationEvents(conversationId: $id, afterRev: $afterRev) { __typename
  ... on MessageAdded { rev message { seq text } } ... on MessageChanged { rev message { seq text } }
  ... on ReadMoved { member readSeq } ... on Typing { member typing } ... on CaughtUp { rev seq } } }`;
const ADDED = 'subscription ($id: ID!) { messageAdded(conversationId: $id) { text } }';

const codeOf = ({ errors }: Answer) => errors?.[0]?.extensions.code;

/** Runs a mutation with an input; returns its selection, or the code of the refusal. */
async function mutate(line: GraphqlLine, field: string, input: object, selection: string) {
  const type = `${field[0]?.toUpperCase()}${field.slice(1)}Input`;
  const answer = await line.run(`mutation ($input: ${type}!) { ${field}(input: $input) { ${selection} } }`, { input });
  return codeOf(answer) ?? answer.data[field];
}
const say = async (line: GraphqlLine, text: string, to: object = { key: KEY }, more: object = {}) =>
  (await mutate(line, 'sendMessage', { to, text, ...more }, 'message { seq rev text } conversation { id status }')) as {
    message: { seq: number; rev: number; text: string };
    conversation: { id: string; status: string };
  };
const edit = (line: GraphqlLine, conversationId: string, input: object) =>
  mutate(
    line,
    'editMessage',
    { conversationId, ...input },
    'message { seq rev text editedAt revisions { text editor } }',
  );
const redact = (line: GraphqlLine, conversationId: string, seq: number) =>
  mutate(
    line,
    'redactMessage',
    { conversationId, seq, reason: 'a slip' },
    'message { rev text redactedAt revisions { text } }',
  );
const update = (line: GraphqlLine, conversationId: string, input: object) =>
  mutate(
    line,
    'updateConversation',
    { conversationId, ...input },
    'conversation { status labels assignee lastSeq lastMessage { kind text } }',
  );

async function begun() {
  const { ws, store, url } = await startServer();
  const [ann, bob, bank] = [
    await connectGraphql(ws, ANN),
    await connectGraphql(ws, BOB),
    await connectGraphql(ws, `${BOB}:BANK`),
  ];
  const { conversation } = await say(ann, 'first');
  return { ws, url, store, ann, bob, bank, id: conversation.id };
}

describe('an edit', () => {
  test('is for the sender only, and keeps the earlier text', async () => {
    const { ann, bob, id } = await begun();
    expect(await edit(bob, id, { seq: 1, text: 'x' })).toBe('FORBIDDEN');
    expect(await edit(ann, id, { seq: 2, text: 'x' })).toBe('NOT_FOUND');
    expect(await edit(ann, `${id}:1`, { seq: 1, text: 'x' })).toBe('NOT_FOUND');
    expect(await edit(ann, id, { seq: 1, text: ' ' })).toBe('BAD_USER_INPUT');
    const first = { message: { seq: 1, rev: 2, text: 'second', revisions: [{ text: 'first', editor: ANN }] } };
    expect(await edit(ann, id, { seq: 1, text: 'second', expectedRev: 1 })).toMatchObject(first);
    expect(await edit(ann, id, { seq: 1, text: 'second' })).toMatchObject(first);
    expect(await edit(ann, id, { seq: 1, text: 'second', expectedRev: 1 })).toMatchObject(first);
    expect(await edit(ann, id, { seq: 1, text: 'third', expectedRev: 1 })).toBe('CONFLICT');
    await redact(ann, id, 1);
    expect(await edit(ann, id, { seq: 1, text: 'third' })).toBe('CONFLICT');
  });

  test('succeeds for one of two at once on the same state, and no stream shows the other', async () => {
    const one = await startServer();
    // Another instance, which decides for itself.
    const two = await startServer({}, { store: one.store });
    const lines = [await connectGraphql(one.ws, ANN), await connectGraphql(two.ws, ANN)] as [GraphqlLine, GraphqlLine];
    const { conversation } = await say(lines[0], 'text 0');
    const { id } = conversation;
    const events = (await connectGraphql(two.ws, BOB)).subscribe(EVENTS, { id, afterRev: 0 });
    const stored: string[] = ['text 0'];
    for (let rev = 1; rev <= 20; rev++) {
      const outcomes = await Promise.all(
        lines.map((line, i) => edit(line, id, { seq: 1, text: `text ${rev} ${i}`, expectedRev: rev })),
      );
      expect(outcomes.filter((outcome) => outcome === 'CONFLICT')).toHaveLength(1);
      const winner = outcomes.find((outcome) => outcome !== 'CONFLICT');
      expect(winner.message.rev).toBe(rev + 1);
      stored.push(winner.message.text);
    }
    for (let rev = 0; rev < 21; ) {
      const event = (await events.next())?.data.conversationEvents;
      if (!event.message) continue;
      expect(event.message.text).toBe(stored[event.rev - 1]);
      rev = event.rev;
    }
  });

  test('or a redaction does not make a repeat a new message', async () => {
    const { ann, id } = await begun();
    const { message } = await say(ann, 'once', { id }, { clientId: 'x' });
    await edit(ann, id, { seq: message.seq, text: 'twice' });
    expect(await say(ann, 'once', { id }, { clientId: 'x' })).toMatchObject({ message: { seq: 2, text: 'twice' } });
    await redact(ann, id, message.seq);
    expect(await say(ann, 'once', { id }, { clientId: 'x' })).toMatchObject({ message: { seq: 2, text: '' } });
    expect(await say(ann, 'twice', { id }, { clientId: 'x' })).toBe('CONFLICT');
  });
});

test('the reason of a redaction is one line of visible text', async () => {
  const { ann, id } = await begun();
  for (const reason of ['', ' ', '\u3164', 'a\u202eb', 'a\nb'])
    expect(await mutate(ann, 'redactMessage', { conversationId: id, seq: 1, reason }, 'message { text }')).toBe(
      'BAD_USER_INPUT',
    );
});

test('a redaction is for the sender and the bank, removes all texts, and happens once', async () => {
  const { ann, bob, bank, id } = await begun();
  await edit(ann, id, { seq: 1, text: 'second' });
  expect(await redact(bob, id, 1)).toBe('FORBIDDEN');
  const gone = { message: { rev: 3, text: '', redactedAt: expect.any(String), revisions: [] } };
  expect(await redact(bank, id, 1)).toEqual(gone);
  expect(await redact(ann, id, 1)).toEqual(gone);
  const search = 'query ($query: String!) { searchMessages(query: $query) { nodes { seq } } }';
  for (const query of ['first', 'second', 'sec*'])
    expect((await ann.run(search, { query })).data.searchMessages.nodes).toEqual([]);
  expect((await bob.run('query ($id: ID!) { conversation(by: { id: $id }) { unreadCount } }', { id })).data).toEqual({
    conversation: { unreadCount: 0 },
  });
});

describe('an update', () => {
  test('adds one message that lists the changes, and none without a change', async () => {
    const { ann, id } = await begun();
    const input = { status: 'PENDING', assignee: BOB, addLabels: ['urgent', 'b'], addMembers: [CAT] };
    const text = `status: OPEN → PENDING; assignee: nobody → ${BOB}; labels: +"b", +"urgent"; members: +${CAT}`;
    const changed = { status: 'PENDING', labels: ['b', 'urgent'], assignee: BOB, lastSeq: 2 };
    const expected = { conversation: { ...changed, lastMessage: { kind: 'SYSTEM', text } } };
    expect(await update(ann, id, input)).toEqual(expected);
    expect(await update(ann, id, input)).toEqual(expected);
    expect(await update(ann, id, {})).toEqual(expected);
    expect(await update(ann, id, { assignee: null, removeLabels: ['b'] })).toMatchObject({
      conversation: {
        assignee: null,
        labels: ['urgent'],
        lastMessage: { text: `assignee: ${BOB} → nobody; labels: −"b"` },
      },
    });
    for (const wrong of [
      { assignee: DAN },
      { addLabels: ['x'.repeat(41)] },
      { addLabels: ['x\nstatus: OPEN → CLOSED'] },
      { addLabels: ['x\u2028y'] },
      { addLabels: ['x\u202e'] },
      { addLabels: ['x\u200b'] },
      { addLabels: ['\u3164'] },
      { addLabels: ['urgent '] },
      { addLabels: ['very  urgent'] },
      { addLabels: ['e\u0301'] },
      { addLabels: Array.from({ length: 20 }, (_, i) => `l${i}`) },
      { addMembers: [DAN], removeMembers: [DAN] },
    ])
      expect(await update(ann, id, wrong), JSON.stringify(wrong)).toBe('BAD_USER_INPUT');
  });

  test('closes for the bank only if it has a member, and a new text reopens one that is not closed', async () => {
    const { ann, bank, id } = await begun();
    expect(await update(ann, id, { status: 'CLOSED' })).toMatchObject({ conversation: { status: 'CLOSED' } });
    expect(await say(ann, 'x', { id })).toBe('CONVERSATION_CLOSED');
    expect(await edit(ann, id, { seq: 1, text: 'x' })).toBe('CONVERSATION_CLOSED');
    expect(await update(ann, id, { addLabels: ['x'] })).toBe('CONVERSATION_CLOSED');
    expect((await ann.run('query ($id: ID!) { conversation(by: { id: $id }) { lastSeq } }', { id })).data).toEqual({
      conversation: { lastSeq: 2 },
    });
    expect(await update(bank, id, { status: 'RESOLVED' })).toMatchObject({ conversation: { status: 'RESOLVED' } });
    expect(await update(ann, id, { status: 'CLOSED' })).toBe('FORBIDDEN');
    expect(await say(ann, 'again', { id })).toMatchObject({ message: { seq: 5 }, conversation: { status: 'OPEN' } });
    const log = await ann.run(
      'query ($id: ID!) { conversation(by: { id: $id }) { messages { nodes { kind text } } } }',
      { id },
    );
    expect(log.data.conversation.messages.nodes.slice(3)).toEqual([
      { kind: 'SYSTEM', text: 'status: RESOLVED → OPEN' },
      { kind: 'TEXT', text: 'again' },
    ]);
    await update(bank, id, { status: 'CLOSED' });
    expect(await update(ann, id, { status: 'OPEN' })).toBe('FORBIDDEN');
  });

  test('cannot have a label that imitates a text of the server', async () => {
    const { ann, id } = await begun();
    const label = 'x"; status: OPEN → CLOSED';
    expect(await update(ann, id, { addLabels: [label] })).toMatchObject({
      conversation: { labels: [label], lastMessage: { text: `labels: +${JSON.stringify(label)}` } },
    });
  });

  test('isolates a right-to-left label, and can remove one that predates the rules', async () => {
    const { ann, store, id } = await begun();
    expect(await update(ann, id, { addLabels: ['דחוף', 'می\u200cخواهم', 'é'] })).toMatchObject({
      conversation: {
        lastMessage: { text: 'labels: +"é", +\u2068"דחוף"\u2069, +\u2068"می\u200cخواهم"\u2069' },
      },
    });
    const head = (await store.conversation(id as ConversationId)) as Conversation;
    const message = newMessage(head, 0, { kind: 'SYSTEM', sender: ANN as EmailAddress, text: 'x', sentAt: 1 });
    const state = { status: head.status, labels: ['x\u202e\u{e0041}'], assignee: null };
    const write = { conversation: head.id, afterRev: head.lastRev, opening: null, messages: [message], changed: [] };
    expect(await store.write({ ...write, state, members: [], roles: new Map() })).toBe(true);
    expect(await update(ann, id, { removeLabels: state.labels })).toMatchObject({
      conversation: { labels: [], lastMessage: { text: String.raw`labels: −"x\u202e\udb40\udc41"` } },
    });
  });

  test('closes by the last known role of each member, even after a read mark at the same position', async () => {
    const { ws, ann, bob, bank, id } = await begun();
    const mark = (line: GraphqlLine) =>
      mutate(line, 'markRead', { conversationId: id, seq: 1 }, 'conversation { members { role readSeq } }');
    const members = (role: string | null) => ({
      conversation: {
        members: [
          { role: null, readSeq: 0 },
          { role, readSeq: 1 },
        ],
      },
    });
    expect(await mark(bob)).toEqual(members(null));
    expect(await mark(bank)).toEqual(members('BANK'));
    expect(await mark(bob)).toEqual(members('BANK'));
    for (const line of [ann, bob]) expect(await update(line, id, { status: 'CLOSED' })).toBe('FORBIDDEN');
    // By the present credential there is no bank any more.
    const customer = await connectGraphql(ws, `${BOB}:CUSTOMER`);
    expect(await update(customer, id, { status: 'CLOSED' })).toMatchObject({ conversation: { status: 'CLOSED' } });
    expect(await update(ann, id, { status: 'OPEN' })).toMatchObject({ conversation: { status: 'OPEN' } });
  });

  test('that removes a member ends the member’s streams and access', async () => {
    const { ws, ann, bob, bank, id } = await begun();
    expect(await update(ann, id, { removeMembers: [BOB] })).toBe('FORBIDDEN');
    await update(ann, id, { addMembers: [CAT] });
    const cat = await connectGraphql(ws, CAT);
    const seen = await cat.run(
      'query ($id: ID!) { conversation(by: { id: $id }) { unreadCount messages { nodes { text } } } }',
      { id },
    );
    expect(seen.data.conversation).toMatchObject({ unreadCount: 0, messages: { nodes: [{ text: 'first' }, {}] } });
    const streams = [cat.subscribe(EVENTS, { id }), cat.subscribe(ADDED, { id })];
    await cat.run('{ viewer { email } }');
    expect(await streams[0]?.next()).toEqual({
      data: { conversationEvents: { __typename: 'CaughtUp', rev: 2, seq: 2 } },
    });
    await update(bank, id, { removeMembers: [CAT] });
    expect(await Promise.all(streams.map((stream) => stream.next()))).toEqual([null, null]);
    const attempts = [
      await say(cat, 'x', { id }),
      await edit(cat, id, { seq: 1, text: 'x' }),
      await redact(cat, id, 1),
      await update(cat, id, { status: 'PENDING' }),
      await mutate(cat, 'updateView', { conversationId: id, muted: true }, 'conversation { id }'),
      await mutate(cat, 'markRead', { conversationId: id, seq: 1 }, 'conversation { id }'),
      codeOf(await cat.run('mutation ($id: ID!) { setTyping(conversationId: $id, typing: true) }', { id })),
      codeOf(await cat.run('query ($id: ID!) { searchMessages(query: "first", in: $id) { nodes { id } } }', { id })),
      codeOf((await cat.subscribe(EVENTS, { id, afterRev: 0 }).next()) ?? {}),
    ];
    expect(attempts).toEqual(attempts.map(() => 'NOT_FOUND'));
    expect(
      (await cat.run('{ searchMessages(query: "first") { nodes { id } } chatList { nodes { id } } }')).data,
    ).toEqual({
      searchMessages: { nodes: [] },
      chatList: { nodes: [] },
    });
    // A member may always leave; and a former member of the key cannot open it again.
    await update(bob, id, { removeMembers: [BOB] });
    expect(await say(bob, 'x')).toBe('NOT_FOUND');
    expect(await legacyOnce(ws, BOB, { type: 'RECEIVE', config_id: 'c', members: [ANN] })).toEqual({
      type: 'RECEIVE',
      data: [],
    });
  });
});

test('a write that cannot be read back is not reported as one that did not happen', async () => {
  const store = await openSqlite(':memory:');
  let away = false;
  const thenAway = async (written: Promise<boolean>) => {
    away = await written;
    return away;
  };
  const { url } = await startServer(
    {},
    {
      store: {
        ...store,
        conversation: (...args) =>
          away ? Promise.reject(new StoreUnavailable(true, new Error('away'))) : store.conversation(...args),
        advanceReadPosition: (...args) => thenAway(store.advanceReadPosition(...args)),
        setView: (...args) => thenAway(store.setView(...args)),
        // No wake-up holds the write, so the feed reads it.
        watch: () => () => {},
      },
    },
  );
  const send = `mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }`;
  const to = { key: { configId: 'c', members: ['ann@example.com', 'bob@example.com'] } };
  const { conversation } = (await post(url, 'ann@example.com', send, { input: { to, text: 'x' } })).data.sendMessage;
  for (const write of [
    'markRead(input: { conversationId: $id, seq: 1 })',
    'updateView(input: { conversationId: $id, muted: true })',
  ]) {
    const { errors } = await post(url, 'bob@example.com', `mutation ($id: ID!) { ${write} { conversation { id } } }`, {
      id: conversation.id,
    });
    expect(errors).toMatchObject([
      { message: expect.stringContaining('outcome unknown'), extensions: { code: 'UNAVAILABLE' } },
    ]);
    away = false;
  }
});

test('a view belongs to one viewer, and a new text unarchives a conversation that is not muted', async () => {
  const { ann, bob, id } = await begun();
  const view = (line: GraphqlLine, input: object) =>
    mutate(line, 'updateView', { conversationId: id, ...input }, 'conversation { muted pinned archived }');
  expect(await view(bob, { archived: true, pinned: null })).toEqual({
    conversation: { muted: false, pinned: false, archived: true },
  });
  expect(await view(ann, {})).toEqual({ conversation: { muted: false, pinned: false, archived: false } });
  const listed = async (archived: boolean) =>
    (
      await bob.run(
        'query ($archived: Boolean) { chatList(filter: { archived: $archived }) { unreadTotal nodes { id } } }',
        { archived },
      )
    ).data.chatList;
  expect(await listed(true)).toEqual({ unreadTotal: 0, nodes: [{ id }] });
  await say(ann, 'second');
  expect(await listed(false)).toEqual({ unreadTotal: 2, nodes: [{ id }] });
  await view(bob, { archived: true, muted: true });
  await say(ann, 'third');
  expect(await listed(false)).toEqual({ unreadTotal: 0, nodes: [] });
});

test('events come in order of rev, then the read positions of all members, CaughtUp, and live events', async () => {
  const { ann, bob, id } = await begun();
  await say(ann, 'second');
  await edit(ann, id, { seq: 1, text: 'changed' });
  const take = async (stream: ReturnType<GraphqlLine['subscribe']>, count: number) => {
    const events: unknown[] = [];
    for (let i = 0; i < count; i++) events.push(Object.values((await stream.next())?.data.conversationEvents ?? {}));
    return events;
  };
  const all = bob.subscribe(EVENTS, { id, afterRev: 0 });
  const reads = [
    ['ReadMoved', ANN, 0],
    ['ReadMoved', BOB, 0],
  ];
  expect(await take(all, 5)).toEqual([
    ['MessageAdded', 2, { seq: 2, text: 'second' }],
    ['MessageAdded', 3, { seq: 1, text: 'changed' }],
    ...reads,
    ['CaughtUp', 3, 2],
  ]);
  const some = bob.subscribe(EVENTS, { id, afterRev: 1 });
  expect(await take(some, 2)).toEqual([
    ['MessageAdded', 2, { seq: 2, text: 'second' }],
    ['MessageChanged', 3, { seq: 1, text: 'changed' }],
  ]);
  some.stop();
  const now = bob.subscribe(EVENTS, { id });
  expect(await take(now, 1)).toEqual([['CaughtUp', 3, 2]]);
  await mutate(ann, 'markRead', { conversationId: id, seq: 2 }, 'conversation { id }');
  await say(ann, 'third');
  await redact(ann, id, 3);
  await update(ann, id, { status: 'PENDING' });
  for (const stream of [all, now]) {
    expect(await take(stream, 4)).toEqual([
      ['ReadMoved', ANN, 2],
      ['MessageAdded', 4, { seq: 3, text: 'third' }],
      ['MessageChanged', 5, { seq: 3, text: '' }],
      ['MessageAdded', 6, { seq: 4, text: 'status: OPEN → PENDING' }],
    ]);
  }
  for (const afterRev of [-1, 7]) {
    expect(codeOf((await bob.subscribe(EVENTS, { id, afterRev }).next()) ?? {})).toBe('BAD_USER_INPUT');
  }
});

test('typing is shown to the other members, once for many hints, and ends by itself', async () => {
  const { ann, bob, id } = await begun();
  const type = (line: GraphqlLine, typing: boolean) =>
    line.run('mutation ($id: ID!, $typing: Boolean!) { setTyping(conversationId: $id, typing: $typing) }', {
      id,
      typing,
    });
  const [mine, theirs] = [ann.subscribe(EVENTS, { id }), bob.subscribe(EVENTS, { id })];
  for (const stream of [mine, theirs]) await stream.next();
  for (const typing of [true, true, true, false, false])
    expect((await type(ann, typing)).data).toEqual({ setTyping: true });
  const told = async () => (await theirs.next())?.data.conversationEvents;
  const [begins, ends] = [true, false].map((typing) => ({ __typename: 'Typing', member: ANN, typing }));
  expect([await told(), await told()]).toEqual([begins, ends]);
  await type(ann, true);
  expect([await told(), await told()]).toEqual([begins, ends]);
  // The typing member gets no hint, and the log holds none.
  await say(ann, 'done');
  expect((await mine.next())?.data.conversationEvents).toMatchObject({ __typename: 'MessageAdded', rev: 2 });
});

describe('a search', () => {
  const SEARCH = `query ($query: String!, $in: ID, $first: Int, $after: String) {
    searchMessages(query: $query, in: $in, first: $first, after: $after) {
      nodes { text } edges { cursor } pageInfo { hasNextPage hasPreviousPage endCursor } } }`;

  test('finds words in the viewer’s conversations, best first, in pages', async () => {
    const { ann, bob, ws, id } = await begun();
    for (const text of ['Zahlung Café', 'zahlung ZAHLUNG', 'no payment']) await say(ann, text);
    await say(await connectGraphql(ws, CAT), 'zahlung', { key: { configId: 'c', members: [CAT, DAN] } });
    const find = async (query: string, more: object = {}) => {
      const { data, errors } = await bob.run(SEARCH, { query, ...more });
      return errors?.[0]?.extensions.code ?? data.searchMessages;
    };
    const texts = async (query: string) => (await find(query)).nodes.map(({ text }: { text: string }) => text);
    expect(await texts('zahlung')).toEqual(['zahlung ZAHLUNG', 'Zahlung Café']);
    expect(await texts('ZAHL* cafe')).toEqual(['Zahlung Café']);
    expect(await texts('pay*')).toEqual(['no payment']);
    expect(await texts('pay')).toEqual([]);
    expect(await texts(' \u{1F600} * ')).toEqual([]);
    const first = await find('zahlung', { first: 1, in: id });
    expect(first).toMatchObject({
      nodes: [{ text: 'zahlung ZAHLUNG' }],
      pageInfo: { hasNextPage: true, hasPreviousPage: false },
    });
    expect(await find('zahlung', { first: 1, after: first.pageInfo.endCursor })).toMatchObject({
      nodes: [{ text: 'Zahlung Café' }],
      pageInfo: { hasNextPage: false, hasPreviousPage: true },
    });
    for (const more of [{ first: 0 }, { first: 101 }, { after: 'x' }, { after: `${id}:1` }])
      expect(await find('zahlung', more)).toBe('BAD_USER_INPUT');
    expect(await find('x'.repeat(1001))).toBe('BAD_USER_INPUT');
    for (const where of [`${id}:1`, 'x', id.replace(/.$/, (last) => (last === 'A' ? 'Q' : 'A'))])
      expect(await find('zahlung', { in: where })).toBe('NOT_FOUND');
  });
});

test('operations with a cost for the store are limited per user; the end of typing is not', async () => {
  const { ws } = await startServer({ RATE_LIMIT_MESSAGES: '1000' });
  const ann = await connectGraphql(ws, ANN);
  const { id } = (await say(ann, 'first')).conversation;
  const codes = async (count: number, run: (i: number) => Promise<unknown>) => {
    const answers: unknown[] = [];
    for (let i = 0; i < count; i++) answers.push(await run(i));
    return new Set(answers);
  };
  const limited = { extensions: { code: 'RATE_LIMITED', retryAfterMs: expect.any(Number) } };
  const search = () => ann.run('{ searchMessages(query: "first") { nodes { id } } }');
  expect((await Promise.all(Array.from({ length: 60 }, search))).at(-1)?.errors).toMatchObject([limited]);
  const view = (i: number) =>
    mutate(ann, 'updateView', { conversationId: id, muted: i % 2 === 0 }, 'conversation { id }');
  expect(await codes(100, view)).toContain('RATE_LIMITED');
  const type = async (typing: boolean) =>
    codeOf(
      await ann.run('mutation ($id: ID!, $typing: Boolean!) { setTyping(conversationId: $id, typing: $typing) }', {
        id,
        typing,
      }),
    );
  expect(await codes(20, async () => (await type(true)) ?? (await type(false)))).toEqual(new Set([undefined]));
});

test('an older client sees edits and redactions, and addresses the conversation by its key', async () => {
  const { ws, ann, id } = await begun();
  await say(ann, 'second');
  await edit(ann, id, { seq: 1, text: 'changed' });
  await redact(ann, id, 2);
  await update(ann, id, { addMembers: [CAT] });
  const receive = await legacyOnce(ws, BOB, { type: 'RECEIVE', config_id: 'c', members: [ANN] });
  expect(receive.data[0].message.map(({ text }: { text: string }) => text)).toEqual([
    'changed',
    '',
    `members: +${CAT}`,
  ]);
  const list = await legacyOnce(ws, BOB, { type: 'CHAT_LIST' });
  expect(list.data[0]).toMatchObject({ members: [ANN, BOB], last_message: `members: +${CAT}`, unread_msgs: 0 });
  const { config_id, members } = list.data[0];
  expect((await legacyOnce(ws, BOB, { type: 'RECEIVE', config_id, members })).data).toHaveLength(1);
});

test('an older client sees all conversations by activity, regardless of its view of them', async () => {
  let now = Date.now();
  const { ws } = await startServer({}, { clock: () => ++now });
  const [ann, bob] = [await connectGraphql(ws, ANN), await connectGraphql(ws, BOB)];
  const ids: string[] = [];
  for (const configId of ['pinned', 'archived', 'muted', 'plain'])
    ids.push((await say(ann, configId, { key: { configId, members: [ANN, BOB] } })).conversation.id);
  const view = (i: number, change: object) =>
    mutate(bob, 'updateView', { conversationId: ids[i], ...change }, 'conversation { id }');
  await view(0, { pinned: true });
  await view(1, { archived: true });
  await view(2, { muted: true, archived: true });
  const list = await legacyOnce(ws, BOB, { type: 'CHAT_LIST' });
  expect(list.data.map(({ config_id }: { config_id: string }) => config_id)).toEqual([
    ...['plain', 'muted', 'archived', 'pinned'],
  ]);
  expect(list.unread_message).toBe(4);
});

test('a member added later reads and answers as a legacy client, and opens no second conversation', async () => {
  const { ws, ann, id } = await begun();
  await update(ann, id, { addMembers: [CAT] });
  const list = async () => (await legacyOnce(ws, CAT, { type: 'CHAT_LIST' })).data;
  const [{ config_id, members }] = await list();
  const receive = async (more: object = {}) =>
    (await legacyOnce(ws, CAT, { type: 'RECEIVE', config_id, members, ...more })).data;
  expect(await receive()).toMatchObject([{ members: [ANN, BOB], message: [{ text: 'first' }, {}] }]);
  const send = (text: string, more: object = {}) =>
    legacyOnce(ws, CAT, { type: 'SEND', config_id, members, message: [{ text }], ...more });
  expect((await send('here I am')).data).toMatchObject([{ members: [ANN, BOB], message: [{ text: 'here I am' }] }]);
  expect(await list()).toHaveLength(1);
  // With all three named it is another conversation, and once that is there, the short list means that one.
  expect(await receive({ members: [ANN, BOB, CAT] })).toEqual([]);
  await send('we three', { members: [ANN, BOB, CAT] });
  expect((await receive())[0].message).toMatchObject([{ text: 'we three' }]);
  // No other user gets a conversation by the list without being a member.
  expect((await legacyOnce(ws, DAN, { type: 'RECEIVE', config_id, members: [ANN, BOB] })).data).toEqual([]);
});
