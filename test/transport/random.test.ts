import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import fc from 'fast-check';
import { buildClientSchema, getIntrospectionQuery } from 'graphql';
import { expect } from 'vitest';
import { WebSocket } from 'ws';
import { nearly, nearlyUtf8, oddJson, oddText } from '../support/arbitraries.ts';
import { MALLORY, underAttack, VICTIM } from '../support/attack-suite.ts';
import { CANARY } from '../support/canary.ts';
import { connect, connectLegacy, type Line, post } from '../support/clients.ts';
import { expectAnswer, expectErrors, expectFrame, expectMessage } from '../support/expect-contract.ts';
import { type Operation, operations } from '../support/operations.ts';

const KEY = { configId: 'c1', members: [MALLORY, VICTIM] };
const BEARER = `Bearer ${MALLORY}`;

/** Close codes of PROTOCOL.md, except those of server faults and shutdown; 1005 if the client gave none. */
const CLOSE_CODES = [1000, 1002, 1005, 1007, 1009, 4400, 4401, 4403, 4406, 4408, 4409, 4413, 4429];

const ADDED =
  'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { seq text } }';
const SEND = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } } }';
const READ = 'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }';

/** The id of the operation after which nothing is sent. */
const END = 'the end';
const isEnd = ({ type, id }: Record<string, unknown>) => id === END && type !== 'next';

/** A frame as it is sent. */
interface Sent {
  readonly data: Buffer;
  readonly binary: boolean;
}
const frames = (texts: fc.Arbitrary<string>): fc.Arbitrary<Sent> =>
  fc.record({
    data: fc.oneof(
      { weight: 9, arbitrary: nearlyUtf8(texts) },
      { weight: 1, arbitrary: fc.uint8Array().map((bytes) => Buffer.from(bytes)) },
    ),
    binary: fc.integer({ min: 0, max: 19 }).map((n) => n === 0),
  });

/** Reads until `done` or the close of the socket, for which only the codes of the contract are allowed. */
async function readAll(
  line: Line,
  check: (frame: Record<string, unknown>) => void,
  done: (frame: Record<string, unknown>) => boolean,
): Promise<void> {
  for (;;) {
    const frame = await line.next().catch(() => null);
    if (!frame) break;
    check(frame);
    if (done(frame)) {
      line.close();
      // What still comes is looked at too.
      for (let more = await line.next().catch(() => null); more; more = await line.next().catch(() => null))
        check(more);
      break;
    }
  }
  expect(CLOSE_CODES).toContain((await line.closed()).code);
}

underAttack('frames at /conversation/ws', async ({ ws, canary }) => {
  const address = { config_id: 'c1', members: [VICTIM] };
  const valid = [
    { type: 'CHAT_LIST', email: MALLORY },
    {
      type: 'SEND',
      ...address,
      subject: '',
      party: 23,
      message: [{ text: 'hi', sender: MALLORY, is_read: [MALLORY] }],
      client_id: 'x',
    },
    { type: 'SEND', config_id: 'canary', members: [...CANARY], message: [{ text: 'hi' }] },
    { type: 'RECEIVE', ...address, page: 1 },
    { type: 'RECEIVE', config_id: 'canary', members: [...CANARY], page: '1' },
    { type: 'RECEIVE', config_id: canary.id, members: [...CANARY] },
  ];
  const some = fc.array(frames(fc.oneof({ weight: 4, arbitrary: nearly(valid) }, oddJson, oddText)), {
    minLength: 1,
    maxLength: 12,
  });
  return fc.asyncProperty(some, fc.boolean(), async (list, live) => {
    const line = await connectLegacy(ws, MALLORY, live ? '&live=1' : '');
    for (const { data, binary } of list) line.socket.send(data, { binary });
    let left = list.length;
    const check = (frame: Record<string, unknown>) => (frame.type === 'MESSAGE' ? undefined : expectFrame(frame));
    // One answer to each, unless the socket was closed.
    await readAll(line, check, ({ type }) => type !== 'MESSAGE' && --left === 0);
  });
});

