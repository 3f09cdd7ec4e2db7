import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { newMessage } from '../../../src/chat/log/change-set.ts';
import { type Conversation, conversationId, type EmailAddress } from '../../../src/model.ts';
import { type Answer, legacyOnce, post } from '../../support/clients.ts';
import { startServer, type TestServer } from '../../support/server.ts';

const KEY = { configId: 'c1', members: ['ann@example.com', 'bob@example.com'] };
const SEND = `mutation ($input: SendMessageInput!) {
  sendMessage(input: $input) { message { id seq rev kind sender text clientId replyTo { seq text } readBy }
    conversation { id lastSeq lastRev } deduplicated }
}`;
const SEND_MANY = `mutation ($input: SendMessagesInput!) {
  sendMessages(input: $input) { messages { seq text clientId } conversation { lastSeq } deduplicated }
}`;
const LOG = `query ($by: ConversationRef!) { conversation(by: $by) { lastSeq
  messages(first: 100) { nodes { seq sender text clientId } } } }`;

const send = ({ url }: TestServer, input: object, user = 'ann@example.com') =>
  post(url, user, SEND, { input: { to: { key: KEY }, ...input } });
const sendMany = ({ url }: TestServer, messages: object[], input: object = {}) =>
  post(url, 'ann@example.com', SEND_MANY, { input: { to: { key: KEY }, messages, ...input } });
const log = async ({ url }: TestServer, key: object = KEY) =>
  (await post(url, 'ann@example.com', LOG, { by: { key } })).data.conversation;
/** White space, Unicode's ignorable characters, the blank Braille pattern, annotation and filler characters. */
const SHOWS_NOTHING = /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffb\u{16fe4}\u{1d159}]+$/u;
const legacyList = ({ ws }: TestServer) => legacyOnce(ws, 'bob@example.com', { type: 'CHAT_LIST' });
const code = ({ errors }: Answer) => errors?.[0]?.extensions.code;

