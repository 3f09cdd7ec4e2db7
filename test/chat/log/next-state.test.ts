import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createAppender } from '../../../src/chat/log/appender.ts';
import type { Command } from '../../../src/chat/log/command.ts';
import { createKnownStates } from '../../../src/chat/log/known-states.ts';
import { conversationId, countsAsUnread, NO_OPTIONS } from '../../../src/model.ts';
import { createMetrics } from '../../../src/observability/metrics.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { ANN, BOB, CAT, FIRST_TEXTS } from '../../store/writes.ts';

const KEY = { configId: 'c', members: [ANN, BOB] };

test('the state predicted for a batch equals the state in the store, and is known without a read', async () => {
  const who = fc.constantFrom(ANN, BOB, CAT);
  const intent = fc.oneof(
    fc.record({ kind: fc.constant('send' as const), by: who, count: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant('redact' as const), by: who, seq: fc.integer({ min: 1, max: 12 }) }),
    fc.record({ kind: fc.constantFrom('add' as const, 'remove' as const), by: who, whom: who }),
    fc.record({ kind: fc.constant('status' as const), by: who }),
  );
  const batch = fc.record({ intents: fc.array(intent, { minLength: 1, maxLength: 8 }), reader: who, archives: who });
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { maxLength: 5 }), async (batches) => {
      const store = await openSqlite(':memory:');
      const states = createKnownStates(store);
      const appender = createAppender(
        store,
        states,
        () => 1000,
        createMetrics(),
        () => {},
        FIRST_TEXTS,
      );
      const id = conversationId(KEY);
      store.watch((wakeUp) => wakeUp && wakeUp.kind !== 'typing' && states.wake(wakeUp));
      for (const { intents, reader, archives } of batches) {
        const decided = await Promise.allSettled(
          intents.map((one) => {
            const about = { conversation: id, viewer: { email: one.by, role: 'BANK' as const } };
            const lists = { addLabels: [], removeLabels: [], addMembers: [], removeMembers: [] };
            const same = { status: null, assignee: undefined, ...lists };
            const draft = { text: 'x', ...NO_OPTIONS };
            const opening = one.by === CAT ? null : { ...KEY, subject: null, party: null };
            const command: Command =
              one.kind === 'send'
                ? { ...about, kind: 'send', opening, drafts: Array.from({ length: one.count }, () => draft) }
                : one.kind === 'redact'
                  ? { ...about, kind: 'redact', seq: one.seq, reason: 'x' }
                  : one.kind === 'status'
                    ? { ...about, kind: 'update', ...same, status: 'RESOLVED' }
                    : { ...about, kind: 'update', ...same, [`${one.kind}Members`]: [one.whom] };
            return appender.write(command);
          }),
        );
        const state = await store.conversation(id);
        for (const outcome of decided) {
          if (outcome.status === 'fulfilled') expect(outcome.value.conversation).toEqual(state);
        }
        expect(states.known(id)).toEqual(state);
        const counting = (await store.messages(id, 1, state?.lastSeq ?? 0)).filter(countsAsUnread);
        for (const { email, readSeq, sent, seen } of state?.members.values() ?? []) {
          const others = counting.filter(({ sender }) => sender !== email);
          const expected = [counting.length - others.length, others.filter(({ seq }) => seq <= readSeq).length];
          expect([sent, seen]).toEqual(expected);
        }
        if (state) await store.advanceReadPosition(id, reader, state.lastSeq, null);
        expect(states.known(id)).toEqual(await store.conversation(id));
        await store.setView(id, archives, { archived: true });
      }
      await store.close();
    }),
    { numRuns: 200 },
  );
});
