import { expect, test } from 'vitest';
import { singleFlight } from '../../src/chat/single-flight.ts';

test('callers during a run share the next one, which begins after their calls, even if the first fails', async () => {
  const runs: PromiseWithResolvers[] = [];
  const ask = singleFlight(() => {
    const run = promiseWithResolvers();
    runs.push(run);
    return run.promise;
  });
  const first = ask();
  const others = [ask(), ask(), ask()];
  expect(runs).toHaveLength(1);
  runs[0]?.reject(new Error('away'));
  await expect(first).rejects.toThrow('away');
  await expect.poll(() => runs).toHaveLength(2);
  runs[1]?.resolve();
  await Promise.all(others);
  const later = ask();
  expect(runs).toHaveLength(3);
  runs[2]?.resolve();
  await later;
});

interface PromiseWithResolvers {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

function promiseWithResolvers(): PromiseWithResolvers {
  let resolve = (): void => {};
  let reject = (_: Error): void => {};
  const promise = new Promise<void>((onDone, onFailure) => {
    resolve = onDone;
    reject = onFailure;
  });
  return { promise, resolve, reject };
}
