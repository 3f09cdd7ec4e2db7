import { once } from 'node:events';
import { expect, test } from 'vitest';
import { connectGraphql, connectLegacy, type GraphqlLine, type Line, post } from './support/clients.ts';
import { processes } from './support/process.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const SEND = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } } }';

const { start } = processes();

/** Sends one message after the other until the connection closes; returns the number of acknowledged ones. */
async function sendUntilClosed(line: GraphqlLine, configId: string): Promise<number> {
  const input = { to: { key: { configId, members: [ANN, BOB] } }, text: 'x' };
  for (let acknowledged = 0; ; acknowledged++)
    if (!(await line.run(SEND, { input }).catch(() => null))?.data) return acknowledged;
}

test('a drain serves for its delay, spreads the closes of 2,000 sockets, and answers what it accepted', async () => {
  const STORE_URL = 'sqlite:drain/kredichat.db';
  const { child, url, ws } = await start({ STORE_URL, DRAIN_DELAY_SECONDS: '2', DRAIN_SPREAD_SECONDS: '10' });
  const lines: Line[] = [];
  while (lines.length < 2000) {
    const open = (_: unknown, i: number) => (i % 2 ? connectLegacy(ws, ANN) : connectGraphql(ws, BOB));
    lines.push(...(await Promise.all(Array.from({ length: 100 }, open))));
  }
  const closes: { readonly line: number; readonly second: number }[] = [];
  const closing = lines.map(async (line, i) => {
    expect((await line.closed()).code).toBe(1001);
    closes.push({ line: i, second: Math.floor(performance.now() / 1000) });
  });
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await expect.poll(async () => (await fetch(`${url}/readyz`)).status, { interval: 10 }).toBe(503);
  const senders = await Promise.all(Array.from({ length: 10 }, () => connectGraphql(ws, ANN)));
  const sent = await Promise.all(senders.map((line, i) => sendUntilClosed(line, `c${i}`)));
  await Promise.all(closing);
  expect(await exit).toEqual([0, null]);

  const perSecond = new Map<number, number>();
  for (const { second } of closes) perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
  expect(Math.max(...perSecond.values())).toBeLessThanOrEqual(400);
  const ascending = closes.filter(({ line }, i) => line > (closes[i - 1]?.line ?? 0)).length;
  expect(Math.abs(ascending - 1000)).toBeLessThan(200);

  const { url: restarted } = await start({ STORE_URL });
  const { data } = await post(restarted, BOB, '{ chatList { nodes { configId lastSeq } } }');
  expect(sent.every((count) => count > 0)).toBe(true);
  const stored = data.chatList.nodes.map(({ configId, lastSeq }: Record<string, unknown>) => [configId, lastSeq]);
  expect(Object.fromEntries(stored)).toEqual(Object.fromEntries(sent.map((count, i) => [`c${i}`, count])));
});