describe('sendMessage', () => {
  test('opens a conversation with its first message, and appends to it', async () => {
    const server = await startServer();
    const first = await send(server, { text: 'hello', subject: 'S', party: '23' });
    expect(first.data.sendMessage).toMatchObject({
      ...{
        message: {
          seq: 1,
          rev: 1,
          kind: 'TEXT',
          sender: 'ann@example.com',
          text: 'hello',
          clientId: null,
          replyTo: null,
        },
      },
      ...{ conversation: { lastSeq: 1, lastRev: 1 }, deduplicated: false },
    });
    const { id } = first.data.sendMessage.conversation;
    const reply = await send(
      server,
      { to: { id }, text: 'hello Ann', replyToSeq: 1, subject: 'ignored' },
      'bob@example.com',
    );
    expect(reply.data.sendMessage.message).toMatchObject({
      seq: 2,
      replyTo: { seq: 1, text: 'hello' },
      readBy: ['bob@example.com'],
    });
    const { data } = await post(server.url, 'bob@example.com', '{ chatList { nodes { id subject party } } }');
    expect(data.chatList.nodes).toEqual([{ id, subject: 'S', party: '23' }]);
  });

  test('finds one conversation whatever the order, repetition and case of its members', async () => {
    const server = await startServer();
    const spellings = [
      ['ann@example.com', 'bob@example.com'],
      ['BOB@example.com', 'Ann@Example.COM'],
      ['bob@example.com', 'ann@example.com', 'Bob@example.com'],
    ];
    for (const members of spellings) await send(server, { to: { key: { ...KEY, members } }, text: 'x' });
    expect((await log(server)).lastSeq).toBe(3);
    await send(server, { to: { key: { configId: 'C1', members: KEY.members } }, text: 'x' });
    await send(server, { to: { key: { configId: 'c1', members: [...KEY.members, 'cat@example.com'] } }, text: 'x' });
    expect((await log(server)).lastSeq).toBe(3);
  });

  test('two first messages at once open one conversation', async () => {
    const server = await startServer();
    for (let round = 0; round < 20; round++) {
      const to = { key: { ...KEY, configId: `round ${round}` } };
      const sent = await Promise.all([
        send(server, { to, text: 'a' }),
        send(server, { to, text: 'b' }, 'bob@example.com'),
      ]);
      const messages = sent.map(({ data }) => data.sendMessage);
      expect(messages.map(({ message }) => message.seq).sort()).toEqual([1, 2]);
      expect(new Set(messages.map(({ conversation }) => conversation.id)).size).toBe(1);
    }
  });

  test('returns the first message for a repeated clientId, or CONFLICT for another text', async () => {
    const server = await startServer();
    const first = await send(server, { text: 'once', clientId: 'x' });
    const again = await send(server, { text: 'once', clientId: 'x', replyToSeq: 99, subject: 'ignored' });
    expect(again.data.sendMessage).toEqual({ ...first.data.sendMessage, deduplicated: true });
    expect(code(await send(server, { text: 'twice', clientId: 'x' }))).toBe('CONFLICT');
    const other = await send(server, { text: 'mine', clientId: 'x' }, 'bob@example.com');
    expect(other.data.sendMessage).toMatchObject({ message: { seq: 2 }, deduplicated: false });
    expect((await log(server)).lastSeq).toBe(2);
  });

  test('is stored once when repeated many times at once', async () => {
    const server = await startServer();
    const sent = await Promise.all(Array.from({ length: 50 }, () => send(server, { text: 'once', clientId: 'x' })));
    expect(sent.map(({ data }) => data.sendMessage.message.seq)).toEqual(Array(50).fill(1));
    expect(sent.filter(({ data }) => !data.sendMessage.deduplicated)).toHaveLength(1);
  });

  test('keeps every text byte for byte', async () => {
    const server = await startServer();
    const unit = fc.string({ unit: 'binary', minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(unit, async (text) => {
        const answer = await send(server, { text });
        const refused = text.includes('\0') || SHOWS_NOTHING.test(text);
        if (refused) expect(code(answer)).toBe('BAD_USER_INPUT');
        else {
          const { seq } = answer.data.sendMessage.message;
          const { data } = await post(
            server.url,
            'bob@example.com',
            'query ($by: ConversationRef!, $seq: Int!) { conversation(by: $by) { ' +
              'messages(around: { seq: $seq }, first: 1) { nodes { text } } } }',
            { by: { key: KEY }, seq },
          );
          expect(data.conversation.messages.nodes).toEqual([{ text }]);
        }
      }),
      { numRuns: 60 },
    );
  });

  const long = (length: number) => 'x'.repeat(length);
  describe('refuses', () => {
    // Nothing is stored on it: one for all.
    let server: TestServer;
    beforeAll(async () => {
      let end = async () => {};
      server = await startServer({}, { whenDone: (close) => (end = close) });
      return end;
    });

    test.each<[string, object]>([
      ['an empty text', { text: '' }],
      ['white space', { text: ' \n\u2003' }],
      ...[...'\u200b\u00ad\u3164\u2800\u115f\u1160\uffa0\u2060\u2064\ufe0f\u{e0041}\u{e0100}\u180e\u034f\ufff9'].map(
        (character): [string, object] => [
          `U+${character.codePointAt(0)?.toString(16)} alone`,
          { text: ` ${character}\n` },
        ],
      ),
      ...[
        'a\u202e',
        '\u2067a',
        'a\u200e',
        'a\u061c',
        'a\u200b',
        'a\u00ad',
        'a\u200db',
        'a\ufe0f',
        'a\nb',
        'a\u2029b',
        '\u2800',
      ].flatMap((name): [string, object][] => [
        [`the subject ${JSON.stringify(name)}`, { text: 'x', subject: name }],
        [`the party ${JSON.stringify(name)}`, { text: 'x', party: name }],
        [`the config ${JSON.stringify(name)}`, { text: 'x', to: { key: { ...KEY, configId: name } } }],
      ]),
      ...['e\u0301', ' a', 'a ', 'a  b', 'a\u00a0b', 'a\u3000', 'a\u2800b', 'ก\u200bข'].map(
        (configId): [string, object] => [
          `the config ${JSON.stringify(configId)} to open a conversation with`,
          { text: 'x', to: { key: { ...KEY, configId } } },
        ],
      ),
      ['10,001 code points', { text: '\u{1F600}'.repeat(10_001) }],
      ['NUL', { text: 'a\0b' }],
      ['a lone surrogate', { text: 'a\udc00b' }],
      ['a number as text', { text: 1 }],
      ['an operator as text', { text: { $ne: null } }],
      ['an empty clientId', { text: 'x', clientId: '' }],
      ['a clientId of 65', { text: 'x', clientId: long(65) }],
      ['a clientId with a lone surrogate', { text: 'x', clientId: '\ud800' }],
      ['a subject of 201', { text: 'x', subject: long(201) }],
      ['a party of 65', { text: 'x', party: long(65) }],
      ['a reply to nothing', { text: 'x', replyToSeq: 1 }],
      ['a reply to 0', { text: 'x', replyToSeq: 0 }],
      ['an unknown argument', { text: 'x', other: 1 }],
      ['no place to go to', { text: 'x', to: {} }],
      ['two places to go to', { text: 'x', to: { id: 'c', key: KEY } }],
      ['null as the place to go to', { text: 'x', to: { id: null } }],
      ['an operator as id', { text: 'x', to: { id: { $ne: null } } }],
      ['an empty config', { text: 'x', to: { key: { ...KEY, configId: '' } } }],
      ['a config of 129', { text: 'x', to: { key: { ...KEY, configId: long(129) } } }],
      ['a config with NUL', { text: 'x', to: { key: { ...KEY, configId: '\0' } } }],
      ['one member', { text: 'x', to: { key: { ...KEY, members: ['ann@example.com', 'ANN@example.com'] } } }],
      [
        'members without the viewer',
        { text: 'x', to: { key: { ...KEY, members: ['bob@example.com', 'cat@example.com'] } } },
      ],
      ['a member that is no address', { text: 'x', to: { key: { ...KEY, members: ['ann@example.com', 'bob'] } } }],
      [
        'a member beyond ASCII',
        { text: 'x', to: { key: { ...KEY, members: ['ann@example.com', 'b\u00f6b@example.com'] } } },
      ],
      [
        'a member beyond 254',
        { text: 'x', to: { key: { ...KEY, members: ['ann@example.com', `${long(243)}@example.com`] } } },
      ],
    ])('%s, and stores nothing', async (_, input) => {
      expect(code(await send(server, input))).toBe('BAD_USER_INPUT');
      expect(await log(server)).toBeNull();
    });
  });

  test.each([
    '',
    'می\u200cخواهم',
    'क्\u200dष',
    'র\u200d\u09cd\u09afাব',
    '\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}',
    '👨\u200d👩\u200d👧',
    '🏳\ufe0f\u200d🌈',
    '1\ufe0f\u20e3',
    '葛\u{e0100}城',
    'e\u0301 — naïve  ',
  ])('takes the subject and the party %j', async (name) => {
    const server = await startServer();
    expect((await send(server, { text: 'x', subject: name, party: name })).errors).toBeUndefined();
    const { data } = await post(server.url, 'bob@example.com', '{ chatList { nodes { subject party } } }');
    expect(data.chatList.nodes).toEqual([{ subject: name, party: name }]);
  });

  test('reaches a conversation by a key that predates the rules for names', async () => {
    const server = await startServer();
    const key = { configId: ' e\u0301\u202e ', members: KEY.members as EmailAddress[] };
    const id = conversationId(key);
    const message = newMessage({ id, lastSeq: 0, lastRev: 0 } as Conversation, 0, {
      ...{ kind: 'TEXT' as const, sender: key.members[0] as EmailAddress, text: 'first', sentAt: 1 },
    });
    const opening = { ...key, subject: 'a\u202e', party: null };
    const log = { messages: [message], changed: [], state: null, members: [], roles: new Map() };
    expect(await server.store.write({ conversation: id, afterRev: 0, opening, ...log })).toBe(true);
    const sent = await send(server, { to: { key }, text: 'second', subject: 'a\u202e' });
    expect(sent.data.sendMessage.message.seq).toBe(2);
  });

  test('accepts the longest valid values', async () => {
    const server = await startServer();
    const wide = '\u{1F600}';
    const key = { configId: wide.repeat(128), members: ['ann@example.com', `${long(242)}@example.com`] };
    const text = wide.repeat(10_000);
    const input = { to: { key }, text, clientId: wide.repeat(64), subject: wide.repeat(200), party: wide.repeat(64) };
    expect((await send(server, input)).data.sendMessage.message.text).toBe(text);
    const many = Array.from({ length: 1024 }, (_, i) => (i === 0 ? 'ann@example.com' : `p${i}@example.com`));
    expect((await send(server, { to: { key: { ...KEY, members: many } }, text: 'x' })).errors).toBeUndefined();
    expect(
      code(await send(server, { to: { key: { ...KEY, members: [...many, 'one@example.com'] } }, text: 'x' })),
    ).toBe('BAD_USER_INPUT');
  });

  test('has the same answer for a missing, foreign and malformed conversation', async () => {
    const server = await startServer();
    const { id } = (await send(server, { text: 'x' })).data.sendMessage.conversation;
    const ids = [id, id.replace(/.$/, 'x'), 'nonsense', `${id}:1`, ''];
    const answers = await Promise.all(ids.map((to) => send(server, { to: { id: to }, text: 'x' }, 'eve@example.com')));
    expect(code(answers[0] as Answer)).toBe('NOT_FOUND');
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect((await log(server)).lastSeq).toBe(1);
  });

  test('is limited per user, and returns the time of the next try', async () => {
    const server = await startServer({ RATE_LIMIT_MESSAGES: '6', RATE_LIMIT_BURST: '3' });
    const answers = await Promise.all([1, 2, 3, 4, 5].map((i) => send(server, { text: `m${i}` })));
    const limited = answers.filter(({ errors }) => errors);
    expect(limited.length).toBeGreaterThan(0);
    for (const { errors } of limited) {
      expect(errors?.[0]?.extensions).toEqual({ code: 'RATE_LIMITED', retryAfterMs: expect.any(Number) });
      expect(errors?.[0]?.extensions.retryAfterMs).toBeLessThanOrEqual(10_000);
    }
    expect((await send(server, { text: 'hello' }, 'bob@example.com')).errors).toBeUndefined();
    expect((await log(server)).lastSeq).toBe(6 - limited.length);
  });
});

describe('sendMessages', () => {
  test('stores all, contiguously and in order, while others write', async () => {
    const server = await startServer();
    const batches = Array.from({ length: 10 }, (_, b) =>
      sendMany(
        server,
        Array.from({ length: 7 }, (_, i) => ({ text: `${b}.${i}` })),
      ),
    );
    const singles = Array.from({ length: 20 }, (_, i) => send(server, { text: `single ${i}` }, 'bob@example.com'));
    const answers = await Promise.all(batches);
    await Promise.all(singles);
    const { messages } = await log(server);
    expect(messages.nodes.map(({ seq }: { seq: number }) => seq)).toEqual(Array.from({ length: 90 }, (_, i) => i + 1));
    for (const [b, { data }] of answers.entries()) {
      const stored = data.sendMessages.messages as { seq: number; text: string }[];
      expect(stored.map(({ text }) => text)).toEqual(Array.from({ length: 7 }, (_, i) => `${b}.${i}`));
      expect(stored.map(({ seq }) => seq - (stored[0]?.seq ?? 0))).toEqual([0, 1, 2, 3, 4, 5, 6]);
      for (const { seq, text } of stored) expect(messages.nodes[seq - 1]).toMatchObject({ text });
    }
  });

  test('is deduplicated when repeated whole; a partial repeat is CONFLICT', async () => {
    const server = await startServer();
    const batch = [
      { text: 'a', clientId: '1' },
      { text: 'b', clientId: '2' },
    ];
    const first = await sendMany(server, batch);
    expect((await sendMany(server, batch)).data.sendMessages).toEqual({
      ...first.data.sendMessages,
      deduplicated: true,
    });
    for (const other of [
      [...batch, { text: 'c', clientId: '3' }],
      [...batch, { text: 'c' }],
      [...batch].reverse(),
      [batch[0], { text: 'c', clientId: '2' }],
    ]) {
      expect(code(await sendMany(server, other as object[]))).toBe('CONFLICT');
    }
    expect((await sendMany(server, [batch[1] as object])).data.sendMessages.deduplicated).toBe(true);
    expect((await log(server)).lastSeq).toBe(2);
  });

  test('refuses the batch if one message is invalid, it is empty or over 100, or a clientId occurs twice', async () => {
    const server = await startServer();
    const good = { text: 'x' };
    const hundred = Array.from({ length: 100 }, () => good);
    for (const messages of [
      [],
      [...hundred, good],
      [good, { text: '' }],
      [good, { text: 'x', replyToSeq: 1 }],
      [
        { text: 'x', clientId: 'a' },
        { text: 'x', clientId: 'a' },
      ],
    ]) {
      expect(code(await sendMany(server, messages))).toBe('BAD_USER_INPUT');
    }
    expect(await log(server)).toBeNull();
    expect((await sendMany(server, hundred)).data.sendMessages.conversation.lastSeq).toBe(100);
  });

  test('passes the default rate limit with 100 messages', async () => {
    const server = await startServer({ RATE_LIMIT_MESSAGES: '600' });
    expect(
      (
        await sendMany(
          server,
          Array.from({ length: 100 }, () => ({ text: 'x' })),
        )
      ).errors,
    ).toBeUndefined();
    expect(code(await send(server, { text: 'x' }))).toBe('RATE_LIMITED');
  });
});

test('any mix of sends, batches and repeats leaves a log without holes and with each clientId once', async () => {
  const server = await startServer();
  const draft = fc.record({ text: fc.constantFrom('a', 'b'), clientId: fc.constantFrom('1', '2', '3', '4', null) });
  const operation = fc.record({
    user: fc.constantFrom('ann@example.com', 'bob@example.com'),
    messages: fc.uniqueArray(draft, {
      minLength: 1,
      maxLength: 4,
      comparator: (a, b) => a.clientId !== null && a.clientId === b.clientId,
    }),
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 25 }), async (operations) => {
      const key = { ...KEY, configId: `run ${++run}` };
      const answers = await Promise.all(
        operations.map(({ user, messages }) => post(server.url, user, SEND_MANY, { input: { to: { key }, messages } })),
      );
      const stored = (await log(server, key))?.messages.nodes ?? [];
      expect(stored.map(({ seq }: { seq: number }) => seq)).toEqual(stored.map((_: unknown, i: number) => i + 1));
      const ids = stored.flatMap((m: { sender: string; clientId: string | null }) =>
        m.clientId ? `${m.sender} ${m.clientId}` : [],
      );
      expect(new Set(ids).size).toBe(ids.length);
      let acknowledged = 0;
      for (const [i, { data, errors }] of answers.entries()) {
        if (errors) expect(errors[0]?.extensions.code).toBe('CONFLICT');
        else {
          for (const [j, message] of data.sendMessages.messages.entries()) {
            expect(message).toMatchObject(operations[i]?.messages[j] ?? {});
            expect(stored[message.seq - 1]).toMatchObject({ sender: operations[i]?.user, ...message });
          }
          if (!data.sendMessages.deduplicated) acknowledged += data.sendMessages.messages.length;
        }
      }
      expect(acknowledged).toBe(stored.length);
    }),
    { numRuns: 40 },
  );
});

