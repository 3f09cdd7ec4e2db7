import { once } from 'node:events';
import { request } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { conversationId, parseEmail } from '../../src/model.ts';
import { startServer } from '../support/server.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com:BANK';
const KEY = { configId: 'invoice-7', members: ['Ann@example.com', 'bob@example.com'] };
const LATER = ['cat@example.com'];

/** Everything a message has. */
const MESSAGE = `id conversationId seq rev kind sender text clientId replyTo { seq text } sentAt editedAt redactedAt
  revisions { text editor at } readBy`;
const CONVERSATION = `id configId subject party members { email role readSeq joinedAt leftAt } memberCount
  membership { email readSeq } status labels assignee createdAt lastActivityAt lastSeq lastRev
  lastMessage { ${MESSAGE} } unreadCount muted pinned archived`;
const PAGE =
  `edges { cursor node { ${MESSAGE} } } nodes { seq } ` +
  `pageInfo { hasNextPage hasPreviousPage startCursor endCursor }`;

const SEND = `mutation S($input: SendMessageInput!) { sendMessage(input: $input)
  { deduplicated message { ${MESSAGE} } conversation { ${CONVERSATION} } } }`;
const SEND_ALL =
  `mutation A($input: SendMessagesInput!) { ` +
  `sendMessages(input: $input) { deduplicated messages { ${MESSAGE} } } }`;
const EDIT = `mutation E($input: EditMessageInput!) { editMessage(input: $input) { message { ${MESSAGE} } } }`;
const REDACT = `mutation R($input: RedactMessageInput!) { redactMessage(input: $input) { message { ${MESSAGE} } } }`;
const UPDATE =
  `mutation U($input: UpdateConversationInput!) { ` +
  `updateConversation(input: $input) { conversation { ${CONVERSATION} } } }`;
const VIEW = `mutation V($input: UpdateViewInput!) { updateView(input: $input) { conversation { ${CONVERSATION} } } }`;
const READ = `mutation M($input: MarkReadInput!) { markRead(input: $input) { conversation { ${CONVERSATION} } } }`;
const TYPING = 'mutation T($id: ID!, $typing: Boolean!) { setTyping(conversationId: $id, typing: $typing) }';
const LIST =
  `query L($first: Int, $after: String, $filter: ChatListFilter) { ` +
  `chatList(first: $first, after: $after, filter: $filter)
  { unreadTotal edges { cursor node { ${CONVERSATION} } } ` +
  `pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`;
const OPEN = `query O($by: ConversationRef!) { conversation(by: $by) { ${CONVERSATION} messages { ${PAGE} } } }`;
const PAGED =
  `query P($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $around: MessagePosition)
  { conversation(by: {id: $id}) { messages(first: $first, after: $after, ` +
  `last: $last, before: $before, around: $around) ` +
  `{ ${PAGE} } } }`;
const NODE =
  `query N($id: ID!) { node(id: $id) { __typename id ` +
  `... on Message { ${MESSAGE} } ... on Conversation { ${CONVERSATION} } } }`;
const SEARCH =
  `query F($query: String!, $in: ID, $first: Int) { ` +
  `searchMessages(query: $query, in: $in, first: $first) { ${PAGE} } }`;
const ADDED = `subscription D($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after)
  { ${MESSAGE} } }`;
const EVENTS =
  `subscription X($id: ID!, $after: Int) { ` +
  `conversationEvents(conversationId: $id, afterRev: $after) { __typename
  ... on MessageAdded { rev message { ${MESSAGE} } } ... on MessageChanged { rev message { ${MESSAGE} } }
  ... on ReadMoved { member readSeq } ... on Typing { member typing } ... on CaughtUp { rev seq } } }`;
const CHANGES = `subscription C { chatListChanged { ${CONVERSATION} } }`;

/**
 * Compares the bytes on the wire with the recording `wire.txt`: a change of the code that should not change the wire
 * leaves it as it is, and any other shows its effect there. The clock stands still, and requests run in series.
 */
