import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { type LegacyClient, reply } from '../../../src/transport/legacy/replies.ts';
import { ANN, BOB, CAT, email, message, writeOf, writeOn } from '../../store/writes.ts';
import { connect, connectGraphql, connectLegacy, legacyOnce, post } from '../../support/clients.ts';
import { startServer } from '../../support/server.ts';

interface Row {
  readonly config_id: string;
  readonly members: readonly string[];
}

// The three frames as they were documented to clients, to the letter.
const CHAT_LIST = '{"type":"CHAT_LIST","email":"krediq@gmail.com"}';
const SEND =
  '{"type":"SEND","config_id":"64be430ccac4e62378a1ae89","members":["krediq@gmail.com","cp1@gmail.com"],' +
  '"subject":"","party":23,"message":[{"text":"hi welcome",' +
  '"sender":"krediq@gmail.com","is_read":["krediq@gmail.com"]}]}';
const RECEIVE =
  '{"type":"RECEIVE","config_id":"64ab94d14078dbac86787aed","members":["cp1@gmail.com","krediq@gmail.com"],"page":1}';

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}000$/);

const send = (text: string, more: object = {}) => ({
  ...{ type: 'SEND', config_id: 'c1', members: ['ann@example.com', 'bob@example.com'], message: [{ text }] },
  ...more,
});
const receive = (more: object = {}) => ({
  ...{ type: 'RECEIVE', config_id: 'c1', members: ['ann@example.com', 'bob@example.com'] },
  ...more,
});

describe('the documented frames', () => {
  test('work one after another on a fresh server, and GraphQL sees what they wrote', async () => {
    const { ws, url } = await startServer();
    expect(await legacyOnce(ws, 'krediq@gmail.com', CHAT_LIST)).toEqual({
      type: 'CHAT_LIST',
      data: [],
      unread_message: 0,
    });
    const stored = { text: 'hi welcome', sender: 'krediq@gmail.com', time: TIME, is_read: ['krediq@gmail.com'] };
    const chat = { config_id: '64be430ccac4e62378a1ae89', members: ['cp1@gmail.com', 'krediq@gmail.com'] };
    expect(await legacyOnce(ws, 'krediq@gmail.com', SEND)).toEqual({
      type: 'SEND',
      data: [{ ...chat, message: [stored] }],
    });
    expect(await legacyOnce(ws, 'krediq@gmail.com', RECEIVE)).toEqual({ type: 'RECEIVE', data: [] });

    const listed = { ...chat, subject: '', party: '23', last_message: 'hi welcome', updated_at: TIME };
    expect(await legacyOnce(ws, 'krediq@gmail.com', CHAT_LIST)).toEqual({
      ...{ type: 'CHAT_LIST', data: [{ ...listed, unread_msgs: 0 }], unread_message: 0 },
    });
    expect(await legacyOnce(ws, 'cp1@gmail.com', { type: 'CHAT_LIST' })).toEqual({
      ...{ type: 'CHAT_LIST', data: [{ ...listed, unread_msgs: 1 }], unread_message: 1 },
    });
    // A newer client leaves itself out; the same conversation is meant.
    const page = { type: 'RECEIVE', config_id: chat.config_id, members: ['KREDIQ@gmail.com'], page: '1' };
    expect(await legacyOnce(ws, 'cp1@gmail.com', page)).toEqual({
      type: 'RECEIVE',
      data: [
        {
          ...{ ...chat, subject: '', party: '23', page: 1, pages: 1 },
          message: [{ ...stored, is_read: ['krediq@gmail.com', 'cp1@gmail.com'] }],
        },
      ],
    });
    expect((await legacyOnce(ws, 'cp1@gmail.com', { type: 'CHAT_LIST' })).unread_message).toBe(0);

    const { data } = await post(
      url,
      'cp1@gmail.com',
      '{ chatList { nodes { configId subject party messages { nodes { seq text sender readBy } } } } }',
    );
    expect(data.chatList.nodes).toEqual([
      {
        ...{ configId: chat.config_id, subject: '', party: '23' },
        messages: {
          nodes: [
            { seq: 1, text: 'hi welcome', sender: 'krediq@gmail.com', readBy: ['krediq@gmail.com', 'cp1@gmail.com'] },
          ],
        },
      },
    ]);
  });

  test('a frame client and a GraphQL subscriber talk to each other', async () => {
    const { ws } = await startServer();
    const legacy = await connectLegacy(ws, 'bob@example.com');
    const graphql = await connectGraphql(ws, 'ann@example.com');
    const opened = await graphql.run(
      `mutation { sendMessage(input: { to: { key: { configId: "c1", members: ["ann@example.com", "bob@example.com"] } }
        text: "hello" }) { conversation { id } } }`,
    );
    const { id } = opened.data.sendMessage.conversation;
    const events = graphql.subscribe(
      'subscription($id: ID!) { messageAdded(conversationId: $id, afterSeq: 0) { seq text sender } }',
      { id },
    );
    legacy.send(receive());
    expect((await legacy.next()).data[0].message).toMatchObject([{ text: 'hello', sender: 'ann@example.com' }]);
    legacy.send(send('hello yourself'));
    await legacy.next();
    expect((await events.next())?.data.messageAdded).toEqual({ seq: 1, text: 'hello', sender: 'ann@example.com' });
    expect((await events.next())?.data.messageAdded).toEqual({
      seq: 2,
      text: 'hello yourself',
      sender: 'bob@example.com',
    });
  });
});