underAttack('messages at /graphql', async ({ ws, canary, own }) => {
  const init = { type: 'connection_init', payload: { authorization: BEARER } };
  const subscribe = (query: string, variables = {}, id = 'a') => ({
    ...{ id, type: 'subscribe', payload: { query, variables, operationName: null, extensions: {} } },
  });
  const page = `query ($by: ConversationRef!, $first: Int, $after: String) {
    conversation(by: $by) { messages(first: $first, after: $after) { nodes { text } } } }`;
  const valid = [
    init,
    { type: 'ping', payload: { authorization: BEARER } },
    { type: 'pong', payload: { a: 1 } },
    { type: 'complete', id: 'a' },
    { type: 'complete', id: 'unknown' },
    subscribe('subscription { chatListChanged { id unreadCount } }', {}, '\u{1F600}'.repeat(100)),
    ...[own, canary.id].flatMap((id) => [
      subscribe(ADDED, { id, after: 0 }, id),
      subscribe(SEND, { input: { to: { id }, text: 'x', clientId: 'c', replyToSeq: 1 } }, 's'),
      subscribe(page, { by: { id }, first: 10, after: `${id}.1` }),
      subscribe(READ, { input: { conversationId: id, seq: 1 } }, 'm'),
    ]),
    subscribe(page, { by: { key: { configId: 'canary', members: [...CANARY] } } }),
    subscribe(SEND, { input: { to: { key: KEY }, text: 'x', subject: 's', party: 'p' } }),
    { id: 'a', type: 'next', payload: {} },
    { type: 'connection_ack' },
  ];
  const exact = fc.constantFrom(...valid.slice(1)).map((message) => JSON.stringify(message));
  // Many frames are valid: an invalid one ends the socket, so that no later frame is read.
  const texts = fc.oneof({ weight: 6, arbitrary: exact }, { weight: 3, arbitrary: nearly(valid) }, oddJson, oddText);
  const some = fc.array(frames(texts), { maxLength: 8 });
  return fc.asyncProperty(some, fc.integer({ min: 0, max: 9 }), async (list, acknowledged) => {
    const line = await connect(`${ws}/graphql`, 'graphql-transport-ws');
    if (acknowledged > 0) line.send(init);
    for (const { data, binary } of list) line.socket.send(data, { binary });
    line.send(subscribe('{ viewer { email } }', {}, END));
    await readAll(line, expectMessage, isEnd);
  });
});

underAttack('operations along the schema', async ({ url, ws, canary, own }) => {
  const { data } = await post(url, null, getIntrospectionQuery());
  const ids = [own, canary.id].flatMap((id) => [id, `${id}.1`]);
  const written = operations(buildClientSchema(data), [...ids, MALLORY, VICTIM, ...CANARY, 'canary']);
  const json = ({ query, variables }: Operation) => `{"query":${JSON.stringify(query)},"variables":${variables}}`;
  const overHttp = async (operation: Operation) => {
    const headers = { 'content-type': 'application/json', authorization: BEARER };
    const answer = await fetch(`${url}/graphql`, { method: 'POST', headers, body: json(operation) });
    expect([200, 400, 413]).toContain(answer.status);
    expectAnswer(await answer.json());
  };
  const overSocket = async (list: readonly Operation[]) => {
    const line = await connect(`${ws}/graphql`, 'graphql-transport-ws');
    line.send({ type: 'connection_init', payload: { authorization: BEARER } });
    for (const [id, operation] of list.entries())
      line.send(`{"id":"${id}","type":"subscribe","payload":${json(operation)}}`);
    line.send({ id: END, type: 'subscribe', payload: { query: '{ viewer { email } }' } });
    await readAll(line, expectMessage, isEnd);
  };
  const some = fc.array(written, { minLength: 1, maxLength: 5 });
  return fc.asyncProperty(some, async (list) => void (await Promise.all([overSocket(list), ...list.map(overHttp)])));
});

