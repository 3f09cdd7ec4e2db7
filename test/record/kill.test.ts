import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { fork } from '../../src/commands/record.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { noteText } from '../../src/record/checkpoints.ts';
import { loadKeys, type RecordKeys } from '../../src/record/keys.ts';
import { consistencyAt, verifyConsistency } from '../../src/record/merkle.ts';
import { createPublisher, type Publisher } from '../../src/record/publisher.ts';
import { createRegistrar } from '../../src/record/registrar.ts';
import { parseCheckpoint } from '../../src/record/signed-note.ts';
import type { Store } from '../../src/store/store.ts';
import { ANN, BOB, writeOf } from '../store/writes.ts';
import { configOf, faultsOf, KINDS, type Rig, replicaSet, rigOf, serve } from './rig.ts';

const directory = mkdtempSync(join(tmpdir(), 'kredichat-kill-'));
afterAll(() => rmSync(directory, { recursive: true }));
const [FIRST, SECOND] = ['c', 'd'].map((configId) => writeOf(configId, [ANN, BOB], 0).conversation);

function recordOf(rig: Rig): { keys: RecordKeys; publisher: Publisher } {
  const { record } = configOf(rig);
  return { keys: loadKeys(record.keyFiles, record.origin), publisher: createPublisher(String(record.publish)) };
}

/** A port that ends as a killed process does: at a call, before or after it is carried out, it answers no more. */
function endingAt(at: number, when: 'before' | 'after') {
  let [calls, dead] = [0, false];
  const never = () => new Promise<never>(() => {});
  const wrap = <Port extends object>(port: Port): Port => {
    const wrapped = Object.entries(port).map(([name, call]) => [
      name,
      async (...args: unknown[]) => {
        if (dead) return never();
        const isLast = ++calls === at;
        dead = isLast && when === 'before';
        if (dead) return never();
        const result: unknown = await call(...args);
        if (!isLast) return result;
        dead = true;
        return never();
      },
    ]);
    return Object.fromEntries(wrapped);
  };
  return { wrap, isDead: () => dead };
}

const fail = (error: unknown) => expect.unreachable(String(error));
const registrarOn = (store: Store, { keys, publisher }: ReturnType<typeof recordOf>) =>
  createRegistrar({ store, keys, publisher, clock: Date.now, onError: fail, onFork: fail });

/** New messages in two conversations, and a read position that moves. */
async function change(store: Store): Promise<void> {
  for (const configId of ['c', 'd']) {
    const { conversation } = writeOf(configId, [ANN, BOB], 0);
    const { lastRev = 0 } = (await store.conversation(conversation)) ?? {};
    await store.write(writeOf(configId, [ANN, BOB], lastRev));
    await store.advanceReadPosition(conversation, BOB, lastRev + 1, null);
  }
}

/** Checks that the register is dense, with nothing twice and nothing missed, and that each checkpoint goes on. */
async function expectSound(rig: Rig, store: Store): Promise<void> {
  const { size, checkpoint } = await store.register();
  const leaves = await store.leaves(0, size + 9);
  expect(leaves).toHaveLength(size);
  expect(new Set(leaves).size).toBe(size);
  const newest = new Map<string, number>();
  for (const leaf of leaves) {
    const [, kind, id, rev, reads] = JSON.parse(leaf);
    const moves: [string, number][] =
      kind === 'H'
        ? [[id, rev]]
        : kind === 'R'
          ? reads.map(([email, seq]: [string, number]) => [`${id} ${email}`, seq])
          : [];
    for (const [key, to] of moves) {
      expect(to, leaf).toBeGreaterThan(newest.get(key) ?? 0);
      newest.set(key, to);
    }
  }
  for (const id of [FIRST, SECOND]) {
    const state = id && (await store.conversation(id));
    expect(newest.get(String(id))).toBe(state?.lastRev);
    expect(newest.get(`${id} ${BOB}`)).toBe(state?.members.get(BOB)?.readSeq);
  }
  expect([await store.unregistered(9), await store.unsealed(9)]).toEqual([[], []]);
  expect(parseCheckpoint(noteText(checkpoint ?? '')).size).toBe(size);
  const folder = String(configOf(rig).record.publish);
  const days = readdirSync(folder).filter((name) => name !== 'checkpoint.txt');
  const published = days
    .flatMap((day) => readdirSync(join(folder, day)).map((name) => readFileSync(join(folder, day, name), 'utf8')))
    .map((note) => parseCheckpoint(noteText(note)))
    .sort((a, b) => a.size - b.size);
  expect(published.length).toBeGreaterThan(0);
  for (const [i, one] of published.entries()) {
    const next = published[i + 1];
    if (!next) break;
    const path = await consistencyAt((keys) => store.tiles(null, keys), one.size, next.size);
    expect(verifyConsistency(one.size, one.root, next.size, next.root, path)).toBe(true);
  }
}

