import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '../../src/observability/logger.ts';
import { createOutages } from '../../src/store/outages.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { type Store, StoreUnavailable } from '../../src/store/store.ts';
import { ANN, BOB, writeOf } from './writes.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

/** A store in memory that can be made to fail or to hang, and the lines that tell of it. */
async function failing() {
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line).msg) });
  const memory = await openSqlite(':memory:');
  let fault: 'none' | 'fails' | 'hangs' = 'none';
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    if (fault === 'hangs') return new Promise(() => {});
    if (fault === 'fails') throw new StoreUnavailable(true, new Error('SQLITE_FULL: no room'));
    return work();
  };
  const store: Store = {
    ...memory,
    write: (write) => call(() => memory.write(write)),
    ping: () => call(memory.ping),
    search: (...query) => call(() => memory.search(...query)),
  };
  const availability: boolean[] = [];
  const outages = createOutages(logger, (available) => void availability.push(available));
  const watched = outages.watch(store);
  const send = (configId: string) => watched.write(writeOf(configId, [ANN, BOB], 0)).catch(() => false);
  const set = (next: typeof fault) => {
    fault = next;
  };
  return { lines, availability, watched, send, set, report: outages.report };
}

test('an outage has one log line at its begin, which names the cause, and one at its end', async () => {
  const { lines, availability, watched, send, set, report } = await failing();
  expect(await send('c1')).toBe(true);
  expect(lines).toEqual([]);
  set('fails');
  for (let i = 0; i < 10; i++) {
    await send('c2');
    report(new Error('the change stream broke'));
    await vi.advanceTimersByTimeAsync(1000);
  }
  expect(lines).toEqual(['the store is unavailable: SQLITE_FULL: no room']);
  expect(availability).toEqual([false]);
  set('none');
  expect(await send('c3')).toBe(true);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(lines.slice(1)).toEqual(['the store is available again']);
  expect(availability).toEqual([false, true]);
  set('fails');
  await send('c4');
  expect(lines.slice(2)).toEqual(['the store is unavailable: SQLITE_FULL: no room']);
  await watched.close();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(lines).toHaveLength(3);
});

test('a store that does not answer in time is an outage, a search that is given up is not', async () => {
  const { lines, watched, set } = await failing();
  set('fails');
  await expect(watched.search(ANN, { terms: [] } as never, {} as never)).rejects.toThrow(StoreUnavailable);
  expect(lines).toEqual([]);
  set('hangs');
  void watched.ping();
  await vi.advanceTimersByTimeAsync(4000);
  expect(lines).toEqual(['the store is unavailable: no answer within 4000 ms']);
});
