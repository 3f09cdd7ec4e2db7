import { expect, test } from 'vitest';
import { noteText } from '../../src/record/checkpoints.ts';
import { ephemeralKeys } from '../../src/record/keys.ts';
import { rootAt } from '../../src/record/merkle.ts';
import { createRegistrar } from '../../src/record/registrar.ts';
import { parseCheckpoint } from '../../src/record/signed-note.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { ANN, writeOf } from '../store/writes.ts';

test('while changes never end, conversations are registered in turn and checkpoints signed', async () => {
  const memory = await openSqlite(':memory:');
  const configs = Array.from({ length: 250 }, (_, index) => `config ${index}`);
  let lastRev = 0;
  /** Adds a message to each conversation. */
  async function change(): Promise<void> {
    await Promise.all(configs.map((config) => memory.write(writeOf(config, [ANN], lastRev))));
    lastRev++;
  }
  const failures: unknown[] = [];
  const registered = new Set<string>();
  let steps = 0;
  const store: Store = {
    ...memory,
    async unregistered(limit) {
      if (++steps <= 4) await change();
      return memory.unregistered(limit);
    },
    async addToRegister(batch) {
      if (steps <= 4) for (const { conversation } of batch.registered) registered.add(conversation);
      return memory.addToRegister(batch);
    },
  };
  const registrar = createRegistrar({
    ...{ store, keys: ephemeralKeys('example.com/log'), publisher: null, clock: () => 1 },
    ...{ onError: (error) => failures.push(error), onFork: (error) => failures.push(error) },
  });
  await expect.poll(() => steps, { timeout: 30_000 }).toBeGreaterThanOrEqual(4);
  expect((await memory.register()).checkpoint).not.toBeNull();
  await expect.poll(() => registered.size, { timeout: 30_000 }).toBe(configs.length);
  await registrar.close();
  expect(await memory.unregistered(9)).toEqual([]);
  const { size, checkpoint } = await memory.register();
  const signed = parseCheckpoint(noteText(checkpoint ?? ''));
  expect(signed.size).toBe(size);
  expect(signed.root).toEqual(await rootAt((keys) => memory.tiles(null, keys), size));
  expect(failures).toEqual([]);
  await memory.close();
}, 70_000);