describe.each(KINDS)('the record on %s', (kind) => {
  const isSkipped = kind === 'mongodb' && !replicaSet;

  test.skipIf(isSkipped)(
    'is sound however a registrar ends, at each of its calls',
    async () => {
      const rig = rigOf(kind, directory);
      const store = await rig.open();
      onTestFinished(() => store.close());
      const record = recordOf(rig);
      let killed = 0;
      for (let at = 1, isOver = false; !isOver; at++) {
        for (const when of ['before', 'after'] as const) {
          await change(store);
          const { wrap, isDead } = endingAt(at, when);
          // The lease of a killed process ends in time; here none is kept.
          const registrar = registrarOn(wrap({ ...store, takeLease: async () => true }), {
            ...record,
            publisher: wrap(record.publisher),
          });
          const isSigned = async () => {
            const { size, checkpoint } = await store.register();
            const isWaiting = (await store.unregistered(1)).length > 0 || (await store.unsealed(1)).length > 0;
            return !isWaiting && checkpoint !== null && parseCheckpoint(noteText(checkpoint)).size === size;
          };
          while (!isDead() && !(await isSigned())) await setTimeout(5);
          if (isDead()) killed++;
          else {
            await registrar.close();
            isOver = true;
          }
        }
      }
      expect(killed).toBeGreaterThan(30);
      const last = registrarOn({ ...store, takeLease: async () => true }, record);
      await last.close();
      await expectSound(rig, store);
      await store.close();
      expect(await faultsOf(rig)).toEqual([]);
    },
    120_000,
  );

  test.skipIf(isSkipped)(
    'is sound while two registrars work at once, as if neither saw the lease',
    async () => {
      const rig = rigOf(kind, directory);
      const stores = await Promise.all(kind === 'mongodb' ? [rig.open(), rig.open()] : [rig.open()]);
      const [one, two = one] = stores as [Store, Store?];
      onTestFinished(async () => void (await Promise.all(stores.map((store) => store.close()))));
      const record = recordOf(rig);
      const registrars = [one, two].map((store) => registrarOn({ ...store, takeLease: async () => true }, record));
      for (const end = performance.now() + 3000; performance.now() < end; ) await change(one);
      await Promise.all(registrars.map((registrar) => registrar.close()));
      await registrarOn({ ...one, takeLease: async () => true }, record).close();
      await expectSound(rig, one);
    },
    60_000,
  );

  test.skipIf(isSkipped)(
    'of a restored backup is signed again once the fork is declared, and not before',
    async () => {
      const rig = rigOf(kind, directory);
      const first = await serve(rig);
      await first.chat.open('c', [ANN, BOB], 'one');
      await first.stop();
      const older = await rig.copy();
      const next = await serve(rig);
      next.chat.ids.set('c', String(FIRST));
      await next.chat.say('c', BOB, ['two']);
      await next.stop();

      const lines: string[] = [];
      const logger = createLogger('error', { write: (line: string) => void lines.push(line) });
      const restored = await serve(older, { logger });
      await expect
        .poll(() => lines.join())
        .toContain('the record is not signed: a checkpoint of 2 leaves was published');
      restored.chat.ids.set('c', String(FIRST));
      await restored.chat.say('c', BOB, ['after the restore']);
      const metrics = await (await fetch(`${restored.url}/metrics`)).text();
      expect(metrics).toContain('kredichat_record_forked 1\n');
      expect((await fetch(`${restored.url}/readyz`)).status).toBe(200);
      await restored.stop();
      expect(lines).toHaveLength(1);
      expect((await faultsOf(older)).join()).toContain('the register: ');

      const index = await fork(configOf(older), 'the disk was lost');
      await expect(fork(configOf(older), 'again')).rejects.toThrow('there is nothing to give up');
      const forked = await serve(older);
      await forked.chat.open('d', [ANN, BOB], 'one');
      await forked.stop();
      const store = await older.open();
      onTestFinished(() => store.close());
      expect((await store.leaves(index, index + 1))[0]).toBe('[1,"F","the disk was lost"]');
      const { size, checkpoint } = await store.register();
      expect(parseCheckpoint(noteText(checkpoint ?? '')).size).toBe(size);
      await store.close();
      expect(await faultsOf(older)).toEqual([]);
    },
    60_000,
  );
});
