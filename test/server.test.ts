import { once } from 'node:events';
import v8 from 'node:v8';
import vm from 'node:vm';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { openSqlite } from '../src/store/sqlite/sqlite.ts';
import { post } from './support/clients.ts';
import { startServer } from './support/server.ts';

/** Bytes that a closed server may leave behind, in code and caches of the process. */
const LEFT_BYTES = 500_000;

test('the longest drain leaves enough of the 9 s of a stop to close the store', async () => {
  let writing = () => {};
  const hangs = new Promise<void>((resolve) => (writing = resolve));
  const store = await openSqlite(':memory:');
  const write = () => {
    writing();
    return new Promise<boolean>(() => {});
  };
  const { server, ws } = await startServer({}, { store: { ...store, write, close: async () => {} } });
  // A send that is not stored, on a socket that does not answer its close.
  const socket = new WebSocket(`${ws}/graphql`, 'graphql-transport-ws');
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: 'Bearer ann@example.com' } }));
  await once(socket, 'message');
  const to = '{ key: { configId: "c", members: ["ann@example.com", "bob@example.com"] } }';
  const query = `mutation { sendMessage(input: { to: ${to}, text: "x" }) { deduplicated } }`;
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
  await hangs;
  socket.pause();
  socket.on('error', () => {});
  const begun = performance.now();
  await server.close();
  const took = performance.now() - begun;
  expect(took).toBeGreaterThan(4000);
  expect(took).toBeLessThan(5500);
  socket.terminate();
});

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