test('the bytes on the wire equal the recording, over HTTP, graphql-ws and the legacy frames', async () => {
  const { url, ws } = await startServer({}, { clock: () => Date.UTC(2024, 1, 5, 18, 58, 32, 921) });
  const log: string[] = [];
  /** The request, with its document shortened: the answer shows the selection. */
  const sent = (text: string) => text.replace(/("query":"[^"]{60})(?:[^"\\]|\\.)*"/, '$1…"');

  /** One HTTP exchange: status, headers without the date, and body. */
  async function http(method: string, path: string, headers: Record<string, string> = {}, body = ''): Promise<void> {
    log.push(`> ${method} ${path} ${JSON.stringify(headers)}`, ...(body ? [`> ${sent(body)}`] : []));
    const outgoing = request(`${url}${path}`, { method, headers, agent: false });
    outgoing.end(body);
    const [response] = await once(outgoing, 'response');
    const { date: _, ...rest } = response.headers;
    log.push(
      `< ${response.statusCode} ${JSON.stringify(rest)}`,
      `< ${(await textOf(response)).replaceAll(url, 'URL')}`,
    );
  }
  const as = (user: string) => ({ 'content-type': 'application/json', authorization: `Bearer ${user}` });
  const post = (user: string, query: string, variables: object = {}, headers: Record<string, string> = {}) =>
    http('POST', '/graphql', { ...as(user), ...headers }, JSON.stringify({ query, variables }));

  /** A socket; its frames are recorded under a name, in the order of the requests. */
  async function open(name: string, path: string, protocol: string[] = []) {
    const socket = new WebSocket(`${ws}${path}`, protocol);
    const frames: string[] = [];
    let wake = () => {};
    socket.on('message', (data, isBinary) => {
      frames.push(`${isBinary ? 'binary ' : ''}${String(data)}`);
      wake();
    });
    socket.on('close', (code, reason) => {
      frames.push(`closed ${code} ${String(reason)}`);
      wake();
    });
    await once(socket, 'open');
    return {
      /** Sends a frame, if there is one, and records the next so many that come. */
      async say(frame: unknown, answers = 1): Promise<void> {
        const text = typeof frame === 'string' ? frame : JSON.stringify(frame);
        if (frame !== null) {
          log.push(`${name} > ${sent(text)}`);
          socket.send(text);
        }
        for (let left = answers; left > 0; left--) {
          while (frames.length === 0)
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          log.push(`${name} < ${frames.shift()}`);
        }
      },
      close: () => socket.close(),
    };
  }
  const graphql = async (name: string, user: string) => {
    const line = await open(name, '/graphql', ['graphql-transport-ws']);
    await line.say({ type: 'connection_init', payload: { authorization: `Bearer ${user}` } });
    let ids = 0;
    return {
      ...line,
      run: (query: string, variables: object = {}, answers = 2) =>
        line.say({ id: String(++ids), type: 'subscribe', payload: { query, variables } }, answers),
    };
  };

  // Conversations are named by their key, so that the id in the log is that of every run.
  const emails = KEY.members.map((member) => parseEmail(member)).filter((member) => member !== null);
  const id = conversationId({ configId: KEY.configId, members: emails });
  const message = (seq: number) => `${id}:${seq}`;

  log.push('# HTTP');
  for (const path of ['/healthz', '/readyz', '/nothing', '/graphql?query={__typename}']) await http('GET', path);
  await http('OPTIONS', '/graphql', { origin: 'https://else.example', 'access-control-request-method': 'POST' });
  await http('POST', '/graphql', { 'content-type': 'text/plain' }, '{}');
  await http('POST', '/graphql', as(ANN), '{"query":');
  await http('POST', '/graphql', as(ANN), '[]');
  await post('nobody', '{ viewer { email } }');
  await post(ANN, '{ viewer { email role } }');
  await post(BOB, '{ viewer { email role } nope }');
  await post(ANN, '{ viewer { ');
  await post(ANN, SEND, {
    input: { to: { key: KEY }, text: 'hello', clientId: 'c1', subject: 'Invoice 7', party: 'P' },
  });
  await post(ANN, SEND, { input: { to: { key: KEY }, text: 'hello', clientId: 'c1' } });
  await post(ANN, SEND, { input: { to: { key: KEY }, text: 'other', clientId: 'c1' } });
  await post(BOB, SEND, { input: { to: { id }, text: 'an answer\n"quoted" \u2028 \u{1f600}', replyToSeq: 1 } });
  await post(BOB, SEND_ALL, { input: { to: { id }, messages: [{ text: 'one' }, { text: 'two', clientId: 'b2' }] } });
  for (const wrong of [
    { to: { id }, text: '' },
    { to: { id }, text: 'x'.repeat(10_001) },
    { to: { id }, text: '\u0000' },
    { to: { id }, text: 'x', replyToSeq: 99 },
    { to: { id, key: KEY }, text: 'x' },
    { to: { id: 'nothing' }, text: 'x' },
    { to: { key: { configId: 'c', members: ['cat@example.com'] } }, text: 'x' },
    { to: { key: { configId: ' c', members: [ANN, 'cat@example.com'] } }, text: 'x' },
    { to: { key: { configId: 'c', members: ['not an address'] } }, text: 'x' },
    { to: { key: KEY }, text: 'x', clientId: 'x'.repeat(65) },
  ])
    await post(ANN, SEND, { input: wrong });
  await post(ANN, EDIT, { input: { conversationId: id, seq: 1, text: 'hello there', expectedRev: 1 } });
  await post(ANN, EDIT, { input: { conversationId: id, seq: 1, text: 'again', expectedRev: 1 } });
  await post(BOB, EDIT, { input: { conversationId: id, seq: 1, text: 'mine' } });
  await post(BOB, REDACT, { input: { conversationId: id, seq: 4, reason: 'a mistake' } });
  await post(ANN, REDACT, { input: { conversationId: id, seq: 3, reason: 'not mine' } });
  await post(ANN, READ, { input: { conversationId: id, seq: 3 } });
  await post(ANN, READ, { input: { conversationId: id, seq: 99 } });
  await post(ANN, UPDATE, {
    input: { conversationId: id, status: 'PENDING', assignee: BOB.slice(0, 15), addLabels: ['urgent', 'bank'] },
  });
  await post(ANN, UPDATE, { input: { conversationId: id, status: 'CLOSED' } });
  await post(ANN, UPDATE, { input: { conversationId: id, assignee: 'dan@example.com' } });
  await post(ANN, VIEW, { input: { conversationId: id, pinned: true, muted: true } });
  await post('cat@example.com', OPEN, { by: { id } });
  await post(ANN, OPEN, { by: { key: KEY } });
  for (const page of [
    { first: 2 },
    { last: 2 },
    { around: { seq: 3 }, first: 3 },
    { around: { firstUnread: true } },
    { around: { time: '2024-02-05T18:58:32.921Z' } },
    { first: 0 },
    { first: 101 },
    { first: 2, last: 2 },
    { first: 2, after: 'nonsense' },
  ])
    await post(ANN, PAGED, { id, ...page });
  await post(ANN, NODE, { id });
  await post(BOB, NODE, { id: message(1) });
  await post(ANN, NODE, { id: 'nothing' });
  await post(ANN, SEARCH, { query: 'hello' });
  await post(BOB, SEARCH, { query: 'ans* quoted', in: id, first: 5 });
  await post(BOB, SEARCH, { query: 'x'.repeat(1001) });
  await post(ANN, LIST, { first: 1 });
  await post(BOB, LIST, { filter: { unreadOnly: true, status: ['PENDING'] } });
  await post(BOB, LIST, { first: 500 });
  await post(ANN, ADDED, { id });
  await post(ANN, `{ ${'a: viewer { email } '.repeat(3)} b: viewer { email @skip(if: true) role } }`);
  await post(ANN, `{ ${Array.from({ length: 40 }, (_, n) => `a${n}: viewer { email }`).join(' ')} }`);
  await post(ANN, `query Q { ${'x { '.repeat(20)} y ${'}'.repeat(20)} }`);
  await post(ANN, '{ __schema { queryType { name } } }');
  await http('GET', `/graphql?query=${encodeURIComponent('{viewer{email}}')}`, as(ANN));
  await http('GET', `/graphql?query=${encodeURIComponent('mutation{__typename}')}`, as(ANN));
  await post(ANN, '{ viewer { email } }', {}, { accept: 'application/graphql-response+json' });
  await post(ANN, '{ nope }', {}, { accept: 'application/graphql-response+json' });

  log.push('# graphql-ws');
  const ann = await graphql('ann', ANN);
  const bob = await graphql('bob', BOB);
  await ann.run('{ viewer { email } }');
  await ann.run('{ nope }', {}, 1);
  await ann.run(OPEN, { by: { id } });
  await ann.run(SEND, { input: { to: { id: 'nothing' }, text: 'x' } });
  await ann.run(ADDED, { id, after: 99 }, 1);
  await ann.run(ADDED, { id, after: 3 }, 2);
  const events = await graphql('events', ANN);
  await events.run(EVENTS, { id, after: 0 }, 8);
  const lists = await graphql('lists', ANN);
  await lists.run(CHANGES, {}, 0);
  await lists.say({ type: 'ping' });
  await bob.run(SEND, { input: { to: { id }, text: 'live', clientId: 'live-1' } });
  await ann.say(null, 2);
  await events.say(null, 2);
  await lists.say(null, 1);
  await bob.run(TYPING, { id, typing: true });
  await events.say(null, 1);
  await bob.run(EDIT, { input: { conversationId: id, seq: 3, text: 'one, edited' } });
  await events.say(null, 1);
  await bob.run(READ, { input: { conversationId: id, seq: 6 } });
  await events.say(null, 1);
  await bob.run(UPDATE, { input: { conversationId: id, addMembers: LATER, removeMembers: ['ann@example.com'] } });
  await ann.say(null, 2);
  await lists.say(null, 1);
  await events.say({ id: '9', type: 'complete' }, 0);
  await bob.say({ id: '2', type: 'subscribe' }, 1);
  for (const wrong of ['{', '{"type":"nope"}', '{"id":"1","type":"subscribe","payload":{}}']) {
    const line = await graphql('wrong', ANN);
    await line.say(wrong);
  }
  const early = await open('early', '/graphql', ['graphql-transport-ws']);
  await early.say({ id: '1', type: 'subscribe', payload: { query: '{ viewer { email } }' } });

  log.push('# legacy frames');
  const legacy = await open('Cat', '/conversation/ws?email_id=Cat@example.com&live=1');
  const members = ['Cat@example.com', 'dan+x@example.com'];
  for (const frame of [
    { type: 'CHAT_LIST', email: 'cat@example.com' },
    { type: 'CHAT_LIST', email: 'dan@example.com' },
    {
      type: 'SEND',
      config_id: 'c9',
      members,
      subject: '',
      party: 23,
      message: [{ text: 'hi', sender: 'cat@example.com', is_read: [] }],
    },
    { type: 'SEND', config_id: 'c9', members, client_id: 'k', message: [{ text: 'a' }, { text: 'b' }] },
    { type: 'SEND', config_id: 'c9', members, client_id: 'k', message: [{ text: 'a' }, { text: 'b' }] },
    { type: 'SEND', config_id: 'c9', members, message: [] },
    { type: 'SEND', config_id: 'c9', members, message: [{ text: 'x', sender: 'dan@example.com' }] },
    { type: 'SEND', config_id: 'c9', members: [], message: [{ text: 'x' }] },
    { type: 'SEND', members, message: [{ text: 'x' }] },
    { type: 'RECEIVE', config_id: 'c9', members, page: '1' },
    { type: 'RECEIVE', config_id: 'c9', members, page: 2 },
    { type: 'RECEIVE', config_id: 'c9', members, page: 0 },
    { type: 'RECEIVE', config_id: 'none', members },
    { type: 'NOPE' },
    '{',
    '[]',
  ])
    await legacy.say(frame);
  const dan = await open('dan', '/conversation/ws?email_id=dan+x@example.com');
  await dan.say({ type: 'CHAT_LIST' });
  await dan.say({ type: 'SEND', config_id: 'c9', members: ['cat@example.com'], message: [{ text: 'back' }] });
  await legacy.say(null);
  await dan.say({ type: 'RECEIVE', config_id: 'c9', members: ['cat@example.com'] });
  await http('GET', '/conversation/ws?email_id=cat@example.com');
  for (const line of [ann, bob, events, lists, legacy, dan]) line.close();

  await expect(`${log.join('\n')}\n`).toMatchFileSnapshot('wire.txt');
});