underAttack('requests at /graphql', async ({ url, canary, own }) => {
  const query = 'query ($by: ConversationRef!) { conversation(by: $by) { id lastMessage { text } } }';
  const valid = [
    { query, variables: { by: { id: own } }, operationName: null, extensions: {} },
    { query, variables: { by: { id: canary.id } } },
    { query: SEND, variables: { input: { to: { id: canary.id }, text: 'x' } } },
    { query: 'query A { viewer { email } } query B { viewer { email } }', operationName: 'A' },
  ];
  const types = fc.constantFrom(
    ...['application/json', 'application/json; charset=utf-8', 'APPLICATION/JSON;', 'application/json; charset=utf-16'],
    ...[
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/graphql',
      '',
    ],
  );
  const accepts = fc.constantFrom(
    ...['*/*', 'application/json', 'application/graphql-response+json', 'application/json;q=0', ',;q='],
    ...['text/html', 'text/event-stream', 'image/png'],
  );
  const credentials = fc.constantFrom(
    ...[BEARER, `bearer   ${MALLORY}:BANK`, null],
    ...['Bearer', 'Basic eDp5', `${BEARER}:KING`, 'Bearer {"$ne":null}'],
  );
  // Half of the headers are those of an ordinary client.
  const usually = <T>(value: T, others: fc.Arbitrary<T>) => fc.oneof(fc.constant(value), others);
  const headers = fc
    .tuple(usually('application/json', types), usually('application/json', accepts), usually(BEARER, credentials))
    .map(([type, accept, authorization]) => ({
      accept,
      ...(authorization !== null && { authorization }),
      ...(type !== '' && { 'content-type': type }),
    }));
  const body = frames(fc.oneof({ weight: 4, arbitrary: nearly(valid) }, oddJson, oddText));
  const names = fc.constantFrom('query', 'variables', 'operationName', 'extensions', '__proto__', 'x');
  const values = fc.oneof(oddJson, oddText, fc.constant(query)).map((text) => text.slice(0, 3000).toWellFormed());
  const parameters = fc.array(fc.tuple(names, values), { maxLength: 4 });
  const requests = fc.tuple(headers, fc.option(body), parameters);
  return fc.asyncProperty(requests, async ([headers, body, parameters]) => {
    const answer = body
      ? await fetch(`${url}/graphql`, { method: 'POST', headers, body: new Uint8Array(body.data) })
      : await fetch(`${url}/graphql?${new URLSearchParams(parameters)}`, { headers });
    expect([200, 400, 401, 405, 406, 413, 415, 431]).toContain(answer.status);
    const text = await answer.text();
    if (/json/.test(answer.headers.get('content-type') ?? '')) expectAnswer(JSON.parse(text));
    // Node itself refuses headers that are too long; if no type is accepted, the answer has no body.
    if (answer.status >= 400 && ![406, 431].includes(answer.status)) expectErrors(JSON.parse(text).errors);
  });
});

underAttack('bytes that are no frames', async ({ ws }) => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 200 }).map((list) => Buffer.from(list)),
    // What begins like a frame: every first byte, and lengths that are not true.
    fc
      .tuple(fc.nat({ max: 255 }), fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 130 }))
      .map(([first, second, rest]) => Buffer.from([first, second, ...rest])),
  );
  const paths = fc.constantFrom('/graphql', `/conversation/ws?email_id=${MALLORY}`);
  return fc.asyncProperty(paths, fc.array(bytes, { minLength: 1, maxLength: 4 }), async (path, list) => {
    const socket = new WebSocket(`${ws}${path}`, path === '/graphql' ? ['graphql-transport-ws'] : []);
    const closed = once(socket, 'close');
    const raw = once(socket, 'upgrade').then(([{ socket }]) => socket as Duplex);
    await once(socket, 'open');
    socket.on('error', () => {});
    const stream = await raw;
    for (const part of list) stream.write(part);
    stream.end();
    const [code] = await closed;
    expect([...CLOSE_CODES, 1006]).toContain(code);
  });
});
