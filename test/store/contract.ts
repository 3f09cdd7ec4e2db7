import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import type { ConversationId, EmailAddress } from '../../src/model.ts';
import type { ChatListFilter, ChatListPage, ChatListPosition, Store, WakeUp } from '../../src/store/store.ts';
import { listedOf } from './brute-force.ts';
import { lifeContract } from './life-contract.ts';
import { recordContract } from './record-contract.ts';
import { ANN, BOB, CAT, EVERYTHING, email, unreadIn, writeOf } from './writes.ts';

/** The laws of the store port, for every adapter alike. `open` gives a fresh, empty store. */
export function storeContract(name: string, open: () => Promise<Store>): void {
  describe(`the store port: ${name}`, () => {
    let store: Store;
    beforeEach(async () => {
      store = await open();
      return () => store.close();
    });
    const pair = [ANN, BOB];
    const texts = async (id: ConversationId, from: number, to: number) =>
      (await store.messages(id, from, to)).map(({ text }) => text);

    describe('a write', () => {
      test('opens a conversation with its first messages, atomically', async () => {
        const opening = writeOf('c', pair, 0, 2);
        const write = {
          ...opening,
          opening: { configId: 'c', subject: 'S', party: '23', members: pair },
          roles: new Map([[ANN, 'BANK' as const]]),
        };
        expect(await store.write(write)).toBe(true);
        const member = {
          readSeq: 0,
          readAt: null,
          seen: 0,
          joinedAt: 1001,
          leftAt: null,
          muted: false,
          pinned: false,
          archived: false,
        };
        expect(await store.conversation(write.conversation)).toEqual({
          ...{
            id: write.conversation,
            configId: 'c',
            subject: 'S',
            party: '23',
            status: 'OPEN',
            labels: [],
            assignee: null,
          },
          ...{ createdAt: 1001, lastActivityAt: 1002, lastSeq: 2, lastRev: 2, importedRev: 0, counted: 2 },
          lastMessage: write.messages[1],
          members: new Map([
            [ANN, { email: ANN, role: 'BANK', sent: 2, ...member }],
            [BOB, { email: BOB, role: null, sent: 0, ...member }],
          ]),
        });
        expect(await store.messages(write.conversation, 1, 2)).toEqual(write.messages);
      });

      test('keeps every value of a message byte for byte', async () => {
        const text =
          '\u{1F600}e\u0301\u202e "\\/\b\f\n\r\t\u0001\u2028{"$ne":null} \'; DROP TABLE messages; --\ufffd\uffff';
        const values = { text, clientId: text, kind: 'SYSTEM' as const, replyToSeq: 1, sentAt: 8_640_000_000_000_000 };
        const write = writeOf(text, pair, 0, 1, values);
        await store.write({ ...write, opening: { configId: text, subject: text, party: text, members: pair } });
        expect(await store.messages(write.conversation, 1, 1)).toEqual(write.messages);
        expect(await store.conversation(write.conversation)).toMatchObject({
          configId: text,
          subject: text,
          party: text,
        });
        expect(await store.messagesByClientId(write.conversation, [{ sender: ANN, clientId: text }])).toEqual(
          write.messages,
        );
      });

      test('succeeds on the state it was decided on, and writes nothing on any other', async () => {
        const { conversation: id } = writeOf('c', pair, 0);
        expect(await store.write(writeOf('c', pair, 1))).toBe(false);
        expect(await store.conversation(id)).toBeNull();
        expect(await store.write(writeOf('c', pair, 0))).toBe(true);
        expect(await store.write(writeOf('c', pair, 0))).toBe(false);
        expect(await store.write(writeOf('c', pair, 2))).toBe(false);
        expect(await store.write(writeOf('c', pair, 1, 3))).toBe(true);
        expect(await store.write(writeOf('c', pair, 1, 1, { text: 'late' }))).toBe(false);
        expect(await texts(id, 0, 100)).toEqual(['m1', 'm2', 'm3', 'm4']);
        expect(await store.conversation(id)).toMatchObject({
          lastSeq: 4,
          lastRev: 4,
          lastActivityAt: 1004,
          createdAt: 1001,
        });
      });

      test('succeeds for one of many that were decided on the same state', async () => {
        for (const after of [0, 1, 2]) {
          const wins = await Promise.all(
            Array.from({ length: 20 }, (_, i) => store.write(writeOf('c', pair, after, 1, { text: `w${i}` }))),
          );
          expect(wins.filter(Boolean)).toHaveLength(1);
        }
        const { conversation: id } = writeOf('c', pair, 0);
        expect((await store.messages(id, 1, 9)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
      });

      test('stores roles that became known', async () => {
        await store.write(writeOf('c', pair, 0));
        await store.write({ ...writeOf('c', pair, 1), roles: new Map([[BOB, 'SELLER']]) });
        const conversation = await store.conversation(writeOf('c', pair, 0).conversation);
        expect([...(conversation?.members.values() ?? [])].map(({ role }) => role)).toEqual([null, 'SELLER']);
      });
    });

    test('all conversations are listed by id, in pages', async () => {
      const writes = Array.from({ length: 5 }, (_, i) => writeOf(`c${i}`, pair, 0));
      await Promise.all(writes.map((write) => store.write(write)));
      const ids = writes.map(({ conversation }) => conversation).sort();
      expect(await store.conversationIds(null, 2)).toEqual(ids.slice(0, 2));
      expect(await store.conversationIds(ids[1] ?? null, 9)).toEqual(ids.slice(2));
      expect(await store.conversationIds(ids[4] ?? null, 9)).toEqual([]);
    });

    describe('messages', () => {
      test('are a range by number, clipped to the log', async () => {
        const write = writeOf('c', pair, 0, 5);
        await store.write(write);
        await store.write(writeOf('other', pair, 0, 5, { text: 'other' }));
        const { conversation: id } = write;
        expect(await texts(id, 2, 4)).toEqual(['m2', 'm3', 'm4']);
        expect(await texts(id, -5, 1)).toEqual(['m1']);
        expect(await texts(id, 5, 99)).toEqual(['m5']);
        expect(await texts(id, 6, 99)).toEqual([]);
        expect(await texts(id, 4, 2)).toEqual([]);
        expect(await texts(writeOf('none', pair, 0).conversation, 1, 9)).toEqual([]);
      });

      test('are found by client id per sender and conversation', async () => {
        const { conversation: id } = writeOf('c', pair, 0);
        await store.write(writeOf('c', pair, 0, 1, { clientId: 'x' }));
        await store.write(writeOf('c', pair, 1, 1, { clientId: 'x', sender: BOB }));
        await store.write(writeOf('other', pair, 0, 1, { clientId: 'y' }));
        const find = async (...keys: [EmailAddress, string][]) =>
          (
            await store.messagesByClientId(
              id,
              keys.map(([sender, clientId]) => ({ sender, clientId })),
            )
          )
            .map(({ seq }) => seq)
            .sort();
        expect(await find([ANN, 'x'], [BOB, 'x'])).toEqual([1, 2]);
        expect(await find([BOB, 'x'], [ANN, 'y'], [ANN, 'X'])).toEqual([2]);
        expect(await find()).toEqual([]);
      });
    });

    describe('reading', () => {
      test('moves forward only, for members only', async () => {
        const { conversation: id } = writeOf('c', pair, 0);
        await store.write(writeOf('c', pair, 0, 5));
        const readSeq = async () => (await store.conversation(id))?.members.get(BOB)?.readSeq;
        expect(await store.advanceReadPosition(id, BOB, 3, 'SELLER')).toBe(true);
        expect(await store.advanceReadPosition(id, BOB, 3, null)).toBe(false);
        expect(await store.advanceReadPosition(id, BOB, 2, null)).toBe(false);
        // At the present position the role alone may be news.
        expect(await store.advanceReadPosition(id, BOB, 3, 'SELLER')).toBe(false);
        expect(await store.advanceReadPosition(id, BOB, 3, 'BANK')).toBe(true);
        expect((await store.conversation(id))?.members.get(BOB)).toMatchObject({ readSeq: 3, role: 'BANK' });
        expect(await store.advanceReadPosition(id, BOB, 3, 'SELLER')).toBe(true);
        expect(await store.advanceReadPosition(id, BOB, 2, 'BANK')).toBe(false);
        expect(await readSeq()).toBe(3);
        expect(await store.advanceReadPosition(id, BOB, 5, null)).toBe(true);
        expect(await store.advanceReadPosition(id, CAT, 5, null)).toBe(false);
        expect(await store.advanceReadPosition(writeOf('none', pair, 0).conversation, BOB, 1, null)).toBe(false);
        const members = (await store.conversation(id))?.members;
        expect(members?.get(BOB)).toMatchObject({ readSeq: 5, role: 'SELLER' });
        expect(members?.has(CAT)).toBe(false);
      });

      test('is counted from the log after any sends and reads', async () => {
        const members = [ANN, BOB, CAT];
        const step = fc.oneof(
          fc.record({ sender: fc.constantFrom(...members), kind: fc.constantFrom('TEXT' as const, 'SYSTEM' as const) }),
          fc.record({ reader: fc.constantFrom(...members), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
        );
        let run = 0;
        await fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
            const configId = `run ${++run}`;
            const { conversation: id } = writeOf(configId, members, 0);
            const log: { sender: EmailAddress; kind: string }[] = [];
            const readSeq = new Map<EmailAddress, number>();
            for (const entry of steps) {
              if ('sender' in entry) await store.write(writeOf(configId, members, log.push(entry) - 1, 1, entry));
              else {
                const seq = Math.floor(entry.share * log.length);
                await store.advanceReadPosition(id, entry.reader, seq, null);
                readSeq.set(entry.reader, Math.max(seq, readSeq.get(entry.reader) ?? 0));
              }
            }
            for (const reader of members) {
              const unread = log.flatMap(({ sender, kind }, i) =>
                i >= (readSeq.get(reader) ?? 0) && sender !== reader && kind === 'TEXT' ? i + 1 : [],
              );
              if (log.length > 0) expect(await unreadIn(store, id, reader)).toBe(unread.length);
              expect(await store.firstUnread(id, reader)).toBe(unread[0] ?? null);
              expect(await store.unreadTotal(reader, { ...EVERYTHING, configId })).toBe(unread.length);
            }
          }),
          { numRuns: 40 },
        );
      });
    });

    describe('the chat list', () => {
      test('is ordered by activity, then id, and is paged by position in both directions', async () => {
        const activity = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 25 });
        let run = 0;
        await fc.assert(
          fc.asyncProperty(activity, fc.integer({ min: 1, max: 7 }), async (times, first) => {
            const me = email(`me${++run}`);
            const writes = times.map((sentAt, i) => writeOf(`c${i}`, [me, BOB], 0, 1, { sentAt }));
            await Promise.all(writes.map((write) => store.write(write)));
            const expected = writes
              .map(({ conversation: id, messages }) => ({
                id,
                lastActivityAt: messages[0]?.sentAt ?? 0,
                pinned: false,
              }))
              .sort((a, b) => b.lastActivityAt - a.lastActivityAt || (a.id < b.id ? -1 : 1));
            const seen: string[] = [];
            let after: ChatListPosition | null = null;
            for (;;) {
              const page = await store.chatList(me, EVERYTHING, { first, after });
              expect(page.hasPreviousPage).toBe(seen.length > 0);
              seen.push(...page.conversations.map(({ id }) => id));
              expect(page.hasNextPage).toBe(seen.length < expected.length);
              if (!page.hasNextPage) break;
              after = expected[seen.length - 1] ?? null;
            }
            expect(seen).toEqual(expected.map(({ id }) => id));
          }),
          { numRuns: 15 },
        );
      });

      test('holds the first and the reader of 1,024 members, and is empty for a non-member', async () => {
        const crowd = Array.from({ length: 1023 }, (_, i) => email(`m${String(i).padStart(4, '0')}`));
        const last = email('zoe');
        const write = writeOf('crowd', [...crowd, last], 0);
        await store.write(write);
        const { conversation: id } = write;
        await store.advanceReadPosition(id, last, 1, 'BANK');
        const whole = await store.conversation(id, last);
        expect(whole?.members.size).toBe(1024);
        expect(whole).toEqual(await store.conversation(id));
        const listed = whole && listedOf(whole, last);
        expect(listed).toMatchObject({ reader: { email: last, readSeq: 1, role: 'BANK' }, hasMoreMembers: true });
        expect(await store.memberCount(id)).toBe(1024);
        expect((await store.chatList(last, EVERYTHING, { first: 9, after: null })).conversations).toEqual([listed]);
        expect(await store.listed(last, [id, writeOf('none', pair, 0).conversation])).toEqual([listed]);
        expect(await store.conversation(id, ANN)).toBeNull();
        expect(await store.listed(ANN, [id])).toEqual([]);
      });

      test('holds the matches of every filter, for members only', async () => {
        await store.write(writeOf('a', pair, 0, 2));
        await store.write(writeOf('b', pair, 0, 1, { sender: BOB }));
        await store.write(writeOf('c', [BOB, CAT], 0, 1, { sender: CAT }));
        const list = async (reader: EmailAddress, filter: Partial<ChatListFilter> = {}) => {
          const narrowed = { ...EVERYTHING, ...filter };
          const { conversations } = await store.chatList(reader, narrowed, { first: 10, after: null });
          return [
            conversations
              .map(({ configId }) => configId)
              .sort()
              .join(''),
            await store.unreadTotal(reader, narrowed),
          ];
        };
        expect(await list(ANN)).toEqual(['ab', 1]);
        expect(await list(BOB)).toEqual(['abc', 3]);
        expect(await list(email('nobody'))).toEqual(['', 0]);
        expect(await list(BOB, { configId: 'a' })).toEqual(['a', 2]);
        expect(await list(BOB, { unreadOnly: true })).toEqual(['ac', 3]);
        expect(await list(BOB, { status: ['OPEN', 'CLOSED'] })).toEqual(['abc', 3]);
        expect(await list(BOB, { status: ['CLOSED'] })).toEqual(['', 0]);
        expect(await list(BOB, { status: [] })).toEqual(['', 0]);
        expect(await list(BOB, { label: 'urgent' })).toEqual(['', 0]);
        expect(await list(BOB, { archived: true })).toEqual(['', 0]);
      });
    });

    test('lists conversations beyond the horizon last, both of the pinned and the others, page by page', async () => {
      const sentAt = { a: 10, b: 5000, c: 20, d: 6000, e: 4000, f: 30 };
      for (const [configId, at] of Object.entries(sentAt))
        await store.write(writeOf(configId, pair, 0, 1, { sentAt: at }));
      for (const configId of ['e', 'f'])
        await store.setView(writeOf(configId, pair, 0).conversation, BOB, { pinned: true });
      const list = async (horizon?: number) => {
        const found: string[] = [];
        let after: ChatListPosition | null = null;
        for (;;) {
          const page: ChatListPage = await store.chatList(BOB, EVERYTHING, {
            first: 1,
            after,
            ...(horizon && { horizon }),
          });
          expect(page.hasPreviousPage).toBe(after !== null);
          const [one] = page.conversations;
          if (!one) throw new Error('a page is empty');
          found.push(one.configId);
          if (!page.hasNextPage) return found.join('');
          const { id, lastActivityAt, reader } = one;
          after = { pinned: reader.pinned, lastActivityAt, id };
        }
      };
      expect(await list()).toBe('efdbca');
      expect(await list(1000)).toBe('fecadb');
      expect(await list(5000)).toBe('efbcad');
    });

    lifeContract(open);
    describe('the record', () => recordContract(() => store));

    test('watch reports each change at least once, until it ends', async () => {
      const told = new Set<string>();
      const { conversation } = writeOf('c', pair, 0);
      // Null reports that hints may have been missed, and may come at any time.
      const unwatch = store.watch(
        (wakeUp: WakeUp | null) =>
          wakeUp &&
          told.add(
            JSON.stringify(wakeUp.kind === 'log' ? { ...wakeUp, write: wakeUp.write?.messages.length } : wakeUp),
          ),
      );
      await store.write(writeOf('c', pair, 0));
      await store.write(writeOf('c', pair, 0));
      await store.advanceReadPosition(conversation, BOB, 1, null, undefined, 7);
      const expected = [
        { kind: 'log', conversation, write: 1 },
        { kind: 'read', conversation, member: BOB, readSeq: 1, readAt: 7, seen: 1, changes: 0, role: null },
      ].map((wakeUp) => JSON.stringify(wakeUp));
      await expect.poll(() => [...told].sort()).toEqual(expected.sort());
      unwatch();
      await store.write(writeOf('other', pair, 0));
      expect(told.size).toBe(2);
    });

    test('close finishes accepted calls, can be repeated, and refuses later calls', async () => {
      const accepted = Promise.all(Array.from({ length: 50 }, (_, i) => store.write(writeOf(`c${i}`, pair, 0))));
      await Promise.all([store.close(), store.close()]);
      expect((await accepted).every(Boolean)).toBe(true);
      await expect(store.write(writeOf('late', pair, 0))).rejects.toThrow();
      await expect(store.ping()).rejects.toThrow();
    });
  });
}