describe('the connection', () => {
  test.each([
    ['missing', ''],
    ['empty', '?email_id='],
    ['repeated', '?email_id=ann@example.com&email_id=ann@example.com'],
    ['impossible', '?email_id=ann'],
    ['badly encoded', '?email_id=ann%zz@example.com'],
    ['of NUL', '?email_id=ann%00@example.com'],
  ])('with an address that is %s is refused with 400', async (_, query) => {
    const { ws } = await startServer();
    await expect(connect(`${ws}/conversation/ws${query}`)).rejects.toThrow('Unexpected server response: 400');
  });

  test.each(['Ann+x@Example.com', 'Ann%2Bx%40Example.com'])(
    'of %s is returned everywhere in the same spelling',
    async (spelling) => {
      const { ws } = await startServer();
      const members = ['bob@example.com'];
      const sent = await legacyOnce(ws, spelling, { ...send('hi'), members });
      expect(sent.data[0]).toMatchObject({ members: ['Ann+x@Example.com', 'bob@example.com'] });
      expect(sent.data[0].message[0]).toMatchObject({ sender: 'Ann+x@Example.com', is_read: ['Ann+x@Example.com'] });
      const received = await legacyOnce(ws, spelling, { ...receive(), members: [...members, 'ann+X@example.COM'] });
      expect(received.data[0].message).toMatchObject([{ sender: 'Ann+x@Example.com' }]);
      expect(
        (await legacyOnce(ws, 'bob@example.com', receive({ members: ['ANN+x@example.com'] }))).data[0].members,
      ).toEqual(['ann+x@example.com', 'bob@example.com']);
    },
  );

  test('gets nothing before its first request, and one frame for each in order', async () => {
    const { ws } = await startServer();
    const line = await connectLegacy(ws, 'ann@example.com');
    for (let i = 1; i <= 100; i++) line.send(i % 10 === 0 ? 'not json' : send(`m${i}`));
    for (let i = 1; i <= 100; i++) {
      const answer = await line.next();
      if (i % 10 === 0) expect(answer.error.code).toBe('BAD_USER_INPUT');
      else expect(answer.data[0].message[0].text).toBe(`m${i}`);
    }
  });

  test('processes all frames sent before the client closed', async () => {
    const { ws, url } = await startServer();
    const line = await connectLegacy(ws, 'ann@example.com');
    for (let i = 0; i < 60; i++) line.send(send(`m${i}`));
    line.close();
    await line.closed();
    const unread = async () =>
      (await post(url, 'bob@example.com', '{ chatList { unreadTotal } }')).data.chatList.unreadTotal;
    await expect.poll(unread).toBe(60);
  });

  test('is closed when idle, unless it is live', async () => {
    const { ws } = await startServer({ LEGACY_IDLE_SECONDS: '1' });
    await legacyOnce(ws, 'ann@example.com', send('hi'));
    const live = await connectLegacy(ws, 'ann@example.com', '&live=1');
    live.send(receive());
    await live.next();
    const idle = await connectLegacy(ws, 'ann@example.com');
    expect(await idle.closed()).toMatchObject({ code: 1000 });
    await legacyOnce(ws, 'bob@example.com', send('still there?'));
    expect(await live.next()).toMatchObject({ type: 'MESSAGE', message: [{ text: 'still there?' }] });
  });

  test('with live=1 gets new messages after any page, also one past the end', async () => {
    const { ws } = await startServer();
    await legacyOnce(ws, 'ann@example.com', send('m1'));
    const live = await connectLegacy(ws, 'bob@example.com', '&live=1');
    live.send(receive({ page: 9 }));
    expect(await live.next()).toEqual({ type: 'RECEIVE', data: [] });
    await legacyOnce(ws, 'ann@example.com', send('m2'));
    expect(await live.next()).toMatchObject({ type: 'MESSAGE', config_id: 'c1', message: [{ text: 'm2' }] });
  });

  test('is closed with 1009 for a frame that is too large', async () => {
    const { ws } = await startServer();
    const line = await connectLegacy(ws, 'ann@example.com');
    line.send(send('x'.repeat(262_145)));
    expect((await line.closed()).code).toBe(1009);
  });
});

