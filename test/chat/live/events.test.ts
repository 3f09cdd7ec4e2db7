import { describe, expect, test } from 'vitest';
import type { Backpressure } from '../../../src/chat/live/event-stream.ts';
import type { ConversationEvent } from '../../../src/chat/live/events.ts';
import { createFeeds } from '../../../src/chat/live/feeds.ts';
import { createKnownStates } from '../../../src/chat/log/known-states.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { ANN, BOB, CAT, edited, message, redacted, writeOf, writeOn } from '../../store/writes.ts';

const UNBOUNDED: Backpressure = { free: () => true, drained: async () => {} };

/** Feeds of a conversation with 10 messages, and the events a follower received. */
async function started(how: 'by its own writes' | 'by reading back') {
  const store = await openSqlite(':memory:');
  const states = createKnownStates(store);
  const feeds = createFeeds(store, states, (error) => {
    throw error;
  });
  store.watch((wakeUp) => {
    if (!wakeUp || wakeUp.kind === 'typing') return;
    const told = how === 'by reading back' && wakeUp.kind === 'log' ? { ...wakeUp, write: null } : wakeUp;
    feeds.wake(told, states.wake(told));
  });
  const members = [ANN, BOB, CAT];
  const { conversation: id } = writeOf('c', members, 0);
  await store.write(writeOf('c', members, 0, 10));
  const head = async () => {
    const found = await store.conversation(id);
    if (!found) throw new Error('it was just written');
    return found;
  };
  const follow = (afterRev: number, room = UNBOUNDED) =>
    feeds.followEvents(id, { email: BOB, role: null }, room, true, async () => ({
      position: afterRev,
      lastRev: afterRev,
    }));
  /** Waits until the feed has seen the newest state. */
  const wake = () => new Promise(setImmediate);
  const change = async (seq: number, to: typeof edited | typeof redacted, text = '') => {
    const { lastRev } = await head();
    const [before] = await store.messages(id, seq, seq);
    if (!before) throw new Error('it was just written');
    await store.write(writeOn({ id, lastRev }, { changed: [to(before, lastRev + 1, text)] }));
    await wake();
  };
  const send = async () => {
    const { lastRev, lastSeq } = await head();
    await store.write(writeOn({ id, lastRev }, { messages: [message(id, lastSeq + 1, { rev: lastRev + 1 })] }));
    await wake();
  };
  /** A subscriber by `seq`. */
  const followMessages = (position: number, room: Backpressure) =>
    feeds.follow(id, { email: BOB, role: null }, room, async () => ({ position, lastRev: position }));
  const removeBob = async () => {
    const { lastRev, lastSeq } = await head();
    const said = [message(id, lastSeq + 1, { rev: lastRev + 1, kind: 'SYSTEM' })];
    const members = [{ email: BOB, joined: null, leftAt: 2000 }];
    await store.write(writeOn({ id, lastRev }, { messages: said, members }));
    await wake();
  };
  return { store, feeds, id, head, follow, followMessages, change, send, wake, removeBob };
}

const brief = (event: ConversationEvent | undefined) => {
  if (!event) return undefined;
  if ('message' in event) return `${event.__typename} ${event.message.seq} ${event.rev} ${event.message.text}`;
  return event.__typename;
};

async function drain(follower: AsyncIterator<ConversationEvent>, until: string): Promise<(string | undefined)[]> {
  const told: (string | undefined)[] = [];
  do {
    const { value } = await follower.next();
    told.push(brief(value));
  } while (told.at(-1) !== until);
  return told;
}

/** A full socket, with room for one event after each call of `giveRoom`. */
function socket() {
  let giveRoom = (): void => {};
  const drained = () =>
    new Promise<void>((resolve) => {
      giveRoom = resolve;
    });
  return { free: () => false, drained, giveRoom: () => giveRoom() };
}

