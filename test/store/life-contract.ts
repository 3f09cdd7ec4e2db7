import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { afterRead, afterWrite } from '../../src/chat/log/next-state.ts';
import {
  type Conversation,
  type ConversationId,
  countsAsUnread,
  type EmailAddress,
  type Member,
  type Message,
} from '../../src/model.ts';
import type { SearchPosition, Store, Write } from '../../src/store/store.ts';
import { termsOf } from '../../src/store/tokenizer.ts';
import { createBruteForce } from './brute-force.ts';
import {
  ANN,
  BOB,
  CAT,
  EVERYTHING,
  edited,
  email,
  message,
  redacted,
  unreadIn,
  withoutLast,
  writeOf,
  writeOn,
} from './writes.ts';

const PAIR = [ANN, BOB];

/** The laws of the port for changes after a message is sent. Called by `storeContract`. */
export function lifeContract(open: () => Promise<Store>): void {
  let store: Store;
  beforeEach(async () => {
    store = await open();
    return () => store.close();
  });
  const state = async (id: ConversationId): Promise<Conversation> => {
    const found = await store.conversation(id);
    if (!found) throw new Error('it was just written');
    return found;
  };
  const at = async (id: ConversationId, seq: number): Promise<Message> => {
    const [found] = await store.messages(id, seq, seq);
    if (!found) throw new Error('it was just written');
    return found;
  };
  const change = async (id: ConversationId, seq: number, to: (before: Message, rev: number) => Message) => {
    const head = await state(id);
    return store.write(writeOn(head, { changed: [to(await at(id, seq), head.lastRev + 1)] }));
  };
  const find = async (query: string, reader = BOB, conversation: ConversationId | null = null) => {
    const { hits } = await store.search(reader, { terms: termsOf(query), conversation }, { first: 100, after: null });
    return hits.map(({ message: { text } }) => text);
  };

  describe('a change of a message', () => {
    test('stays at its position, keeps the earlier text, and is a step of rev', async () => {
      const { conversation: id } = writeOf('c', PAIR, 0);
      await store.write(writeOf('c', PAIR, 0, 3, { clientId: null }));
      expect(await change(id, 2, (before, rev) => edited(before, rev, 'second'))).toBe(true);
      const expected = edited(message(id, 2), 4, 'second');
      expect(await store.messages(id, 1, 3)).toEqual([message(id, 1), expected, message(id, 3)]);
      expect(await state(id)).toMatchObject({ lastSeq: 3, lastRev: 4, lastActivityAt: 1003 });
      expect(await store.write(writeOn({ id, lastRev: 3 }, { changed: [edited(expected, 4, 'late')] }))).toBe(false);
      const both = [edited(expected, 5, 'third'), redacted(message(id, 1), 6)];
      const sent = message(id, 4, { rev: 7, sender: BOB });
      expect(await store.write(writeOn({ id, lastRev: 4 }, { changed: both, messages: [sent] }))).toBe(true);
      expect(await store.messages(id, 1, 4)).toEqual([both[1], both[0], message(id, 3), sent]);
      expect(await state(id)).toMatchObject({ lastSeq: 4, lastRev: 7, lastActivityAt: 1004 });
    });

    test('succeeds for one of two on the same state', async () => {
      const { conversation: id } = writeOf('c', PAIR, 0);
      await store.write(writeOf('c', PAIR, 0, 2));
      for (let rev = 3; rev < 8; rev++) {
        const wins = await Promise.all(
          Array.from({ length: 8 }, async (_, i) =>
            store.write(
              i === 7
                ? writeOn(
                    { id, lastRev: rev - 1 },
                    { messages: [message(id, rev, { seq: (await state(id)).lastSeq + 1 })] },
                  )
                : writeOn({ id, lastRev: rev - 1 }, { changed: [edited(message(id, 1), rev, `${rev} by ${i}`)] }),
            ),
          ),
        );
        expect(wins.filter(Boolean)).toHaveLength(1);
        expect(await state(id)).toMatchObject({ lastRev: rev });
      }
    });

    test('is found by the client id of its message', async () => {
      const { conversation: id } = writeOf('c', PAIR, 0);
      await store.write(writeOf('c', PAIR, 0, 1, { clientId: 'x' }));
      await change(id, 1, redacted);
      const [found] = await store.messagesByClientId(id, [{ sender: ANN, clientId: 'x' }]);
      expect(found).toEqual(redacted(message(id, 1, { clientId: 'x' }), 2));
    });

    test('that redacts removes the message from the unread count', async () => {
      const { conversation: id } = writeOf('c', PAIR, 0);
      await store.write(writeOf('c', PAIR, 0, 3));
      await change(id, 1, redacted);
      expect([await unreadIn(store, id, BOB), await store.firstUnread(id, BOB)]).toEqual([2, 2]);
      await change(id, 2, (before, rev) => edited(before, rev, 'new'));
      expect([await unreadIn(store, id, BOB), await store.firstUnread(id, BOB)]).toEqual([2, 2]);
      expect(await store.unreadTotal(BOB, EVERYTHING)).toBe(2);
    });
  });

  test('changes are returned in their order, each message once, in pages of any size', async () => {
    const { conversation: id } = writeOf('c', PAIR, 0);
    await store.write(writeOf('c', PAIR, 0, 20));
    for (const seq of [3, 17, 3, 9, 20, 1]) await change(id, seq, (before, rev) => edited(before, rev, `rev ${rev}`));
    const { lastRev } = await state(id);
    await store.write(writeOn({ id, lastRev }, { messages: [message(id, 21, { rev: lastRev + 1 })] }));
    await change(id, 17, redacted);
    const expected = (await store.messages(id, 1, 21)).sort((a, b) => a.rev - b.rev);
    for (const limit of [1, 2, 7, 100]) {
      for (const afterRev of [0, 5, 19, 20, 22, 27, 28]) {
        const seen: Message[] = [];
        let position = afterRev;
        for (;;) {
          const page = await store.changes(id, position, limit);
          seen.push(...page);
          position = page.at(-1)?.rev ?? position;
          if (page.length < limit) break;
        }
        expect(seen).toEqual(expected.filter(({ rev }) => rev > afterRev));
      }
    }
    expect(await store.changes(writeOf('none', PAIR, 0).conversation, 0, 9)).toEqual([]);
  });

  test('the state of a conversation changes together with the message that reports it, or not at all', async () => {
    const { conversation: id } = writeOf('c', PAIR, 0);
    await store.write(writeOf('c', PAIR, 0));
    const said = [message(id, 2, { kind: 'SYSTEM' })];
    const closed = { status: 'CLOSED' as const, labels: ['$x', 'é "quoted"'], assignee: BOB };
    expect(await store.write(writeOn({ id, lastRev: 9 }, { messages: said, state: closed }))).toBe(false);
    expect(await state(id)).toMatchObject({ status: 'OPEN', labels: [], assignee: null });
    expect(await store.write(writeOn({ id, lastRev: 1 }, { messages: said, state: closed }))).toBe(true);
    expect(await state(id)).toMatchObject({ ...closed, lastSeq: 2, lastRev: 2 });
    const list = async (filter: object) =>
      (await store.chatList(ANN, { ...EVERYTHING, ...filter }, { first: 9, after: null })).conversations.length;
    expect([await list({ status: ['CLOSED'] }), await list({ status: ['OPEN'] }), await list({ label: '$x' })]).toEqual(
      [1, 0, 1],
    );
  });

  test('members join, leave and come back; a text that looks like an expression is a text', async () => {
    const strange = email('$$root');
    const { conversation: id } = writeOf('c', PAIR, 0);
    await store.write(writeOf('c', PAIR, 0, 2));
    await store.setView(id, BOB, { muted: true, pinned: true });
    const write = async (members: Write['members'], text: string, roles: Write['roles'] = new Map()) => {
      const { lastRev, lastSeq } = await state(id);
      const said = [message(id, lastSeq + 1, { rev: lastRev + 1, text })];
      return store.write(writeOn({ id, lastRev }, { messages: said, members, roles }));
    };
    const joined = (at: number, readSeq: number) => ({ joined: { at, readSeq, seen: readSeq }, leftAt: null });
    await store.advanceReadPosition(id, BOB, 1, 'SELLER');
    await write(
      [
        { email: strange, ...joined(1003, 2) },
        { email: CAT, ...joined(1003, 2) },
      ],
      '$text',
      new Map([[strange, 'BANK']]),
    );
    await write([{ email: BOB, joined: null, leftAt: 1004 }], '$$ROOT');
    const plain = { role: null, sent: 0, readAt: null, leftAt: null, muted: false, pinned: false, archived: false };
    const expected = [
      { ...plain, email: ANN, joinedAt: 1001, readSeq: 0, seen: 0, sent: 4 },
      {
        ...plain,
        email: BOB,
        joinedAt: 1001,
        readSeq: 1,
        seen: 1,
        role: 'SELLER',
        leftAt: 1004,
        muted: true,
        pinned: true,
      },
      { ...plain, email: strange, joinedAt: 1003, readSeq: 2, seen: 2, role: 'BANK' },
      { ...plain, email: CAT, joinedAt: 1003, readSeq: 2, seen: 2 },
    ];
    expect([...(await state(id)).members.values()]).toEqual(expected);
    expect((await store.chatList(BOB, EVERYTHING, { first: 9, after: null })).conversations).toEqual([]);
    expect(await find('m1')).toEqual([]);
    expect(await find('m1', CAT)).toEqual(['m1']);
    expect(await store.setView(id, BOB, { muted: false })).toBe(false);
    // What was read before they left does not let them move it.
    const left = await state(id);
    const stale = { ...left, members: new Map(left.members).set(BOB, { ...expected[1], leftAt: null } as Member) };
    expect(await store.advanceReadPosition(id, BOB, left.lastSeq, 'BANK', stale)).toBe(false);
    expect((await state(id)).members.get(BOB)).toEqual(expected[1]);
    await write([{ email: BOB, ...joined(1005, 4) }], 'back');
    expect([...(await state(id)).members.values()]).toEqual([
      ...[{ ...plain, email: ANN, joinedAt: 1001, readSeq: 0, seen: 0, sent: 5 }, expected[2], expected[3]],
      { ...plain, email: BOB, joinedAt: 1005, readSeq: 4, seen: 4, role: 'SELLER' },
    ]);
    expect((await store.messages(id, 3, 5)).map(({ text }) => text)).toEqual(['$text', '$$ROOT', 'back']);
  });

  test('a view belongs to one member, and a new text unarchives a conversation that is not muted', async () => {
    const { conversation: id } = writeOf('c', [ANN, BOB, CAT], 0);
    await store.write(writeOf('c', [ANN, BOB, CAT], 0));
    const views = async () =>
      [...(await state(id)).members.values()].map(({ muted, pinned, archived }) =>
        [muted && 'muted', pinned && 'pinned', archived && 'archived'].filter(Boolean).join(' '),
      );
    expect(await store.setView(id, ANN, { archived: true, pinned: true })).toBe(true);
    expect(await store.setView(id, ANN, { archived: true })).toBe(false);
    expect(await store.setView(id, ANN, {})).toBe(false);
    expect(await store.setView(id, BOB, { archived: true, muted: true })).toBe(true);
    expect(await store.setView(id, email('nobody'), { muted: true })).toBe(false);
    expect(await store.setView(writeOf('none', PAIR, 0).conversation, ANN, { muted: true })).toBe(false);
    expect(await views()).toEqual(['pinned archived', 'muted archived', '']);
    expect(await store.unreadTotal(ANN, { ...EVERYTHING, archived: true })).toBe(0);
    await change(id, 1, (before, rev) => edited(before, rev, 'new'));
    await store.write(writeOn(await state(id), { messages: [message(id, 2, { rev: 3, kind: 'SYSTEM' })] }));
    expect(await views()).toEqual(['pinned archived', 'muted archived', '']);
    const roles = new Map([[ANN, 'BANK' as const]]);
    await store.write(writeOn(await state(id), { messages: [message(id, 3, { rev: 4, sender: ANN })], roles }));
    expect(await views()).toEqual(['pinned', 'muted archived', '']);
    expect((await state(id)).members.get(ANN)?.role).toBe('BANK');
    expect(await store.unreadTotal(BOB, EVERYTHING)).toBe(0);
  });

  describe('a search', () => {
    const say = (configId: string, texts: string[], members = PAIR, sentAt = 2000) =>
      store.write({
        ...writeOf(configId, members, 0, texts.length),
        messages: texts.map((text, i) =>
          message(writeOf(configId, members, 0).conversation, i + 1, { text, sentAt: sentAt + i }),
        ),
      });

    test('finds texts with all words, ignoring case and accents; a star is a prefix', async () => {
      await say('c', [
        'Überweisung Café',
        'the INVOICE-2024/17 is due',
        'naïve “quotes”',
        'Straße 日本語 ΟΔΟΣ',
        '\u{1F600} 100%',
      ]);
      expect(await find('uberweisung')).toEqual(['Überweisung Café']);
      expect(await find('CAFE\u0301 über*')).toEqual(['Überweisung Café']);
      expect(await find('café invoice')).toEqual([]);
      expect(await find('17 2024')).toEqual(['the INVOICE-2024/17 is due']);
      expect(await find('invoice-20*')).toEqual(['the INVOICE-2024/17 is due']);
      expect(await find('voice')).toEqual([]);
      expect(await find('inv')).toEqual([]);
      expect(await find('in*v due')).toEqual([]);
      expect(await find('"naive" AND quotes')).toEqual([]);
      expect(await find('"naive" quotes')).toEqual(['naïve “quotes”']);
      expect(await find('strasse 日本* οδος')).toEqual(['Straße 日本語 ΟΔΟΣ']);
      expect(await find('100')).toEqual(['\u{1F600} 100%']);
      expect(await find(`${'x'.repeat(70)}`)).toEqual([]);
    });

    test('takes words by their letters: a mark is not a word, and a star belongs to the word before it', async () => {
      expect(termsOf('❤️ ☺\ufe0f \u0301 *')).toEqual([]);
      expect(
        termsOf('inv*,pay (Due*) a** b* c').map((term) => term.word + (term.match === 'prefix' ? '*' : '')),
      ).toEqual([...['inv*', 'pay', 'due*', 'a*', 'b*', 'c']]);
      await say('c', ['I ❤️ invoices, paid', '1\ufe0f\u20e3 ☺️', 'हिन्दी']);
      expect(await find('(inv*),paid')).toEqual(['I ❤️ invoices, paid']);
      expect(await find('1')).toEqual(['1\ufe0f\u20e3 ☺️']);
      expect(await find('हिन्दी')).toEqual(['हिन्दी']);
    });

    test('finds any part of a run in a script without spaces, and optional marks and digits of others', async () => {
      const texts = ['我家在上海东边 PO-7', '上海和海东', 'multi\u00adpart', 'مُحَمَّد ١٢٣', '계산서를확인했습니다'];
      await say('c', texts);
      expect(await find('上海东')).toEqual([texts[0]]);
      expect(await find('上海')).toEqual([texts[1], texts[0]]);
      expect(await find('边 po*')).toEqual([texts[0]]);
      expect(await find('上海*')).toEqual([texts[1], texts[0]]);
      expect(await find('multipart')).toEqual([texts[2]]);
      expect(await find('محمد 123')).toEqual([texts[3]]);
      expect(await find('확인')).toEqual([texts[4]]);
      const { conversation: id } = writeOf('c', PAIR, 0);
      await change(id, 1, (before, rev) => edited(before, rev, '我家在北京'));
      await change(id, 2, redacted);
      for (const query of ['上海', '上', '海', '东']) expect(await find(query)).toEqual([]);
      expect(await find('在北京')).toEqual(['我家在北京']);
    });

    test('finds a match behind more than 1,000 texts that hold the same pairs of characters', async () => {
      await say('c', ['哈哈哈']);
      for (let i = 1; i < 2200; i += 100) await store.write(writeOf('c', PAIR, i, 100, { text: '哈哈' }));
      expect(await find('哈哈哈')).toEqual(['哈哈哈']);
      const { conversation: id } = writeOf('c', PAIR, 0);
      await change(id, 1, (before, rev) => edited(before, rev, '哈哈 哈'));
      await change(id, 2, (before, rev) => edited(before, rev, '哈哈哈哈'));
      expect(await find('哈哈哈')).toEqual(['哈哈哈哈']);
    });

    test('puts the most matches first, then the newest, and is paged by position', async () => {
      await say('a', ['pay', 'pay pay', 'payment of pay', 'no'], PAIR, 2000);
      await say('b', ['pay', 'pay pay pay'], PAIR, 3000);
      await say('foreign', ['pay'], [ANN, CAT]);
      expect(await find('pay')).toEqual(['pay pay pay', 'pay pay', 'pay', 'payment of pay', 'pay']);
      expect(await find('pay*')).toEqual(['pay pay pay', 'payment of pay', 'pay pay', 'pay', 'pay']);
      const { conversation: b } = writeOf('b', PAIR, 0);
      expect(await find('pay', BOB, b)).toEqual(['pay pay pay', 'pay']);
      expect(await find('pay', CAT, b)).toEqual([]);
      let after: SearchPosition | null = null;
      const seen: string[] = [];
      for (const [first, more] of [
        [2, true],
        [2, true],
        [2, false],
      ] as const) {
        const page = await store.search(BOB, { terms: termsOf('pay'), conversation: null }, { first, after });
        expect([page.hasPreviousPage, page.hasNextPage]).toEqual([seen.length > 0, more]);
        seen.push(...page.hits.map(({ message: { text } }) => text));
        after = page.hits.at(-1)?.position ?? null;
      }
      expect(seen).toEqual(await find('pay'));
    });

    test('finds only the present text, at once', async () => {
      await say('c', ['alpha one', 'alpha two']);
      const { conversation: id } = writeOf('c', PAIR, 0);
      await change(id, 1, (before, rev) => edited(before, rev, 'beta one'));
      expect([await find('alpha'), await find('beta'), await find('one')]).toEqual([
        ['alpha two'],
        ['beta one'],
        ['beta one'],
      ]);
      await change(id, 2, redacted);
      await change(id, 1, redacted);
      expect([await find('alpha'), await find('beta'), await find('o*'), await find('t*')]).toEqual([[], [], [], []]);
      const said = [message(id, 3, { rev: 6, kind: 'SYSTEM', text: 'alpha' })];
      await store.write(writeOn(await state(id), { messages: said }));
      expect(await find('alpha')).toEqual([]);
    });

    test('finds a message that is edited during the search and matches before and after', async () => {
      await say('c', ['alpha 0']);
      const { conversation: id } = writeOf('c', PAIR, 0);
      for (let i = 1; i <= 40; i++) {
        const [found] = await Promise.all([
          find('alpha'),
          change(id, 1, (before, rev) => edited(before, rev, `alpha ${i}`)),
        ]);
        expect([[`alpha ${i - 1}`], [`alpha ${i}`]]).toContainEqual(found);
      }
    });

    test('ranks 1,000 matches: the newest of the most recently active conversations', async () => {
      await say('old', ['word word', 'word']);
      for (let i = 0; i < 1100; i += 100) {
        await store.write(writeOf('long', PAIR, i, 100, { text: 'word', sentAt: 4000 }));
      }
      const all: number[] = [];
      let after: SearchPosition | null = null;
      do {
        const query = { terms: termsOf('word'), conversation: null };
        const page = await store.search(BOB, query, { first: 100, after });
        all.push(...page.hits.map(({ message: { seq } }) => seq));
        after = page.hasNextPage ? (page.hits.at(-1)?.position ?? null) : null;
      } while (after);
      expect(all).toEqual(Array.from({ length: 1000 }, (_, i) => 1100 - i));
    });
  });

  test('a search ranks the newest matches, up to a million characters', async () => {
    const texts = (from: number) =>
      Array.from({ length: 55 }, (_, i) => message(writeOf('c', PAIR, 0).conversation, from + i, { text: long }));
    const long = 'word '.repeat(2000);
    await store.write({ ...writeOf('c', PAIR, 0), messages: texts(1) });
    await store.write({ ...writeOf('c', PAIR, 55), messages: texts(56) });
    const query = { terms: termsOf('word'), conversation: null };
    const page = await store.search(BOB, query, { first: 100, after: null });
    expect(page.hits.map(({ message: { seq } }) => seq)).toEqual(Array.from({ length: 100 }, (_, i) => 110 - i));
    expect(page.hasNextPage).toBe(false);
    expect(page.hits[0]?.position.score).toBe(2000);
  });

  test('typing is reported, and is not in the log', async () => {
    const { conversation } = writeOf('c', PAIR, 0);
    await store.write(writeOf('c', PAIR, 0));
    const before = await store.conversation(conversation);
    const told: unknown[] = [];
    store.watch((wakeUp) => wakeUp?.kind === 'typing' && told.push(wakeUp));
    const hint = { kind: 'typing' as const, conversation, member: BOB, typing: true };
    await store.tellTyping(hint);
    await store.tellTyping({ ...hint, typing: false });
    expect(told).toEqual([hint, { ...hint, typing: false }]);
    expect(await store.conversation(conversation)).toEqual(before);
    expect(await store.changes(conversation, 0, 9)).toHaveLength(1);
  });

  test('members that left are reported, and can later find the conversations they left', async () => {
    const told: (readonly EmailAddress[] | undefined)[] = [];
    store.watch((wakeUp) => wakeUp?.kind === 'log' && told.push(wakeUp.left));
    const { conversation: id } = writeOf('c', [ANN, BOB, CAT], 0);
    await store.write(writeOf('c', [ANN, BOB, CAT], 0));
    for (const [lastRev, leftAt] of [
      [1, 2000],
      [2, null],
      [3, 3000],
    ] as const) {
      const messages = [message(id, lastRev + 1, { kind: 'SYSTEM' })];
      const joined = leftAt === null ? { at: 2500, readSeq: 1, seen: 1 } : null;
      await store.write(writeOn({ id, lastRev }, { messages, members: [{ email: BOB, joined, leftAt }] }));
      expect(await store.leftSince(BOB, 2000, 9)).toEqual(leftAt === null ? [] : [id]);
    }
    await store.write(writeOn({ id, lastRev: 4 }, { messages: [message(id, 5)] }));
    await expect.poll(() => told.length).toBe(5);
    expect(told).toEqual([undefined, [BOB], undefined, [BOB], undefined]);
    expect(await store.leftSince(BOB, 3001, 9)).toEqual([]);
    expect(await store.leftSince(CAT, 0, 9)).toEqual([]);
  });

  test('any history has the state that brute force computes', async () => {
    const who = [ANN, BOB, CAT];
    const texts = ['pay now', 'Pay PAY later', 'invoice paid', 'nothing', '!'];
    const share = fc.double({ min: 0, max: 0.999, noNaN: true });
    const step = fc.oneof(
      fc.record({
        do: fc.constant('send' as const),
        by: fc.constantFrom(...who),
        text: fc.constantFrom(...texts),
        count: fc.integer({ min: 1, max: 3 }),
      }),
      fc.record({
        do: fc.constantFrom('edit' as const, 'redact' as const),
        at: share,
        text: fc.constantFrom(...texts),
      }),
      // One write for all that a batch of the chat may hold.
      fc.record({
        do: fc.constantFrom('join' as const, 'leave' as const),
        who: fc.constantFrom(...who),
        at: share,
        by: fc.array(fc.tuple(fc.constantFrom(...who), fc.boolean()), { maxLength: 3 }),
      }),
      fc.record({ do: fc.constant('read' as const), who: fc.constantFrom(...who), at: share }),
      fc.record({
        do: fc.constant('view' as const),
        who: fc.constantFrom(...who),
        muted: fc.boolean(),
        archived: fc.boolean(),
        pinned: fc.boolean(),
      }),
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), step), { maxLength: 25 }), async (steps) => {
        const brute = createBruteForce();
        const configs = [0, 1, 2].map((i) => `run ${++run} ${i}`);
        const ids = configs.map((configId) => writeOf(configId, who, 0).conversation);
        /** The states that follow from the writes and the reported reads. */
        const derived = new Map<ConversationId, Conversation>();
        const unwatch = store.watch((wakeUp) => {
          const before = wakeUp?.kind === 'read' && derived.get(wakeUp.conversation);
          if (!before) return;
          const after = afterRead(before, wakeUp);
          expect(after).not.toBeNull();
          derived.set(wakeUp.conversation, after ?? before);
        });
        const write = async (it: Write) => {
          expect(await store.write(it)).toBe(true);
          brute.write(it);
          derived.set(it.conversation, afterWrite(derived.get(it.conversation) ?? null, it));
        };
        for (const configId of configs) await write(writeOf(configId, who, 0));
        for (const [which, one] of steps) {
          const id = ids[which] as ConversationId;
          const head = brute.conversation(id) as Conversation;
          const { lastRev, lastSeq } = head;
          const said = (values: Partial<Message>, i = 0) =>
            message(id, lastSeq + 1 + i, { rev: lastRev + 1 + i, ...values });
          if (one.do === 'send') {
            const { by: sender, text, count } = one;
            await write(
              writeOn(head, { messages: Array.from({ length: count }, (_, i) => said({ sender, text }, i)) }),
            );
          } else if (one.do === 'edit' || one.do === 'redact') {
            const target = brute.messages(id)[Math.floor(one.at * lastSeq)] as Message;
            if (target.redactedAt !== null || target.kind !== 'TEXT') continue;
            const changed = one.do === 'edit' ? edited(target, lastRev + 1, one.text) : redacted(target, lastRev + 1);
            await write(writeOn(head, { changed: [changed] }));
          } else if (one.do === 'join' || one.do === 'leave') {
            const { who: email } = one;
            const present = head.members.get(email)?.leftAt === null;
            if (present === (one.do === 'join')) continue;
            const news = said({ kind: 'SYSTEM' });
            const texts = one.by.map(([sender, gone], i) => {
              const text = said({ sender }, i + 1);
              return gone ? { ...redacted(text, text.rev), rev: text.rev } : text;
            });
            const target = brute.messages(id)[Math.floor(one.at * lastSeq)] as Message;
            const isText = target.kind === 'TEXT' && target.redactedAt === null;
            const changed = isText ? [redacted(target, lastRev + texts.length + 2)] : [];
            const others = brute.messages(id).filter((one) => countsAsUnread(one) && one.sender !== email);
            const seen = others.filter(({ seq }) => changed[0]?.seq !== seq).length;
            const joined = one.do === 'join' ? { at: news.sentAt, readSeq: news.seq, seen } : null;
            const members = [{ email, joined, leftAt: joined ? null : news.sentAt }];
            await write(writeOn(head, { messages: [news, ...texts], changed, members }));
          } else if (one.do === 'read') {
            const seq = Math.floor(one.at * (lastSeq + 1));
            await store.advanceReadPosition(id, one.who, seq, null);
            brute.advanceReadPosition(id, one.who, seq);
          } else if (one.do === 'view') {
            const { muted, archived, pinned } = one;
            await store.setView(id, one.who, { muted, archived, pinned });
            brute.setView(id, one.who, { muted, archived, pinned });
            const before = derived.get(id) as Conversation;
            const member = before.members.get(one.who);
            if (member?.leftAt !== null) continue;
            const members = new Map(before.members).set(one.who, { ...member, muted, archived, pinned });
            derived.set(id, { ...before, members });
          }
        }
        unwatch();
        for (const id of ids) {
          const head = await state(id);
          expect(await store.memberCount(id)).toBe(head.members.size);
          expect(withoutLast(head)).toEqual(brute.conversation(id));
          expect(withoutLast(derived.get(id) as Conversation)).toEqual(brute.conversation(id));
          expect([...(derived.get(id)?.members.keys() ?? [])]).toEqual([...head.members.keys()]);
          expect(derived.get(id)?.lastMessage).toEqual(brute.messages(id).at(-1));
          expect([undefined, brute.messages(id).at(-1)]).toContainEqual(head.lastMessage);
          expect([...head.members.keys()]).toEqual([...(brute.conversation(id)?.members.keys() ?? [])]);
          expect(await store.messages(id, 1, head.lastSeq)).toEqual(brute.messages(id));
          for (const rev of [0, 1, Math.floor(head.lastRev / 2), head.lastRev - 1])
            expect(await store.changes(id, rev, 1000)).toEqual(brute.changes(id, rev));
          for (const reader of who) {
            const isPresent = brute.conversation(id)?.members.get(reader)?.leftAt === null;
            expect(await store.conversation(id, reader)).toEqual(isPresent ? head : null);
            const unread = brute.unread(id, reader);
            expect(await unreadIn(store, id, reader)).toBe(unread.length);
            expect(await store.firstUnread(id, reader)).toBe(unread[0]?.seq ?? null);
          }
        }
        const mine = <T extends { id?: string; conversationId?: string }>(all: readonly T[]) =>
          all.filter(({ id, conversationId }) => ids.some((own) => own === id || own === conversationId));
        for (const reader of who) {
          for (const archived of [false, true]) {
            const filter = { ...EVERYTHING, archived };
            const { conversations } = await store.chatList(reader, filter, { first: 1000, after: null });
            expect(mine(conversations).map(withoutLast)).toEqual(mine(brute.chatList(reader, archived)));
          }
          const listed = [false, true].flatMap((archived) => mine(brute.chatList(reader, archived)));
          const found = (await store.listed(reader, ids)).map(withoutLast);
          expect(found).toHaveLength(listed.length);
          expect(found).toEqual(expect.arrayContaining(listed));
          for (const id of ids) {
            const query = { terms: termsOf('pa*'), conversation: id };
            const { hits } = await store.search(reader, query, { first: 1000, after: null });
            const count = (text: string) => text.split(' ').filter((word) => /^pa/i.test(word)).length;
            const expected = brute.search(reader, count).filter(({ conversationId }) => conversationId === id);
            expect(hits.map(({ position }) => position)).toEqual(expected);
          }
        }
      }),
      { numRuns: 25 },
    );
  });
}