describe('RECEIVE', () => {
  test('answers after the sends already in flight on other sockets', async () => {
    // On a file, where a send is in flight for as long as the disk takes.
    const store = await openSqlite(join(mkdtempSync(join(tmpdir(), 'kredichat-')), 'k.db'));
    const { ws } = await startServer({}, { store });
    const [sender, reader] = [await connectLegacy(ws, 'ann@example.com'), await connectLegacy(ws, 'bob@example.com')];
    for (let i = 1; i <= 50; i++) {
      sender.send(send(`m${i}`));
      reader.send(receive());
      expect((await reader.next()).data[0].message.at(-1).text).toBe(`m${i}`);
      await sender.next();
    }
  });

  test('twice at once on two sockets shows the reader in both answers', async () => {
    const store = await openSqlite(join(mkdtempSync(join(tmpdir(), 'kredichat-')), 'k.db'));
    const { ws } = await startServer({}, { store });
    const [one, two] = [await connectLegacy(ws, 'bob@example.com'), await connectLegacy(ws, 'bob@example.com')];
    for (let i = 1; i <= 20; i++) {
      await legacyOnce(ws, 'ann@example.com', send(`m${i}`));
      for (const line of [one, two]) line.send(receive());
      for (const line of [one, two]) {
        expect((await line.next()).data[0].message.at(-1).is_read).toEqual(['ann@example.com', 'bob@example.com']);
      }
    }
  });

  test('pages backward from the newest, oldest first inside a page, and marks what it showed as read', async () => {
    const { ws, url } = await startServer({ LEGACY_PAGE_SIZE: '10' });
    for (let i = 0; i < 45; i += 15) {
      await legacyOnce(
        ws,
        'ann@example.com',
        send('', { message: Array.from({ length: 15 }, (_, j) => ({ text: `m${i + j + 1}` })) }),
      );
    }
    const texts = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `m${from + i}`);
    const read = async () =>
      (await post(url, 'bob@example.com', '{ chatList { unreadTotal } }')).data.chatList.unreadTotal;
    for (const [page, from, to, unread] of [
      [5, 1, 5, 40],
      [3, 16, 25, 20],
      [1, 36, 45, 0],
      ['2', 26, 35, 0],
      [null, 36, 45, 0],
    ] as const) {
      const { data } = await legacyOnce(ws, 'bob@example.com', receive({ page }));
      expect(data[0].message.map((m: { text: string }) => m.text)).toEqual(texts(from, to));
      expect(data[0]).toMatchObject({ page: Number(page ?? 1), pages: 5 });
      expect(await read()).toBe(unread);
    }
    expect(await legacyOnce(ws, 'bob@example.com', receive({ page: 6 }))).toEqual({ type: 'RECEIVE', data: [] });
    expect(await legacyOnce(ws, 'bob@example.com', receive({ page: 9e15 }))).toEqual({ type: 'RECEIVE', data: [] });
  });

  test('with live=1 is followed by the new messages, none lost between page and push, none twice', async () => {
    const { ws } = await startServer();
    await legacyOnce(ws, 'ann@example.com', send('m1'));
    const live = await connectLegacy(ws, 'Bob@example.com', '&live=1');
    live.send(receive());
    live.send(receive());
    const sender = await connectLegacy(ws, 'ann@example.com');
    for (let i = 2; i <= 30; i++) sender.send(send(`m${i}`));
    const seen: string[] = [];
    let answers = 0;
    while (seen.at(-1) !== 'm30' || answers < 2) {
      const frame = await live.next();
      if (frame.type === 'RECEIVE') {
        answers++;
        if (answers === 1) seen.push(...frame.data[0].message.map((m: { text: string }) => m.text));
      } else {
        expect(frame).toMatchObject({
          type: 'MESSAGE',
          config_id: 'c1',
          members: ['ann@example.com', 'Bob@example.com'],
        });
        seen.push(...frame.message.map((m: { text: string }) => m.text));
      }
    }
    expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => `m${i + 1}`));
  });
});