describe.each(['by its own writes', 'by reading back'] as const)('a feed that advances %s', (how) => {
  test('gives subscribers that keep up the same object, others each message once in its newest state', async () => {
    const { follow, change, send, head } = await started(how);
    const [quick, other, slow] = [await follow(10), await follow(10), await follow(10)];
    for (const follower of [quick, other, slow]) await drain(follower, 'CaughtUp');
    await send();
    const event = quick.poll();
    expect(brief(event)).toBe('MessageAdded 11 11 m11');
    expect(other.poll()).toBe(event);
    // More than the feed keeps in memory, while the slow subscriber reads nothing.
    for (let i = 0; i < 300; i++) {
      await change(1 + (i % 11), edited, `edit ${i}`);
      expect(brief(quick.poll())).toBe(`MessageChanged ${1 + (i % 11)} ${12 + i} edit ${i}`);
    }
    await change(11, redacted);
    const told = await drain(slow, `MessageAdded 11 ${(await head()).lastRev} `);
    expect(told).toHaveLength(11);
    expect(told.filter((text) => text?.startsWith('MessageAdded'))).toHaveLength(1);
    expect([await slow.next(), await slow.next(), await slow.next()].map(({ value }) => brief(value))).toEqual([
      ...['ReadMoved', 'ReadMoved', 'ReadMoved'],
    ]);
    await send();
    expect(brief((await slow.next()).value)).toBe(`MessageAdded 12 ${(await head()).lastRev} m12`);
  });

  test('gives a subscriber that resumes by number a changed message in its newest state, too', async () => {
    const { feeds, id, follow, send, change } = await started(how);
    await follow(10);
    await send();
    await change(11, edited, 'changed');
    const viewer = { email: CAT, role: null };
    const resumed = await feeds.follow(id, viewer, UNBOUNDED, async () => ({ position: 10, lastRev: 10 }));
    expect((await resumed.next()).value.text).toBe('changed');
  });

  test('ends for a member that leaves, before any later event', async () => {
    const { follow, feeds, removeBob } = await started(how);
    const follower = await follow(10);
    await drain(follower, 'CaughtUp');
    await removeBob();
    expect(await follower.next()).toEqual({ done: true, value: undefined });
    expect(feeds.size()).toBe(0);
  });

  test('a page read before a redaction is not delivered after it', async () => {
    const { follow, followMessages, change, head } = await started(how);
    const [full, other] = [socket(), socket()];
    const byRev = (await follow(0, full)).next();
    const byNumber = (await followMessages(0, other)).next();
    // Both have read their page, and wait for room.
    await new Promise(setImmediate);
    await change(1, redacted);
    for (const { giveRoom } of [full, other]) giveRoom();
    expect(brief((await byRev).value)).toBe('MessageAdded 2 2 m2');
    expect((await byNumber).value).toMatchObject({ seq: 1, text: '', rev: (await head()).lastRev });
  });

  test('a removed member gets nothing more, and the stream ends, while the socket is full', async () => {
    const { feeds, follow, followMessages, removeBob } = await started(how);
    const never: Backpressure = { free: () => false, drained: () => new Promise<void>(() => {}) };
    const ends = [(await follow(0, never)).next(), (await followMessages(0, never)).next()];
    await new Promise(setImmediate);
    await removeBob();
    expect(await Promise.all(ends)).toEqual(ends.map(() => ({ done: true, value: undefined })));
    expect(feeds.size()).toBe(0);
  });

  test('a message that changes during a long replay is added once, as is one that changed before it', async () => {
    const { follow, send, change, head } = await started(how);
    for (let i = 0; i < 240; i++) await send();
    await change(2, edited, 'before');
    const follower = await follow(0);
    expect(brief((await follower.next()).value)).toBe('MessageAdded 1 1 m1');
    await change(1, edited, 'during');
    const told = await drain(follower, 'CaughtUp');
    expect(told.filter((text) => text?.startsWith('MessageChanged'))).toEqual([
      `MessageChanged 1 ${(await head()).lastRev} during`,
    ]);
    expect(told.filter((text) => text?.startsWith('MessageAdded'))).toHaveLength(249);
    expect(told).toContain('MessageAdded 2 251 before');
  });

  test('little is read ahead of long texts, with earlier versions, for a subscriber that does not read', async () => {
    const { store, follow, change, id } = await started(how);
    for (let seq = 1; seq <= 10; seq++) await change(seq, edited, 'x'.repeat(20_000));
    for (let seq = 1; seq <= 10; seq++) await change(seq, edited, `short ${seq}`);
    const limits: number[] = [];
    const changes = store.changes;
    store.changes = (id, afterRev, limit) => {
      limits.push(limit);
      return changes(id, afterRev, limit);
    };
    const told = await drain(await follow(10), 'CaughtUp');
    expect(told.slice(0, 10)).toEqual(
      (await store.messages(id, 1, 10)).map(({ seq, rev, text }) => `MessageChanged ${seq} ${rev} ${text}`),
    );
    expect(limits.slice(0, 2)).toEqual([20, 2]);
  });
});
