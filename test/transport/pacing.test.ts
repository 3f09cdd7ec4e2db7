import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createPacing, FREE_COST } from '../../src/transport/pacing.ts';

test('costly operations begin turns apart, those of different people in turn, and cheap ones at once', async () => {
  const wait = createPacing();
  const begun: { who: string; turn: number }[] = [];
  let turn = 0;
  const run = async (who: string, cost: number) => {
    await wait(who, cost);
    begun.push({ who, turn });
  };
  const running = [
    run('mallory', 7500),
    run('mallory', 2500),
    run('mallory', 1500),
    run('mallory', 1500),
    run('ann', 5000),
  ];
  expect(wait('ann', FREE_COST)).toBeNull();
  for (; begun.length < running.length; turn++) await setImmediate();
  const first = begun[0]?.turn ?? Number.NaN;
  // Each waits for as many turns as what began before it costs more than one turn has room for.
  expect(begun.map(({ who, turn }) => [who, turn - first])).toEqual([
    ['mallory', 0],
    ['ann', 3],
    ['mallory', 5],
    ['mallory', 6],
    ['mallory', 6],
  ]);
});

test('whoever comes when all is done begins in the next turn', async () => {
  const wait = createPacing();
  for (let i = 0; i < 3; i++) await wait('ann', 2000);
  for (let i = 0; i < 10; i++) await setImmediate();
  let begun = false;
  void wait('ann', 2000)?.then(() => {
    begun = true;
  });
  await setImmediate();
  expect(begun).toBe(true);
});
