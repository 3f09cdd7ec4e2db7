import { describe, expect, test } from 'vitest';
import { ACCESS, type Operation } from '../../../src/chat/rules/access.ts';
import { createSchema } from '../../../src/graphql/schema.ts';
import { type Answer, connectGraphql, legacyOnce, post } from '../../support/clients.ts';
import { startServer, type TestServer } from '../../support/server.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const REX = 'rex@example.com';
const EVE = 'eve@example.com';
const MEMBERS = [ANN, BOB, REX];
const CONFIG = 'c1';

/** All kinds of callers: the credential, and the relation to the conversation. */
const PEOPLE = {
  'caller without a credential': { credential: null, is: 'anonymous' },
  member: { credential: ANN, is: 'member' },
  customer: { credential: `${BOB}:CUSTOMER`, is: 'member' },
  seller: { credential: `${BOB}:SELLER`, is: 'member' },
  bank: { credential: `${BOB}:BANK`, is: 'member' },
  'non-member': { credential: EVE, is: 'non-member' },
  'non-member from the bank': { credential: `${EVE}:BANK`, is: 'non-member' },
  'removed member': { credential: REX, is: 'non-member' },
} as const;

const NESTED = `configId subject memberCount membership { email } members { email role readSeq joinedAt leftAt }
  lastMessage { text readBy }
  unreadCount
  messages(last: 5) { nodes { seq text replyTo { text } revisions { text } readBy } edges { node { text } } }`;

/** The errors that a non-member gets for every operation. */
type Refusal = 'NOT_FOUND' | 'null' | 'nothing';
interface Row {
  readonly query: string;
  /** How it refuses; `nothing` where it concerns the viewer alone and shows nothing of the conversation. */
  readonly refusal: Refusal;
  /** The members with the right, where not all have it; the others get FORBIDDEN. */
  readonly entitled?: readonly string[];
  /** False where the answer shows nothing of the conversation. */
  readonly tells?: boolean;
}

