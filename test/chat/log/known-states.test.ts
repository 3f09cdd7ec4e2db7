import { randomUUID } from 'node:crypto';
import { describe, expect, inject, test } from 'vitest';
import { createAppender } from '../../../src/chat/log/appender.ts';
import { createKnownStates } from '../../../src/chat/log/known-states.ts';
import {
  type Conversation,
  type ConversationId,
  conversationId,
  type EmailAddress,
  NO_OPTIONS,
} from '../../../src/model.ts';
import { createMetrics } from '../../../src/observability/metrics.ts';
import { openMongo } from '../../../src/store/mongo/mongo.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../../src/store/store.ts';
import { ANN, BOB, CAT, FIRST_TEXTS, writeOf } from '../../store/writes.ts';

const replicaSet = inject('replicaSet');
const KEY = { configId: 'c', members: [ANN, BOB] };
const ID = conversationId(KEY);

/** The operations of an instance, and the number of its reads of the conversation from the store. */
function instance(store: Store) {
  let reads = 0;
  const counting: Store = {
    ...store,
    conversation: (...args) => {
      reads++;
      return store.conversation(...args);
    },
  };
  const states = createKnownStates(counting);
  const appender = createAppender(counting, states, Date.now, createMetrics(), () => {}, FIRST_TEXTS);
  store.watch((wakeUp) => wakeUp && wakeUp.kind !== 'typing' && states.wake(wakeUp));
  const about = (email: EmailAddress) => ({ conversation: ID, viewer: { email, role: 'BANK' as const } });
  return {
    states,
    reads: () => reads,
    send: (email: EmailAddress, text = 'x') =>
      appender.write({
        ...{ ...about(email), kind: 'send', drafts: [{ text, ...NO_OPTIONS }] },
        opening: { ...KEY, subject: null, party: null },
      }),
    redact: (seq: number) => appender.write({ ...about(ANN), kind: 'redact', seq, reason: 'x' }),
    letIn: (email: EmailAddress) =>
      appender.write({
        ...{ ...about(ANN), kind: 'update', status: null, assignee: undefined },
        ...{ addLabels: [], removeLabels: [], addMembers: [email], removeMembers: [] },
      }),
    read: async (email: EmailAddress) => {
      const known = (await store.conversation(ID)) ?? undefined;
      await store.advanceReadPosition(ID, email, known?.lastSeq ?? 0, null, known);
    },
  };
}

test('a state that was written or read is known without a read of the store', async () => {
  const store = await openSqlite(':memory:');
  const { states, reads, send, redact, letIn, read } = instance(store);
  await send(ANN);
  const before = reads();
  for (let i = 0; i < 20; i++) await Promise.all([send(ANN), send(BOB), read(BOB)]);
  await letIn(CAT);
  await redact(3);
  await read(CAT);
  expect(states.known(ID)).toEqual(await store.conversation(ID));
  expect(reads()).toBe(before);
  await store.close();
});

test('a read position in a part of the log that is not known yet advances no state', async () => {
  const store = await openSqlite(':memory:');
  const { states, send, read } = instance(store);
  await send(ANN);
  await read(BOB);
  const wakeUp = {
    kind: 'read',
    conversation: ID,
    member: BOB,
    readSeq: 2,
    seen: 2,
    changes: 0,
    role: null,
    readAt: 1,
  } as const;
  expect(states.wake(wakeUp)).toBeNull();
  expect(states.known(ID)).toBeNull();
  await store.close();
});

test('of two states read concurrently the newer is kept and returned, in either order of arrival', async () => {
  const store = await openSqlite(':memory:');
  await store.write(writeOf('c', [ANN, BOB], 0));
  const before = await store.conversation(ID);
  await store.advanceReadPosition(ID, BOB, 1, null);
  const answers: ((conversation: Conversation | null) => void)[] = [];
  const slow = { ...store, conversation: () => new Promise<Conversation | null>((answer) => answers.push(answer)) };
  const states = createKnownStates(slow);
  const reads = [states.read(ID), states.read(ID)];
  const [first, second] = answers;
  const after = await store.conversation(ID);
  second?.(after);
  await reads[1];
  first?.(before);
  expect(await reads[0]).toEqual(after);
  expect(states.known(ID)).toEqual(after);
  await store.close();
});

test('fewer states are kept if last messages are long', async () => {
  const store = await openSqlite(':memory:');
  const states = createKnownStates(store);
  store.watch((wakeUp) => wakeUp && wakeUp.kind !== 'typing' && states.wake(wakeUp));
  const ids: ConversationId[] = [];
  for (let i = 0; i < 1500; i++) {
    const write = writeOf(`c${i}`, [ANN, BOB], 0, 1, { text: 'x'.repeat(10_000) });
    ids.push(write.conversation);
    await store.write(write);
  }
  const kept = ids.filter((id) => states.known(id)).length;
  expect(kept).toBeGreaterThan(500);
  expect(kept).toBeLessThan(1500);
  await store.close();
});

describe.runIf(replicaSet)('on a replica set', () => {
  test('an instance knows the writes and read positions of another as the store has them', async () => {
    const url = String(replicaSet).replace(/\/(?=\?|$)/, `/states-${randomUUID()}`);
    const stores = [await openMongo(url), await openMongo(url)];
    const [one, two] = stores.map(instance);
    if (!one || !two) throw new Error('both were just opened');
    await one.send(ANN);
    for (let i = 0; i < 30; i++) {
      // At the same time: each may be the one that has to decide again.
      await Promise.all([one.send(ANN), two.send(BOB), one.read(BOB), two.read(ANN)]);
      if (i % 5 === 0) await Promise.all([one.redact(i + 2), two.letIn(CAT), two.read(CAT)]);
    }
    await two.send(ANN);
    const [first] = stores;
    const truth = await first?.conversation(ID);
    for (const { states } of [one, two]) await expect.poll(() => states.known(ID)).toEqual(truth);
    await Promise.all(stores.map((store) => store.close()));
  });
});
