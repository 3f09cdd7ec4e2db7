import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { connectLegacy, post } from './support/clients.ts';
import { freePort, processes } from './support/process.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];

const { run, start } = processes();

/** The processes of the workers, the oldest first. */
function workersOf({ pid }: ChildProcess): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return children.split(' ').filter(Boolean).map(Number);
}

describe.runIf(inject('replicaSet'))('three workers', () => {
  const freshStore = () => ({
    STORE_URL: inject('replicaSet')?.replace(/\/(?=\?|$)/, `/workers-${randomUUID()}`) ?? '',
  });

  /** Starts a server with three workers. */
  async function startThree() {
    // A port of its own is kept when no worker is left.
    const started = await start({ ...freshStore(), PORT: String(await freePort()) }, '--workers', '3');
    await expect.poll(() => workers(started.url)).toBe(3);
    return started;
  }

  /** Text of /metrics, over a connection of its own: workers take turns with connections. */
  async function metrics(url: string): Promise<string> {
    const [response] = await once(request(`${url}/metrics`, { agent: false }).end(), 'response');
    return String(Buffer.concat(await response.toArray()));
  }

  /** How many workers tell their numbers. */
  async function workers(url: string): Promise<number> {
    return Number(/^kredichat_workers (\d+)$/m.exec(await metrics(url))?.[1]);
  }

  test.each([0, 1, 2])('any of which is killed: %i is replaced, and the stop ends with 0', async (i) => {
    const { child, url } = await startThree();
    const killed = workersOf(child)[i] ?? 0;
    process.kill(killed, 'SIGKILL');
    await expect.poll(() => workersOf(child).includes(killed)).toBe(false);
    await expect.poll(() => workers(url)).toBe(3);
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await exit).toEqual([0, null]);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });

  test('end with 0 also when all are killed or one hangs', async () => {
    const { child } = await startThree();
    for (const pid of workersOf(child)) process.kill(pid, 'SIGKILL');
    await expect.poll(() => workersOf(child)).toEqual([]);
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await exit).toEqual([0, null]);

    const hanging = await startThree();
    process.kill(workersOf(hanging.child)[1] ?? 0, 'SIGSTOP');
    const end = once(hanging.child, 'exit');
    // As a terminal does: the primary and each worker get the signal.
    for (const pid of workersOf(hanging.child)) process.kill(pid, 'SIGINT');
    hanging.child.kill('SIGINT');
    expect(await end).toEqual([0, null]);
  });

  test('add up their metrics in every worker’s answer', async () => {
    const { child, url, ws } = await startThree();
    const lines = await Promise.all(Array.from({ length: 9 }, () => connectLegacy(ws, ANN)));
    const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } } }';
    for (let i = 0; i < 9; i++) {
      const to = { key: { configId: `c${i}`, members: [ANN, BOB] } };
      expect((await post(url, ANN, send, { input: { to, text: 'x' } })).errors).toBeUndefined();
    }
    for (let i = 0; i < 6; i++) {
      const text = await metrics(url);
      expect(text).toContain('\nkredichat_messages_sent_total 9\n');
      expect(text).toContain('\nkredichat_send_duration_seconds_count 9\n');
      expect(text).toContain('\nkredichat_connections{transport="legacy"} 9\n');
    }
    // One that hangs is left out.
    const hanging = workersOf(child)[0] ?? 0;
    process.kill(hanging, 'SIGSTOP');
    onTestFinished(() => void process.kill(hanging, 'SIGKILL'));
    const orLate = () => Promise.race([workers(url), delay(3000)]);
    await expect.poll(orLate).toBe(2);
    for (const line of lines) line.close();
  });
});

test('workers that cannot start end the process with 1, in one line', async () => {
  const STORE_URL = 'mongodb://127.0.0.1:1/kredichat?replicaSet=none';
  const child = run({ STORE_URL }, '--workers', '3');
  let errors = '';
  child.stderr?.on('data', (chunk) => {
    errors += chunk;
  });
  expect(await once(child, 'close')).toEqual([1, null]);
  expect(errors).toMatch(/^kredichat: STORE_URL: .*\n$/);
});
