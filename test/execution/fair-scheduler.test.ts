import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createFairScheduler } from '../../src/execution/fair-scheduler.ts';

/** A scheduler with a clock that advances by the duration that the work states, in milliseconds. */
function setUp() {
  let now = 0;
  const { slice } = createFairScheduler(() => now);
  const done: { user: string; turn: number }[] = [];
  let turn = 0;
  const work = async (user: string, pieces: number, milliseconds: number) => {
    for (let i = 0; i < pieces; i++) {
      const wait = slice(user);
      if (wait) await wait;
      now += milliseconds;
      done.push({ user, turn });
    }
  };
  const finish = async (all: Promise<unknown>[]) => {
    let running = true;
    const finished = Promise.all(all).then(() => {
      running = false;
    });
    for (; running; turn++) await setImmediate();
    await finished;
  };
  return { slice, work, finish, done };
}

test('short work runs in one turn, and its first piece at once', async () => {
  const { slice, work, finish, done } = setUp();
  expect(slice('ann')).toBeNull();
  await finish([work('ann', 4, 2)]);
  expect(new Set(done.map(({ turn }) => turn)).size).toBe(1);
});

test('long work yields, also if each of its pieces is continued by the next', async () => {
  const { work, finish, done } = setUp();
  await finish([work('ann', 100, 4)]);
  const perTurn = new Map<number, number>();
  for (const { turn } of done) perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1);
  expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(6);
});

test('different users take turns, in any order and number of calls', async () => {
  const { work, finish, done } = setUp();
  const mallory = Array.from({ length: 50 }, () => work('mallory', 4, 8));
  await finish([...mallory, work('ann', 4, 8)]);
  const last = done.findLastIndex(({ user }) => user === 'ann');
  expect(last).toBeLessThan(20);
});