describe('SEND', () => {
  test('with a client_id can be repeated safely', async () => {
    const { ws } = await startServer();
    const frame = send('', { message: [{ text: 'a' }, { text: 'b' }], client_id: 'x'.repeat(60) });
    const first = await legacyOnce(ws, 'ann@example.com', frame);
    expect(await legacyOnce(ws, 'ann@example.com', frame)).toEqual(first);
    expect((await legacyOnce(ws, 'ann@example.com', receive())).data[0].message).toHaveLength(2);
    const other = await legacyOnce(ws, 'ann@example.com', { ...frame, message: [{ text: 'a' }, { text: 'c' }] });
    expect(other).toMatchObject({ type: 'SEND', error: { code: 'CONFLICT' }, data: [] });
  });

  test('takes the longest text in its longest spelling', async () => {
    const { ws } = await startServer();
    const text = '\u{1F600}'.repeat(10_000);
    const frame = JSON.stringify(send('TEXT')).replace('TEXT', '\\ud83d\\ude00'.repeat(10_000));
    const answer = await legacyOnce(ws, 'ann@example.com', frame);
    expect(answer.data[0].message[0].text).toBe(text);
    expect((await legacyOnce(ws, 'ann@example.com', { type: 'CHAT_LIST' })).data[0].last_message).toBe(
      '\u{1F600}'.repeat(200),
    );
  });
});

test('a SYSTEM message differs from a text that imitates it', async () => {
  const { ws, url } = await startServer();
  const line = 'status: OPEN → PENDING';
  expect((await legacyOnce(ws, 'ann@example.com', send(line))).data[0].message[0]).not.toHaveProperty('kind');
  const live = await connectLegacy(ws, 'ann@example.com', '&live=1');
  live.send(receive());
  await live.next();
  const before = (await legacyOnce(ws, 'bob@example.com', { type: 'CHAT_LIST' })).data[0];
  expect(before).toMatchObject({ last_message: line });
  expect(before).not.toHaveProperty('last_message_kind');

  const { data } = await post(url, 'ann@example.com', '{ chatList { nodes { id } } }');
  const [{ id }] = data.chatList.nodes;
  const update =
    'mutation ($id: ID!) { ' +
    'updateConversation(input: { conversationId: $id, status: PENDING }) { conversation { id } } }';
  await post(url, 'ann@example.com', update, { id });
  expect((await live.next()).message).toEqual([expect.objectContaining({ text: line, kind: 'SYSTEM' })]);
  const [text, system] = (await legacyOnce(ws, 'bob@example.com', receive())).data[0].message;
  expect(text).toEqual({
    text: line,
    sender: 'ann@example.com',
    time: TIME,
    is_read: ['ann@example.com', 'bob@example.com'],
  });
  expect(system).toEqual({ ...text, time: TIME, kind: 'SYSTEM' });
  const after = (await legacyOnce(ws, 'bob@example.com', { type: 'CHAT_LIST' })).data[0];
  expect(after).toMatchObject({ last_message: line, last_message_kind: 'SYSTEM' });
});

test('CHAT_LIST lists more than one GraphQL page, newest first, and marks nothing as read', async () => {
  const { ws } = await startServer();
  const line = await connectLegacy(ws, 'ann@example.com');
  for (let i = 0; i < 230; i++) {
    line.send(send(`hi ${i}`, { config_id: `c${i}` }));
    await line.next();
  }
  for (let round = 0; round < 2; round++) {
    const { data, unread_message } = await legacyOnce(ws, 'bob@example.com', { type: 'CHAT_LIST' });
    expect(data).toHaveLength(230);
    expect(new Set(data.map((chat: { config_id: string }) => chat.config_id)).size).toBe(230);
    expect(unread_message).toBe(230);
    const times = data.map((chat: { updated_at: string }) => chat.updated_at);
    expect(times).toEqual([...times].sort().reverse());
  }
});

