import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Context } from '../../src/operations/context.ts';
import { createHold } from '../../src/transport/hold.ts';
import { createSlots } from '../../src/transport/quota.ts';

const context = { viewer: { email: 'ann@example.com' }, drained: async () => {} } as Context;

test('an operation whose time was over before it had a slot is neither begun nor counted as waiting', async () => {
  const slots = createSlots(1);
  const begun: string[] = [];
  const start = (name: string) => {
    const hold = createHold(slots, () => null, context);
    const ran = hold.take().then(
      () => begun.push(name),
      () => {},
    );
    return { hold, ran };
  };
  const [first, late, last] = ['first', 'late', 'last'].map(start);
  await first?.ran;
  expect(slots.waiting('ann@example.com')).toBe(2);
  late?.hold.end();
  expect(slots.waiting('ann@example.com')).toBe(1);
  first?.hold.end();
  await last?.ran;
  last?.hold.end();
  await setImmediate();
  await setImmediate();
  expect(begun).toEqual(['first', 'last']);
  expect(await slots.take('ann@example.com').had).toBeUndefined();
});

test('an operation that ends as it is given a slot passes it on', async () => {
  const slots = createSlots(1);
  const before = slots.take('ann@example.com');
  const hold = createHold(slots, () => null, context);
  const begun = hold.take();
  before.give();
  hold.end();
  await expect(begun).rejects.toThrow('The operation was given up before it began.');
  await expect(hold.take()).rejects.toThrow('The operation was given up before it began.');
  expect(await slots.take('ann@example.com').had).toBeUndefined();
});
