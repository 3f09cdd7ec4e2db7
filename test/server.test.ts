import v8 from 'node:v8';
import vm from 'node:vm';
import { expect, test } from 'vitest';
import { post } from './support/clients.ts';
import { startServer } from './support/server.ts';

/** Bytes that a closed server may leave behind, in code and caches of the process. */
const LEFT_BYTES = 500_000;

test('closed servers are freed from memory', async () => {
  v8.setFlagsFromString('--expose-gc');
  const collect: () => void = vm.runInNewContext('gc');
  async function held(): Promise<number> {
    for (let i = 0; i < 20; i++) {
      let close = async () => {};
      const { url } = await startServer({}, { whenDone: (end) => (close = end) });
      await post(url, 'ann@example.com', '{ chatList { unreadTotal } }');
      await close();
    }
    // Twice: objects finalized in one collection are freed in the next.
    for (let i = 0; i < 2; i++) collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  }
  const before = await held();
  expect((await held()) - before).toBeLessThan(20 * LEFT_BYTES);
});