test('CHAT_LIST of 100 conversations of 1,024 members has them all, and later members in none', async () => {
  const { ws, store } = await startServer();
  const crowd = Array.from({ length: 1023 }, (_, i) => email(`m${i}`));
  const writes = Array.from({ length: 100 }, (_, i) => writeOf(`crowd ${i}`, [BOB, ...crowd], 0));
  await Promise.all([...writes, writeOf('own', [ANN, BOB], 0)].map((write) => store.write(write)));
  // Of 17 members 15 are in the key: the first 16 do not have all of them at hand.
  const key = [BOB, ...crowd.slice(0, 14)];
  const { conversation: id } = writeOf('joined', key, 0);
  await store.write(writeOf('joined', key, 0));
  const joined = [ANN, CAT].map((one) => ({ email: one, joined: { at: 2000, readSeq: 1, seen: 1 }, leftAt: null }));
  await store.write(writeOn({ id, lastRev: 1 }, { messages: [message(id, 2)], members: joined }));
  const { data, error } = await legacyOnce(ws, BOB, { type: 'CHAT_LIST' });
  expect(error).toBeUndefined();
  const sizes = new Map(data.map((row: Row) => [row.config_id, row.members.length]));
  expect(sizes).toEqual(new Map([...writes.map((_, i) => [`crowd ${i}`, 1024] as const), ['own', 2], ['joined', 15]]));
});

test('CHAT_LIST leaves out the rows with the longest lists of members when all would be too long', async () => {
  const maxBytes = 300_000;
  const { ws, store } = await startServer({ MAX_RESPONSE_BYTES: String(maxBytes) });
  const long = (i: number) => email(`${i}.${'x'.repeat(200)}`);
  const sizes = [1024, ...Array.from({ length: 30 }, (_, i) => 190 - 5 * i)];
  for (const size of sizes) {
    await store.write(writeOf(`of ${size}`, [BOB, ...Array.from({ length: size - 1 }, (_, i) => long(i))], 0));
  }
  await store.write(writeOf('own', [ANN, BOB], 0, 1, { sentAt: 1 }));
  const line = await connectLegacy(ws, BOB);
  let bytes = 0;
  line.socket.on('message', (frame) => {
    bytes = (frame as Buffer).length;
  });
  line.send({ type: 'CHAT_LIST' });
  const { data, unread_message } = await line.next();
  expect(bytes).toBeLessThanOrEqual(maxBytes);
  const listed = data.map((row: Row) => row.config_id);
  const shortest = sizes.slice(1 - data.length);
  expect(listed.toSorted()).toEqual(['own', ...shortest.map((size) => `of ${size}`)].sort());
  expect(listed.at(-1)).toBe('own');
  expect(data.length).toBeGreaterThan(10);
  expect(unread_message).toBe(data.length);
  // The next row would not fit.
  expect(bytes + 220 * Number(sizes.at(-data.length))).toBeGreaterThan(maxBytes);
});

test('SEND and RECEIVE answer for any number of members', async () => {
  const { ws, store } = await startServer({ LEGACY_PAGE_SIZE: '100' });
  const members = [BOB, ...Array.from({ length: 1023 }, (_, i) => email(`m${i}`))];
  await store.write(writeOf('crowd', members, 0, 100));
  const message = Array.from({ length: 100 }, (_, i) => ({ text: `x${i}` }));
  const sent = await legacyOnce(ws, BOB, { type: 'SEND', config_id: 'crowd', members, message });
  expect(sent.data[0]).toMatchObject({ members: { length: 1024 }, message: { length: 100 } });
  const page = await legacyOnce(ws, BOB, { type: 'RECEIVE', config_id: 'crowd', members });
  expect(page.data[0]).toMatchObject({ members: { length: 1024 }, message: { length: 100 } });
});