const SENT = '{ messages { text } conversation { ID } }'.replace('ID', 'configId members { email }');
/** Every operation and every way to name the conversation in it. */
const ROWS: Record<Operation, readonly Row[]> = {
  viewer: [{ query: 'query { viewer { email role } }', refusal: 'nothing' }],
  conversation: [
    { query: `query ($id: ID!) { conversation(by: { id: $id }) { ${NESTED} } }`, refusal: 'null' },
    { query: `query ($id: ID!) { conversation(by: { id: $id }) { id } }`, refusal: 'null' },
  ],
  node: [
    { query: `query ($id: ID!) { node(id: $id) { id ... on Conversation { ${NESTED} } } }`, refusal: 'null' },
    {
      query: 'query ($message: ID!) { node(id: $message) { id ... on Message { text sender replyTo { text } } } }',
      refusal: 'null',
    },
  ],
  conversationAsOf: [
    {
      query: `query ($id: ID!) { conversationAsOf(id: $id, at: { rev: 3 }) { rev at status labels assignee
        members { email joinedAt } messages { nodes { text proof replyTo { text } readBy } } } }`,
      refusal: 'null',
    },
  ],
  recordCheckpoint: [{ query: '{ recordCheckpoint }', refusal: 'nothing', tells: false }],
  recordKeys: [{ query: '{ recordKeys }', refusal: 'nothing', tells: false }],
  chatList: [
    {
      query: `query { chatList { unreadTotal nodes { ${NESTED} } edges { cursor node { id } } } }`,
      refusal: 'nothing',
    },
  ],
  sendMessage: [
    {
      query:
        `mutation ($id: ID!) { sendMessage(input: { to: { id: $id }, text: "by id" }) { ` +
        `message { text } conversation { ${NESTED} } } }`,
      refusal: 'NOT_FOUND',
    },
  ],
  sendMessages: [
    {
      query:
        `mutation ($id: ID!) { sendMessages(input: { to: { id: $id }, ` +
        `messages: [{ text: "a" }, { text: "b" }] }) ${SENT} }`,
      refusal: 'NOT_FOUND',
    },
  ],
  markRead: [
    {
      query: `mutation ($id: ID!) { markRead(input: { conversationId: $id, seq: 1 }) { conversation { ${NESTED} } } }`,
      refusal: 'NOT_FOUND',
    },
  ],
  editMessage: [
    {
      query:
        'mutation ($id: ID!) { editMessage(input: { conversationId: $id, seq: 2, text: "secret 2" }) { ' +
        'message { text } } }',
      refusal: 'NOT_FOUND',
      entitled: [],
    },
  ],
  redactMessage: [
    {
      query:
        'mutation ($id: ID!) { redactMessage(input: { conversationId: $id, seq: 4, reason: "secret" }) { ' +
        'message { id text } } }',
      refusal: 'NOT_FOUND',
      entitled: ['bank'],
    },
  ],
  updateConversation: [
    {
      query:
        `mutation ($id: ID!) { updateConversation(input: { conversationId: $id, addLabels: ["secret"] }) { ` +
        `conversation { labels ${NESTED} } } }`,
      refusal: 'NOT_FOUND',
    },
    {
      query:
        `mutation ($id: ID!) { ` +
        `updateConversation(input: { conversationId: $id, removeMembers: ["zed@example.com"] }) { ` +
        `conversation { id } } }`,
      refusal: 'NOT_FOUND',
    },
  ],
  updateView: [
    {
      query:
        `mutation ($id: ID!) { updateView(input: { conversationId: $id, pinned: true }) { ` +
        `conversation { ${NESTED} } } }`,
      refusal: 'NOT_FOUND',
    },
  ],
  setTyping: [
    {
      query: 'mutation ($id: ID!) { setTyping(conversationId: $id, typing: true) }',
      refusal: 'NOT_FOUND',
      tells: false,
    },
  ],
  searchMessages: [
    {
      query:
        `query ($id: ID!) { searchMessages(query: "secret", in: $id) { ` +
        `nodes { id text replyTo { text } readBy } edges { cursor } } }`,
      refusal: 'NOT_FOUND',
    },
    { query: 'query { searchMessages(query: "secret") { nodes { id text } } }', refusal: 'nothing' },
  ],
  conversationEvents: [
    {
      query:
        'subscription ($id: ID!) { conversationEvents(conversationId: $id, afterRev: 0) { ' +
        '... on MessageAdded { message { text } } } }',
      refusal: 'NOT_FOUND',
    },
  ],
  messageAdded: [
    {
      query: 'subscription ($id: ID!) { messageAdded(conversationId: $id, afterSeq: 0) { text } }',
      refusal: 'NOT_FOUND',
    },
  ],
  chatListChanged: [{ query: `subscription { chatListChanged { ${NESTED} } }`, refusal: 'nothing' }],
};

/** A conversation of four messages that Rex was a member of. */
async function started(): Promise<TestServer & { id: string }> {
  const before = await startServer();
  const { store } = before;
  const say = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { id } } }';
  const messages = [1, 2, 3, 4].map((i) => ({ text: `secret ${i}` }));
  const input = { to: { key: { configId: CONFIG, members: MEMBERS } }, messages, subject: 'secret subject' };
  const { id } = (await post(before.url, REX, say, { input })).data.sendMessages.conversation;
  const { conversation, listed, chatList } = store;
  store.conversation = async (other, reader) => {
    const found = await conversation(other, reader);
    const rex = other === id ? [...(found?.members.values() ?? [])].find(({ email }) => email === REX) : undefined;
    return found && rex ? { ...found, members: new Map(found.members).set(rex.email, { ...rex, leftAt: 1 }) } : found;
  };
  store.listed = async (reader, ids) => (reader === REX ? [] : listed(reader, ids));
  store.chatList = async (reader, ...rest) =>
    reader === REX ? { conversations: [], hasNextPage: false, hasPreviousPage: false } : chatList(reader, ...rest);
  // One that has nothing at hand of the time before.
  return { ...(await startServer({}, { store })), id };
}

const codeOf = ({ errors }: Answer) => errors?.[0]?.extensions.code;

test('every operation that is served has a row in this test and in the access table', () => {
  const schema = createSchema();
  const served = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()].flatMap((root) =>
    Object.keys(root?.getFields() ?? {}),
  );
  expect(Object.keys(ROWS).sort()).toEqual(served.sort());
  expect(Object.keys(ACCESS).sort()).toEqual(served);
});

