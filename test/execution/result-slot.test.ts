import { setImmediate } from 'node:timers/promises';
import { buildSchema, type GraphQLError, parse } from 'graphql';
import { expect, test } from 'vitest';
import { createPrepare, type PrepareOptions } from '../../src/execution/prepared-operation.ts';
import { openResponseStream } from '../../src/execution/response-stream.ts';
import { LARGE_BYTES } from '../../src/execution/response-writer.ts';
import { createResultSlot, createSlots } from '../../src/execution/result-slot.ts';
import type { Context } from '../../src/graphql/context.ts';

const context = { viewer: { email: 'ann@example.com' }, drained: async () => {} } as Context;

test('an operation that timed out before it got a slot is neither run nor counted as waiting', async () => {
  const slots = createSlots(1);
  const begun: string[] = [];
  const start = (name: string) => {
    const hold = createResultSlot(slots, () => null, context);
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
  expect(await slots.take('ann@example.com').acquired).toBeUndefined();
});

test('an operation that ends while it gets a slot passes the slot on', async () => {
  const slots = createSlots(1);
  const before = slots.take('ann@example.com');
  const hold = createResultSlot(slots, () => null, context);
  const begun = hold.take();
  before.give();
  hold.end();
  await expect(begun).rejects.toThrow('The operation was given up before it began.');
  await expect(hold.take()).rejects.toThrow('The operation was given up before it began.');
  expect(await slots.take('ann@example.com').acquired).toBeUndefined();
});

test('a subscription that ends while it waits for a slot with a large event leaves the queue', async () => {
  const slots = createSlots(1);
  const held = slots.take('ann');
  const events = async function* () {
    yield { tick: 1 };
  };
  const schema = buildSchema('type Query { none: Int } type Subscription { tick: Int }');
  Object.assign(schema.getSubscriptionType()?.getFields().tick ?? {}, { subscribe: events });
  const { prepareTrusted } = createPrepare({
    ...{ schema, limits: {} as PrepareOptions['limits'], introspection: true },
    mask: (error) => error as GraphQLError,
  });
  const live = await openResponseStream({
    ...{ schema, operation: prepareTrusted(parse('subscription { tick }')), variables: {}, hideSuggestions: false },
    context: { viewer: { email: 'ann' }, drained: async () => {} } as unknown as Context,
    sharedExecution: { join: () => ({ json: () => [Buffer.alloc(LARGE_BYTES + 1)], leave() {} }) },
    masked: (result) => result,
    slots,
    slice: () => null,
  });
  if (live.kind !== 'stream') throw new Error('the subscription did not begin');
  const delivered = live.deliver(() => {});
  await expect.poll(() => slots.waiting('ann')).toBe(1);
  await live.return();
  await delivered;
  expect(slots.waiting('ann')).toBe(0);
  held.give();
});
