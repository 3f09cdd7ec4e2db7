import { graphqlOperation, pageOperation } from './page.ts';
import type { DialectName } from './servers.ts';

/** Makes a request frame with the given id. Ids are digits, always equally many. */
export type MakeFrame = (id: string) => string;
/** Sends a request and resolves with the reply's text. */
export type Ask = (makeFrame: MakeFrame) => Promise<string>;

/**
 * A message to send. Texts are ASCII letters, digits, dots and spaces: frames are put together as text, without
 * escapes.
 */
export interface Outgoing {
  readonly conversation: string;
  readonly text: string;
  /** Unlike those of all other messages of its conversation. */
  readonly clientId: string;
}

/**
 * How one kind of server is spoken to. Every reply begins with `{"id":"ID","type":`, every delivery holds its number as
 * `"seq":N`, and after it the text, so that the load can read frames without parsing them.
 */
export interface Dialect {
  readonly path: (user: string) => string;
  readonly protocols: readonly string[];
  /** What a connection says first, and waits for an answer to. */
  readonly hello: ((user: string) => string) | null;
  /**
   * Sends the first message of a new conversation, as the first of its members, and resolves with the conversation's
   * id.
   */
  open(ask: Ask, name: string, members: readonly string[], text: string): Promise<string>;
  send(id: string, message: Outgoing): string;
  /** Messages that one frame of `fill` holds. */
  readonly fillSize: number;
  fill(id: string, conversation: string, texts: readonly string[]): string;
  /** Asks for the newest `size` messages. */
  page(id: string, conversation: string, size: number): string;
  /** Deliveries begin some time after this frame, with message `last + 1` at the latest; nothing says when. */
  subscribe(id: string, conversation: string, last: number, stream: Stream): string;
}

/**
 * What is followed where there is a choice: all events, as the page does, or messages alone. The former begins with an
 * event for each member: in a conversation of many that is a load of its own.
 */
export type Stream = 'events' | 'messages';

/** Beside a number, what a message says. */
export const WORDS = 'the quick brown fox jumps over the lazy dog and comes back for the second invoice of the month';

/** What the references have in common: conversations are called what the client calls them. */
const REFERENCE: Pick<Dialect, 'open' | 'fillSize'> & ThisType<Dialect> = {
  async open(ask, name, _members, text) {
    await ask((id) => this.send(id, { conversation: name, text, clientId: 'first' }));
    return name;
  },
  fillSize: 500,
};

const bareWs: Dialect = {
  ...REFERENCE,
  path: (user) => `/?user=${user}`,
  protocols: [],
  hello: null,
  send: (id, { conversation, text, clientId }) =>
    `{"type":"send","id":"${id}","room":"${conversation}","text":"${text}","clientId":"${clientId}"}`,
  fill: (id, room, texts) => JSON.stringify({ type: 'fill', id, room, texts }),
  page: (id, room, n) => `{"type":"page","id":"${id}","room":"${room}","n":${n}}`,
  subscribe: (_id, room) => `{"type":"join","room":"${room}"}`,
};

const GRAPHQL: Pick<Dialect, 'path' | 'protocols' | 'hello'> = {
  path: () => '/graphql',
  protocols: ['graphql-transport-ws'],
  hello: (user) => `{"type":"connection_init","payload":{"authorization":"Bearer ${user}"}}`,
};

const MESSAGE = '{ id conversationId seq sender text clientId sentAt }';
const TEXTBOOK = {
  send: graphqlOperation(
    `mutation($id: ID!, $text: String!, $clientId: ID) { ` +
      `sendMessage(conversationId: $id, text: $text, clientId: $clientId) ${MESSAGE} }`,
  ),
  fill: graphqlOperation('mutation($id: ID!, $texts: [String!]!) { fill(conversationId: $id, texts: $texts) }'),
  page: graphqlOperation(`query($id: ID!, $last: Int) { messages(conversationId: $id, last: $last) ${MESSAGE} }`),
  subscribe: graphqlOperation(`subscription($id: ID!) { messageAdded(conversationId: $id) ${MESSAGE} }`),
};

const textbook: Dialect = {
  ...REFERENCE,
  ...GRAPHQL,
  send: (id, { conversation, text, clientId }) =>
    TEXTBOOK.send(id, `"id":"${conversation}","text":"${text}","clientId":"${clientId}"`),
  fill: (id, conversation, texts) => TEXTBOOK.fill(id, `"id":"${conversation}","texts":${JSON.stringify(texts)}`),
  page: (id, conversation, last) => TEXTBOOK.page(id, `"id":"${conversation}","last":${last}`),
  subscribe: (id, conversation) => TEXTBOOK.subscribe(id, `"id":"${conversation}"`),
};

const KREDICHAT = {
  open: pageOperation('StartConversation'),
  send: pageOperation('SendMessage'),
  fill: pageOperation('FillConversation'),
  page: pageOperation('Messages'),
  events: pageOperation('ConversationEvents'),
  messages: pageOperation('MessageAdded'),
};

const kredichat: Dialect = {
  ...GRAPHQL,
  async open(ask, name, members, text) {
    const key = `"key":{"configId":"${name}","members":${JSON.stringify(members)}}`;
    const reply = await ask((id) => KREDICHAT.open(id, `"input":{"to":{${key}},"text":"${text}"}`));
    return JSON.parse(reply).payload.data.sendMessage.conversation.id;
  },
  send: (id, { conversation, text, clientId }) =>
    KREDICHAT.send(id, `"input":{"to":{"id":"${conversation}"},"text":"${text}","clientId":"${clientId}"}`),
  fillSize: 100,
  fill(id, conversation, texts) {
    const messages = texts.map((text) => `{"text":"${text}"}`).join();
    return KREDICHAT.fill(id, `"input":{"to":{"id":"${conversation}"},"messages":[${messages}]}`);
  },
  page: (id, conversation, last) => KREDICHAT.page(id, `"id":"${conversation}","last":${last}`),
  // Revisions count messages here: nothing else is done to these conversations that would count.
  subscribe: (id, conversation, last, stream) =>
    KREDICHAT[stream](
      id,
      `"conversationId":"${conversation}","${stream === 'events' ? 'afterRev' : 'afterSeq'}":${last}`,
    ),
};

/** All of them by name. */
export const DIALECTS: Readonly<Record<DialectName, Dialect>> = { bareWs, textbook, kredichat };