test('a clock that was years ahead once neither pins a conversation nor dates later messages', async () => {
  const years = 315_360_000_000;
  const day = 86_400_000;
  let now = Date.now();
  const server = await startServer({}, { clock: () => now });
  const say = (configId: string, text: string) => send(server, { text, to: { key: { ...KEY, configId } } });
  const iso = (at: number) => new Date(at).toISOString();
  const right = now;
  await say('before', 'm1');
  await say('quiet', 'm1');
  now = right + years;
  await say('before', 'm2');
  await say('quiet', 'm2');
  now = right + 1000;
  await say('other', 'm1');
  const listed = async (after: string | null = null): Promise<string[]> => {
    const query =
      'query ($after: String) { chatList(first: 2, after: $after) { ' +
      'nodes { configId } pageInfo { endCursor hasNextPage hasPreviousPage } } }';
    const { data } = await post(server.url, 'bob@example.com', query, { after });
    const { endCursor, hasNextPage, hasPreviousPage } = data.chatList.pageInfo;
    const names: string[] = data.chatList.nodes.map(({ configId }: { configId: string }) => configId);
    expect(hasPreviousPage).toBe(after !== null);
    return hasNextPage ? [...names, ...(await listed(endCursor))] : names;
  };
  const first = await listed();
  expect(first[0]).toBe('other');
  expect(first.slice(1).sort()).toEqual(['before', 'quiet']);

  now = right + 2000;
  await say('before', 'm3');
  now = right + 1500;
  await say('before', 'm4');
  expect(await listed()).toEqual(['before', 'other', 'quiet']);
  const { data } = await legacyList(server);
  expect(data.map(({ config_id }: { config_id: string }) => config_id)).toEqual(['before', 'other', 'quiet']);

  const by = { key: { ...KEY, configId: 'before' } };
  const log = await post(
    server.url,
    'ann@example.com',
    'query ($by: ConversationRef!) { conversation(by: $by) { id lastActivityAt messages { nodes { sentAt } } } }',
    { by },
  );
  const { id, lastActivityAt, messages } = log.data.conversation;
  const times = [right, right + years, right + 2000, right + 2000].map(iso);
  expect(messages.nodes.map(({ sentAt }: { sentAt: string }) => sentAt)).toEqual(times);
  expect(lastActivityAt).toBe(iso(right + 2000));
  const at = async (time: number) => {
    const query =
      'query ($id: ID!, $time: DateTime!) { node(id: $id) { ... on Conversation { ' +
      'messages(around: { time: $time }, first: 1) { nodes { seq } } } } }';
    const found = await post(server.url, 'ann@example.com', query, { id, time: iso(time) });
    return found.data.node.messages.nodes[0].seq;
  };
  expect(await Promise.all([right, right + 1, right + 2000, right + 2001].map(at))).toEqual([1, 3, 3, 4]);

  // Within a day it may have been the clock that stepped back.
  now = right + 2000 - day;
  await say('before', 'm5');
  expect((await send(server, { to: by, text: 'm6' })).errors).toBeUndefined();
  const after = await post(
    server.url,
    'ann@example.com',
    'query ($by: ConversationRef!) { conversation(by: $by) { lastActivityAt } }',
    { by },
  );
  expect(after.data.conversation.lastActivityAt).toBe(iso(right + 2000));
});

test('a clock that steps back neither changes the order nor makes times decrease', async () => {
  let now = 5_000_000;
  const server = await startServer({}, { clock: () => now });
  await send(server, { text: 'first' });
  now = 1_000_000;
  await send(server, { text: 'second' });
  const { data } = await post(
    server.url,
    'ann@example.com',
    '{ chatList { nodes { lastActivityAt createdAt messages { nodes { seq text sentAt } } } } }',
  );
  const at = '1970-01-01T01:23:20.000Z';
  expect(data.chatList.nodes).toEqual([
    {
      ...{ lastActivityAt: at, createdAt: at },
      messages: {
        nodes: [
          { seq: 1, text: 'first', sentAt: at },
          { seq: 2, text: 'second', sentAt: at },
        ],
      },
    },
  ]);
});