describe('a frame that is malformed gets its error, stores nothing, and the next one works', () => {
  const long = (length: number) => 'x'.repeat(length);
  const cases: [string, unknown, string, string][] = [
    ['not JSON', '{"type":', 'ERROR', 'BAD_USER_INPUT'],
    ['empty', '', 'ERROR', 'BAD_USER_INPUT'],
    ['null', 'null', 'ERROR', 'BAD_USER_INPUT'],
    ['a list', '[]', 'ERROR', 'BAD_USER_INPUT'],
    ['a number', '1', 'ERROR', 'BAD_USER_INPUT'],
    ['binary', Buffer.from('{"type":"CHAT_LIST"}'), 'ERROR', 'BAD_USER_INPUT'],
    ['without a type', {}, 'ERROR', 'BAD_USER_INPUT'],
    ['of an unknown type', { type: 'DELETE' }, 'ERROR', 'BAD_USER_INPUT'],
    ['of a type in lower case', { type: 'send' }, 'ERROR', 'BAD_USER_INPUT'],
    ['of an inherited type', { type: 'constructor' }, 'ERROR', 'BAD_USER_INPUT'],
    ['of type __proto__', '{"type":"__proto__"}', 'ERROR', 'BAD_USER_INPUT'],
    ['of an object as type', { type: { $ne: null } }, 'ERROR', 'BAD_USER_INPUT'],
    ['10,000 deep', `${'['.repeat(10_000)}${']'.repeat(10_000)}`, 'ERROR', 'BAD_USER_INPUT'],
    [
      '10,000 deep inside',
      `{"type":"SEND","config_id":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
      'SEND',
      'BAD_USER_INPUT',
    ],
    ['CHAT_LIST of another user', { type: 'CHAT_LIST', email: 'bob@example.com' }, 'CHAT_LIST', 'FORBIDDEN'],
    ['CHAT_LIST of a number', { type: 'CHAT_LIST', email: 1 }, 'CHAT_LIST', 'BAD_USER_INPUT'],
    ['CHAT_LIST of an operator', { type: 'CHAT_LIST', email: { $ne: null } }, 'CHAT_LIST', 'BAD_USER_INPUT'],
    ['SEND without a config', send('x', { config_id: undefined }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND to an operator', send('x', { config_id: { $gt: '' } }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND to an empty config', send('x', { config_id: '' }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND to a long config', send('x', { config_id: long(129) }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with one member', send('x', { members: ['ann@example.com', 'ANN@example.com'] }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with no member', send('x', { members: [] }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with members of text', send('x', { members: 'bob@example.com' }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with a member that is no address', send('x', { members: ['bob'] }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with an operator as member', send('x', { members: [{ $ne: null }] }), 'SEND', 'BAD_USER_INPUT'],
    [
      'SEND with 1,025 members',
      send('x', { members: Array.from({ length: 1024 }, (_, i) => `p${i}@example.com`) }),
      'SEND',
      'BAD_USER_INPUT',
    ],
    ['SEND of no message', send('x', { message: [] }), 'SEND', 'BAD_USER_INPUT'],
    [
      'SEND of 101 messages',
      send('x', { message: Array.from({ length: 101 }, () => ({ text: 'x' })) }),
      'SEND',
      'BAD_USER_INPUT',
    ],
    ['SEND of text as message', send('x', { message: 'x' }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND of an empty text', send(''), 'SEND', 'BAD_USER_INPUT'],
    ['SEND of white space', send(' \t\n\u00a0'), 'SEND', 'BAD_USER_INPUT'],
    ['SEND of a long text', send(long(10_001)), 'SEND', 'BAD_USER_INPUT'],
    ['SEND of a number', send('x', { message: [{ text: 1 }] }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND of an operator', send('x', { message: [{ text: { $ne: null } }] }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND of NUL', send('a\0b'), 'SEND', 'BAD_USER_INPUT'],
    ['SEND of a lone surrogate', JSON.stringify(send('a\ud800b')), 'SEND', 'BAD_USER_INPUT'],
    [
      'SEND of a good and a bad text',
      send('x', { message: [{ text: 'good' }, { text: '' }] }),
      'SEND',
      'BAD_USER_INPUT',
    ],
    ['SEND for another user', send('x', { message: [{ text: 'x', sender: 'bob@example.com' }] }), 'SEND', 'FORBIDDEN'],
    ['SEND with a subject of a number', send('x', { subject: 1 }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with a long subject', send('x', { subject: long(201) }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with a party of a fraction', send('x', { party: 2.5 }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with a long party', send('x', { party: long(65) }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with a long client_id', send('x', { client_id: long(61) }), 'SEND', 'BAD_USER_INPUT'],
    ['SEND with an empty client_id', send('x', { client_id: '' }), 'SEND', 'BAD_USER_INPUT'],
    ['RECEIVE of page 0', receive({ page: 0 }), 'RECEIVE', 'BAD_USER_INPUT'],
    ['RECEIVE of page -1', receive({ page: -1 }), 'RECEIVE', 'BAD_USER_INPUT'],
    ['RECEIVE of page 1.5', receive({ page: 1.5 }), 'RECEIVE', 'BAD_USER_INPUT'],
    ['RECEIVE of page "x"', receive({ page: 'x' }), 'RECEIVE', 'BAD_USER_INPUT'],
    ['RECEIVE of page ""', receive({ page: '' }), 'RECEIVE', 'BAD_USER_INPUT'],
    ['RECEIVE of a page that is an object', receive({ page: { $gt: 0 } }), 'RECEIVE', 'BAD_USER_INPUT'],
    ['RECEIVE without members', receive({ members: undefined }), 'RECEIVE', 'BAD_USER_INPUT'],
  ];

  test('every one of them, on one socket', async () => {
    const { ws } = await startServer();
    const line = await connectLegacy(ws, 'ann@example.com');
    const invalidUtf8 = Buffer.from('{"type":"CHAT_LIST","x":"\xff"}', 'latin1');
    for (const [name, frame, type, code] of cases) {
      line.send(frame);
      const answer = await line.next();
      expect(answer, name).toEqual({
        ...{ type, error: { code, message: expect.stringMatching(/.+/) }, data: [] },
        ...(type === 'CHAT_LIST' && { unread_message: 0 }),
      });
      line.send({ type: 'CHAT_LIST' });
      expect(await line.next(), `after ${name}`).toEqual({ type: 'CHAT_LIST', data: [], unread_message: 0 });
    }
    line.socket.send(invalidUtf8, { binary: false });
    expect(await line.next()).toMatchObject({ type: 'ERROR', error: { code: 'BAD_USER_INPUT' } });
    expect(await legacyOnce(ws, 'bob@example.com', { type: 'CHAT_LIST' })).toMatchObject({ data: [] });
  });

  test('null counts as absent', async () => {
    const { ws } = await startServer();
    const frame = send('', {
      subject: null,
      party: null,
      client_id: null,
      message: [{ text: 'hi', sender: null, is_read: null }],
    });
    expect((await legacyOnce(ws, 'ann@example.com', frame)).data[0].message).toMatchObject([{ text: 'hi' }]);
    expect((await legacyOnce(ws, 'ann@example.com', receive({ page: null }))).data[0].page).toBe(1);
    expect((await legacyOnce(ws, 'ann@example.com', { type: 'CHAT_LIST', email: null })).data).toHaveLength(1);
  });

  test('unknown extra keys are ignored', async () => {
    const { ws } = await startServer();
    const frame =
      `{"__proto__":{"type":"X"},"constructor":1,"$where":"1",` +
      `${JSON.stringify(send('hi', { extra: { a: 1 } })).slice(1)}`;
    expect((await legacyOnce(ws, 'ann@example.com', frame)).data[0].message).toMatchObject([{ text: 'hi' }]);
  });
});

test('a list in a frame is read up to its first mistake: to report all would keep other clients waiting', async () => {
  const client: LegacyClient = {
    ...{ email: 'ann@example.com' as LegacyClient['email'], spelling: 'ann@example.com', pageSize: 20, maxBytes: 1 },
    run: () => Promise.reject(new Error('never gets here')),
  };
  const list = (first: unknown) => {
    const entries = [first, null];
    const get = () => expect.unreachable('it is read on');
    return Object.defineProperty(entries, 1, { get });
  };
  for (const [frame, message] of [
    [receive({ members: list(1) }), /^members\.0: /],
    [receive({ members: list('nobody') }), /^members\.0: must be an email address$/],
    [send('', { message: list({ text: 1 }) }), /^message\.0\.text: /],
    [send('', { message: {} }), /^message: must be a list$/],
  ] as const) {
    await expect(reply(frame, client)).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      message: expect.stringMatching(message),
    });
  }
});
