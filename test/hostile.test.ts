import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startHonest } from './support/chat-load.ts';
import { processes } from './support/process.ts';

/** Duration of the measured attack; a shorter one before it fills the caches. */
const SECONDS = Number(process.env.HOSTILE_SECONDS ?? 15);
const WARM_UP_SECONDS = Math.max(10, SECONDS / 4);
const PAIRS = 25;
const ATTACKERS = join(import.meta.dirname, 'support/attackers.ts');
/** Loaded into the server: collects garbage on request, and reports the end. */
const COLLECTOR = `import v8 from 'node:v8';
import vm from 'node:vm';
v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');
process.on('SIGUSR2', () => { collect(); process.stderr.write('collected'); });`;

const { start } = processes();

/** The attack, from a process of its own; those named, or all. */
async function attack(url: string, seconds: number): Promise<void> {
  const only = process.env.HOSTILE_ATTACKS?.split(',') ?? [];
  const args = ['--import', 'tsx', ATTACKERS, url, String(seconds), ...only];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
}

async function metric(url: string, ...names: string[]): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const value = (name: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.slice(name.length),
    );
  return names.reduce((sum, name) => sum + value(name), 0);
}

/** Bytes that the server holds on to, once the attackers are gone. */
async function memory(child: ChildProcess, url: string): Promise<{ held: number; resident: number }> {
  await expect.poll(() => metric(url, 'kredichat_connections{transport="graphql-ws"}')).toBe(PAIRS);
  await expect.poll(() => metric(url, 'kredichat_connections{transport="legacy"}')).toBe(PAIRS);
  // Twice: objects finalized in one collection are freed in the next.
  for (let i = 0; i < 2; i++) {
    const collected = once(child.stderr as NonNullable<ChildProcess['stderr']>, 'data');
    child.kill('SIGUSR2');
    await collected;
  }
  const held = await metric(url, 'nodejs_heap_size_used_bytes', 'nodejs_external_memory_bytes');
  return { held, resident: await metric(url, 'process_resident_memory_bytes') };
}

const quantile = (values: readonly number[], part: number) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length * part)]?.toFixed(0);
const describeTimes = (values: readonly number[]) =>
  `p50 ${quantile(values, 0.5)} ms, p99 ${quantile(values, 0.99)} ms, longest ${quantile(values, 1 - 1e-9)} ms`;
const megabytes = ({ held, resident }: { held: number; resident: number }) =>
  `${(held / 1e6).toFixed(1)} MB held, ${(resident / 1e6).toFixed(0)} MB resident`;

test('hostile clients of every kind do not keep users from chatting, and leave no memory or sockets behind', {
  timeout: 1000 * (SECONDS + WARM_UP_SECONDS) + 300_000,
}, async () => {
  const { child, url, ws } = await start({
    STORE_URL: 'sqlite:hostile/kredichat.db',
    // Unset, so that the attack meets the defaults.
    RATE_LIMIT_MESSAGES: '',
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(COLLECTOR)}`,
  });
  const honest = await startHonest({ url, ws }, PAIRS);
  await attack(url, WARM_UP_SECONDS);
  const before = await memory(child, url);
  for (const times of [honest.deliveries, honest.acknowledgements]) times.length = 0;
  await attack(url, SECONDS);
  const after = await memory(child, url);
  console.log(
    `delivery: ${describeTimes(honest.deliveries)}; acknowledgement: ${describeTimes(honest.acknowledgements)}`,
  );
  console.log(`memory: ${megabytes(before)} after the warm-up, ${megabytes(after)} after the attack`);
  await honest.stop();
  expect(after.held).toBeLessThan(before.held * 1.1);

  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  expect((await exit)[0]).toBe(0);
  for (const line of honest.lines) expect((await line.closed()).code).toBe(1001);
});