describe.each(Object.entries(PEOPLE))('a %s', (name, { credential, is }) => {
  test('has exactly the rights in the table for every operation', async () => {
    const { url, ws, id } = await started();
    const line = await connectGraphql(ws, credential);
    const all = Object.entries(ROWS).flatMap(([operation, rows]) => rows.map((row) => ({ operation, ...row })));
    for (const { operation, query, refusal, entitled, tells = true } of all) {
      const subscription = query.startsWith('subscription');
      const variables = {
        ...(query.includes('$id') && { id }),
        ...(query.includes('$message') && { message: `${id}:2` }),
      };
      const before = await post(
        url,
        ANN,
        'query ($id: ID!) { conversation(by: { id: $id }) { lastSeq members { readSeq } } }',
        { id },
      );
      const events = subscription ? line.subscribe(query, variables) : null;
      const answers = subscription
        ? []
        : [await post(url, credential, query, variables), await line.run(query, variables)];
      if (operation === 'chatListChanged' && is !== 'anonymous') {
        // A change happens; a viewer without access gets only its own conversation.
        await line.run('{ viewer { email } }');
        await post(
          url,
          ANN,
          'mutation ($id: ID!) { sendMessage(input: { to: { id: $id }, text: "secret" }) { deduplicated } }',
          { id },
        );
        const own = { configId: 'own', members: [String(credential).replace(/:.*/, ''), 'zoe@example.com'] };
        await line.run(
          'mutation ($key: ConversationKey!) { sendMessage(input: { to: { key: $key }, text: "x" }) { deduplicated } }',
          { key: own },
        );
      }
      if (events) answers.push((await events.next()) ?? {});
      for (const answer of answers) {
        const shown = JSON.stringify(answer);
        if (is === 'anonymous') expect(codeOf(answer), query).toBe('UNAUTHENTICATED');
        else if (is === 'member' && entitled && !entitled.includes(name))
          expect(codeOf(answer), query).toBe('FORBIDDEN');
        else if (is === 'member') {
          expect(answer.errors, query).toBeUndefined();
          if (operation !== 'viewer' && tells) expect(shown, query).toMatch(/secret|by id|"a"|"id"/);
        } else if (refusal === 'NOT_FOUND') expect(codeOf(answer), query).toBe('NOT_FOUND');
        else if (refusal === 'null') expect(Object.values(answer.data), query).toEqual([null]);
        else expect(answer.errors, query).toBeUndefined();
        if (is !== 'member') expect(shown, query).not.toMatch(/secret/);
      }
      if (is !== 'member' && operation !== 'chatListChanged') {
        const after = await post(
          url,
          ANN,
          'query ($id: ID!) { conversation(by: { id: $id }) { lastSeq members { readSeq } } }',
          { id },
        );
        expect(after, query).toEqual(before);
      }
    }
  });

  test('has exactly the rights in the table for every frame', async () => {
    const { url, ws, id } = await started();
    if (credential === null) return;
    const email = credential.replace(/:.*/, '');
    const frame = { config_id: CONFIG, members: MEMBERS };
    const list = await legacyOnce(ws, email, { type: 'CHAT_LIST' });
    const page = await legacyOnce(ws, email, { type: 'RECEIVE', ...frame });
    const sent = await legacyOnce(ws, email, { type: 'SEND', ...frame, message: [{ text: 'y' }] });
    if (is === 'member') {
      expect(list.data).toHaveLength(1);
      expect(page.data[0].message).toHaveLength(4);
      expect(sent.data[0].message[0].text).toBe('y');
    } else {
      expect([list.data, list.unread_message, page.data]).toEqual([[], 0, []]);
      // The connected address belongs to the key: the frame of a non-member names another conversation.
      if (email === REX) expect(sent.error.code).toBe('NOT_FOUND');
      else expect(sent.data[0].members).toContain(email);
      const { data } = await post(url, ANN, 'query ($id: ID!) { conversation(by: { id: $id }) { lastSeq } }', { id });
      expect(data.conversation.lastSeq).toBe(4);
    }
  });
});
