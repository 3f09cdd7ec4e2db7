import type { DialectName } from './servers.ts';

/** Makes a request frame with the given id. Ids are digits, always equally many. */
export type MakeFrame = (id: string) => string;
/** Sends a request and resolves with the reply's text. */
export type Ask = (makeFrame: MakeFrame) => Promise<string>;

/** A message as a page of history shows it. */
interface PageMessage {
  readonly seq: number;
  readonly text: string;
}

/**
 * How one kind of server is spoken to. Every reply holds `"id":"ID"` before anything that resembles it, and every
 * delivery holds `"seq":N` in the same way, so that the load can read frames without parsing them.
 * Texts are ASCII letters, digits and spaces, and conversations need no escaping either: frames are put together as text.
 */
export interface Dialect {
  readonly path: string;
  readonly protocols: readonly string[];
  /** What a connection says first, and waits for an answer to. */
  readonly hello: string | null;
  /** Sends the first message of a new conversation and resolves with what the conversation is called from then on. */
  open(ask: Ask, name: string, text: string): Promise<string>;
  send(id: string, conversation: string, text: string): string;
  /** Messages that one frame of `fill` holds. */
  readonly fillSize: number;
  fill(id: string, conversation: string, texts: readonly string[]): string;
  /** Deliveries begin some time after this frame; nothing says when. */
  subscribe(conversation: string): string;
  /** Finds what `page` takes as `before` for the messages before number `seq`. */
  before(ask: Ask, conversation: string, seq: number): Promise<string>;
  /** Asks for the newest `size` messages, or the newest before a position. */
  page(id: string, conversation: string, size: number, before: string | null): string;
  /** The messages in a reply to `page`. */
  messages(reply: string): readonly PageMessage[];
}

/** Beside a number, what a message says. */
export const WORDS = 'the quick brown fox jumps over the lazy dog and comes back for the second invoice of the month';

/** Who everybody is. */
const USER = 'user1@example.com';
const OTHER = 'user2@example.com';

/** What the references have in common: conversations are called what the client calls them, and positions are numbers. */
const REFERENCE: Pick<Dialect, 'open' | 'fillSize' | 'before'> & ThisType<Dialect> = {
  async open(ask, name, text) {
    await ask((id) => this.send(id, name, text));
    return name;
  },
  fillSize: 500,
  before: async (_ask, _conversation, seq) => String(seq),
};

const bareWs: Dialect = {
  ...REFERENCE,
  path: `/?user=${USER}`,
  protocols: [],
  hello: null,
  send: (id, room, text) => `{"type":"send","id":"${id}","room":"${room}","text":"${text}"}`,
  fill: (id, room, texts) => JSON.stringify({ type: 'fill', id, room, texts }),
  subscribe: (room) => `{"type":"join","room":"${room}"}`,
  page: (id, room, n, before) =>
    `{"type":"page","id":"${id}","room":"${room}","n":${n}${before === null ? '' : `,"before":${before}`}}`,
  messages: (reply) => JSON.parse(reply).messages,
};

/** Makes frames of one operation, with only the variables left to fill in. */
function operation(query: string): (id: string, variables: string) => string {
  const text = JSON.stringify(query);
  return (id, variables) => `{"id":"${id}","type":"subscribe","payload":{"query":${text},"variables":{${variables}}}}`;
}

const HELLO = JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${USER}` } });
const SUBSCRIBE = operation('subscription($id: ID!) { messageAdded(conversationId: $id) { seq sender text sentAt } }');

const TEXTBOOK = {
  send: operation('mutation($id: ID!, $text: String!) { sendMessage(conversationId: $id, text: $text) { seq } }'),
  fill: operation('mutation($id: ID!, $texts: [String!]!) { fill(conversationId: $id, texts: $texts) }'),
  page: operation(
    'query($id: ID!, $last: Int, $before: Int) { messages(conversationId: $id, last: $last, before: $before) { seq sender text sentAt } }',
  ),
};

const textbook: Dialect = {
  ...REFERENCE,
  path: '/graphql',
  protocols: ['graphql-transport-ws'],
  hello: HELLO,
  send: (id, conversation, text) => TEXTBOOK.send(id, `"id":"${conversation}","text":"${text}"`),
  fill: (id, conversation, texts) => TEXTBOOK.fill(id, `"id":"${conversation}","texts":${JSON.stringify(texts)}`),
  subscribe: (conversation) => SUBSCRIBE('live', `"id":"${conversation}"`),
  page: (id, conversation, last, before) =>
    TEXTBOOK.page(id, `"id":"${conversation}","last":${last},"before":${before}`),
  messages: (reply) => JSON.parse(reply).payload.data.messages,
};

const KREDICHAT = {
  open: operation('mutation($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }'),
  send: operation('mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } } }'),
  fill: operation('mutation($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { lastSeq } } }'),
  around: operation(
    'query($id: ID!, $seq: Int!) { node(id: $id) { ... on Conversation { messages(first: 1, around: { seq: $seq }) { pageInfo { startCursor } } } } }',
  ),
  page: operation(
    'query($id: ID!, $last: Int, $before: String) { node(id: $id) { ... on Conversation { messages(last: $last, before: $before) { nodes { seq sender text sentAt } pageInfo { startCursor } } } } }',
  ),
};

const kredichat: Dialect = {
  path: '/graphql',
  protocols: ['graphql-transport-ws'],
  hello: HELLO,
  async open(ask, name, text) {
    const key = `"key":{"configId":"${name}","members":["${USER}","${OTHER}"]}`;
    const reply = await ask((id) => KREDICHAT.open(id, `"input":{"to":{${key}},"text":"${text}"}`));
    return JSON.parse(reply).payload.data.sendMessage.conversation.id;
  },
  send: (id, conversation, text) => KREDICHAT.send(id, `"input":{"to":{"id":"${conversation}"},"text":"${text}"}`),
  fillSize: 100,
  fill(id, conversation, texts) {
    const messages = texts.map((text) => `{"text":"${text}"}`).join();
    return KREDICHAT.fill(id, `"input":{"to":{"id":"${conversation}"},"messages":[${messages}]}`);
  },
  subscribe: (conversation) => SUBSCRIBE('live', `"id":"${conversation}"`),
  async before(ask, conversation, seq) {
    const reply = await ask((id) => KREDICHAT.around(id, `"id":"${conversation}","seq":${seq}`));
    return JSON.stringify(JSON.parse(reply).payload.data.node.messages.pageInfo.startCursor);
  },
  page: (id, conversation, last, before) =>
    KREDICHAT.page(id, `"id":"${conversation}","last":${last},"before":${before}`),
  messages: (reply) => JSON.parse(reply).payload.data.node.messages.nodes,
};

/** All of them by name. */
export const DIALECTS: Readonly<Record<DialectName, Dialect>> = { bareWs, textbook, kredichat };
