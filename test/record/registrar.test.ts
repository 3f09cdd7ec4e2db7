import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findFork, noteText } from '../../src/record/checkpoints.ts';
import { createKey, ephemeralKeys, loadKeys, type RecordKeys } from '../../src/record/keys.ts';
import { rootAt } from '../../src/record/merkle.ts';
import { createPublisher } from '../../src/record/publisher.ts';
import { createRegistrar } from '../../src/record/registrar.ts';
import { openNote, parseCheckpoint } from '../../src/record/signed-note.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { ANN, BOB, message, writeOf, writeOn } from '../store/writes.ts';

const KEYS = ephemeralKeys('kredichat');

async function opened(): Promise<Store> {
  const store = await openSqlite(':memory:');
  onTestFinished(() => store.close());
  return store;
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'kredichat-record-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

/** Registers and signs what there is; gives the state before the end, and the errors. */
async function run(store: Store, keys: RecordKeys = KEYS, publish: string | null = null) {
  const errors: string[] = [];
  const report = (error: unknown) => void errors.push(String(error));
  const publisher = publish === null ? null : createPublisher(publish);
  const registrar = createRegistrar({ store, keys, publisher, clock: Date.now, onError: report, onFork: report });
  await expect.poll(async () => (await store.register()).size).toBeGreaterThan(0);
  await registrar.close();
  return { errors, state: registrar.state(), checkpoint: (await store.register()).checkpoint };
}

test('a conversation with a faulty log is left out and reported once; others are registered and signed', async () => {
  const store = await opened();
  const [faulty, sound] = [writeOf('a', [ANN, BOB], 0, 3), writeOf('b', [ANN, BOB], 0, 3)];
  for (const write of [faulty, sound]) await store.write(write);
  const broken: Store = {
    ...store,
    messages: async (id, from, to) =>
      (await store.messages(id, from, to)).filter(({ seq }) => id !== faulty.conversation || seq !== 2),
  };
  const { errors, state, checkpoint } = await run(broken);
  expect(errors).toEqual([`Error: ${faulty.conversation} cannot be registered: see \`kredichat check\``]);
  expect(state).toMatchObject({ faulty: 1, unsigned: 0, lagSeconds: 0 });
  expect(await store.leaves(0, 9)).toEqual([expect.stringContaining(`"H","${sound.conversation}",3,`)]);
  expect(checkpoint).toMatch(/^kredichat\n1\n/);
});

test('a new key signs what was signed before, also while nothing changes', async () => {
  const store = await opened();
  const files = ['old.pem', 'new.pem'].map((name) => join(folder(), name));
  for (const file of files) createKey(file);
  const [before, during] = [loadKeys(files.slice(0, 1), 'kredichat'), loadKeys([...files].reverse(), 'kredichat')];
  await store.write(writeOf('c', [ANN, BOB], 0));
  const published = folder();
  const { checkpoint: first } = await run(store, before, published);
  const { checkpoint, errors } = await run(store, during, published);
  expect(errors).toEqual([]);
  const signed = (note: string | null) =>
    openNote(
      note ?? '',
      during.signers.map(({ vkey }) => vkey),
    ).keys;
  expect([signed(first).length, signed(checkpoint).length]).toEqual([1, 2]);
  expect(readFileSync(join(published, 'checkpoint.txt'), 'utf8')).toBe(checkpoint);
});

test('a folder of checkpoints that is missing stops the signing, is reported once, and is not made anew', async () => {
  const store = await opened();
  const published = join(folder(), 'mounted');
  await store.write(writeOf('c', [ANN, BOB], 0));
  const { checkpoint } = await run(store, KEYS, published);
  renameSync(published, `${published}-away`);
  await store.write(writeOf('c', [ANN, BOB], 1));
  const away = await run(store, KEYS, published);
  expect(away.errors).toEqual([expect.stringContaining('ENOENT')]);
  expect(away.checkpoint).toBe(checkpoint);
  expect(await store.unregistered(9)).toEqual([]);
  renameSync(`${published}-away`, published);
  expect((await run(store, KEYS, published)).checkpoint).toMatch(/^kredichat\n2\n/);
});

test('no published checkpoint is replaced by another of its size', async () => {
  const published = folder();
  const publisher = createPublisher(published);
  for (const text of ['one', 'two', 'two', 'three']) await publisher.publish(text, 7);
  const [day = ''] = readdirSync(published).filter((name) => name !== 'checkpoint.txt');
  expect(readdirSync(join(published, day)).sort()).toEqual(['7-2.txt', '7-3.txt', '7.txt']);
  expect(readFileSync(join(published, day, '7.txt'), 'utf8')).toBe('one');
  expect(await publisher.newest(true)).toBe('three');
});

test('a register that contradicts the stored checkpoint is a fork, whatever an older folder says', async () => {
  const store = await opened();
  await store.write(writeOf('c', [ANN, BOB], 0));
  const older = folder();
  await run(store, KEYS, older);
  await store.write(writeOf('c', [ANN, BOB], 1));
  await run(store);
  const register = await store.register();
  const shorter = { ...register, size: 1 };
  expect((await findFork(store, shorter, createPublisher(older), 'kredichat'))?.error.message).toBe(
    'a checkpoint of 2 leaves was published, and the register has 1',
  );
  expect(await findFork(store, register, createPublisher(older), 'kredichat')).toBeNull();
  expect((await findFork(store, register, null, 'other'))?.error.message).toContain('RECORD_ORIGIN is other');
});

test('a conversation that is moved in is registered once it is complete', async () => {
  const store = await opened();
  await store.write({ ...writeOf('c', [ANN, BOB], 0), isPartial: true });
  expect(await store.unregistered(9)).toEqual([]);
  const { conversation: id } = writeOf('c', [ANN, BOB], 0);
  await store.write(writeOn({ id, lastRev: 1 }, { messages: [message(id, 2)], isPartial: true }));
  expect(await store.unregistered(9)).toEqual([]);
  await store.write(writeOn({ id, lastRev: 2 }, { messages: [message(id, 3)] }));
  expect(await store.unregistered(9)).toMatchObject([{ state: { lastRev: 3 }, registeredRev: 0 }]);
});
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
