import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { MongoClient } from 'mongodb';
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import { openMongo } from '../../../src/store/mongo/mongo.ts';
import { processes } from '../../support/process.ts';
import { ANN, BOB, writeOf } from '../writes.ts';

const replicaSet = inject('replicaSet');
const freshUrl = () => String(replicaSet).replace(/\/(?=\?|$)/, `/store-${randomUUID()}`);
const MAJORITY = { writeConcern: { w: 'majority' } } as const;
const ORIGIN = { source: 'old.conversation/1/0', time: '2020-01-01T00:00:00', digest: '00' };
const { run } = processes();
const OLDER = { _id: 'other/7/0', version: '0.0.9', features: [] };

describe.runIf(replicaSet)('on a replica set', () => {
  test('a store registers its process, tells which share the database, and removes it when closed', async () => {
    const url = freshUrl();
    const onOpen = vi.fn();
    const one = await openMongo(url, undefined, onOpen);
    const two = await openMongo(url, undefined, onOpen);
    const own = { _id: expect.stringMatching(`^${hostname()}/${process.pid}/`), version: expect.any(String) };
    expect(onOpen.mock.calls).toEqual([[[own]], [[own, own]]]);
    await one.close();
    await two.close();
    await openMongo(url, undefined, onOpen).then((three) => three.close());
    expect(onOpen).toHaveBeenLastCalledWith([own]);
  });

  test('a server says at its start its version, and which instances share the store', async () => {
    const STORE_URL = freshUrl();
    const store = await openMongo(STORE_URL);
    const child = run({ STORE_URL, LOG_LEVEL: 'info' });
    let out = '';
    child.stdout?.on('data', (chunk) => (out += chunk));
    await expect.poll(() => out).toMatch(/^Kredichat \d+\.\d+\.\d+ listens on http:/m);
    const line = out.split('\n').find((text) => text.includes('instances on this store')) ?? '{}';
    expect(JSON.parse(line).instances).toEqual([
      { _id: expect.any(String), version: expect.any(String) },
      expect.anything(),
    ]);
    await store.close();
  });

  test('an instance stays live by heartbeats', async () => {
    const url = freshUrl();
    vi.useFakeTimers({ toFake: ['setInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const [store, client] = [await openMongo(url), await MongoClient.connect(url)];
    const instances = client.db(new URL(url).pathname.slice(1)).collection('instances');
    await instances.updateMany({}, { $set: { at: new Date(0) } }, MAJORITY);
    await vi.advanceTimersByTimeAsync(10_000);
    await expect.poll(() => instances.countDocuments({ at: { $gt: new Date(0) } })).toBe(1);
    await Promise.all([store.close(), client.close()]);
  });

  test('an origin is written only while every live instance knows origins', async () => {
    const url = freshUrl();
    const [store, client] = [await openMongo(url), await MongoClient.connect(url)];
    const instances = client.db(new URL(url).pathname.slice(1)).collection<{ _id: string }>('instances');
    const movedIn = (configId: string) => store.write(writeOf(configId, [ANN, BOB], 0, 1, { origin: ORIGIN }));
    const beatAt = (at: object) =>
      instances.updateOne({ _id: OLDER._id }, [{ $set: { ...OLDER, at } }], {
        upsert: true,
        writeConcern: { w: 'majority' },
      });
    expect(await movedIn('before')).toBe(true);
    await beatAt({ $subtract: ['$$NOW', 30_000] });
    await expect(movedIn('meanwhile')).rejects.toThrow(
      /^instance other\/7\/0 of version 0\.0\.9 would lose the origin/,
    );
    expect(await store.conversation(writeOf('meanwhile', [ANN, BOB], 0).conversation)).toBeNull();
    expect(await store.write(writeOf('sent here', [ANN, BOB], 0))).toBe(true);
    await beatAt({ $subtract: ['$$NOW', 61_000] });
    expect(await movedIn('after')).toBe(true);
    await Promise.all([store.close(), client.close()]);
  });
});
