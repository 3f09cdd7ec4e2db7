import { expect, test } from 'vitest';
import type { ConversationEvent } from '../../src/chat/events.ts';
import { createFeeds } from '../../src/chat/feed.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { ANN, BOB, CAT, edited, message, redacted, writeOf, writeOn } from '../store/writes.ts';

/** Feeds of a conversation with 10 messages, and what a follower has been told. */
async function started() {
  const store = await openSqlite(':memory:');
  const feeds = createFeeds(store, (error) => {
    throw error;
  });
  const members = [ANN, BOB, CAT];
  const { conversation: id } = writeOf('c', members, 0);
  await store.write(writeOf('c', members, 0, 10));
  const head = async () => {
    const found = await store.conversation(id);
    if (!found) throw new Error('it was just written');
    return found;
  };
  const follow = (afterRev: number) =>
    feeds.followEvents(
      id,
      { email: BOB, role: null },
      async () => {},
      true,
      async () => ({ position: afterRev, lastRev: afterRev }),
    );
  /** Waits until the feed has seen the newest state. */
  const wake = async () => {
    feeds.wake(id);
    await new Promise(setImmediate);
  };
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
  return { store, feeds, id, head, follow, change, send, wake };
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

test('who keeps up gets one and the same object, and who does not gets each message once as it is now', async () => {
  const { follow, change, send, head } = await started();
  const [quick, other, slow] = [await follow(10), await follow(10), await follow(10)];
  for (const follower of [quick, other, slow]) await drain(follower, 'CaughtUp');
  await send();
  const event = quick.take();
  expect(brief(event)).toBe('MessageAdded 11 11 m11');
  expect(other.take()).toBe(event);
  // More than is kept at hand, while the slow one takes nothing.
  for (let i = 0; i < 300; i++) {
    await change(1 + (i % 11), edited, `edit ${i}`);
    expect(brief(quick.take())).toBe(`MessageChanged ${1 + (i % 11)} ${12 + i} edit ${i}`);
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

test('a message that was changed is as it is now for whoever resumes by number, too', async () => {
  const { feeds, id, follow, send, change } = await started();
  await follow(10);
  await send();
  await change(11, edited, 'changed');
  const viewer = { email: CAT, role: null };
  const resumed = await feeds.follow(
    id,
    viewer,
    async () => {},
    async () => ({ position: 10, lastRev: 10 }),
  );
  expect((await resumed.next()).value.text).toBe('changed');
});

test('ends for whoever leaves, before anything that came after', async () => {
  const { store, id, follow, head, wake, feeds } = await started();
  const follower = await follow(10);
  await drain(follower, 'CaughtUp');
  const { lastRev, lastSeq } = await head();
  const said = [message(id, lastSeq + 1, { rev: lastRev + 1, kind: 'SYSTEM' })];
  const members = [{ email: BOB, joined: null, leftAt: 2000 }];
  await store.write(writeOn({ id, lastRev }, { messages: said, members }));
  await wake();
  expect(await follower.next()).toEqual({ done: true, value: undefined });
  expect(feeds.size()).toBe(0);
});
