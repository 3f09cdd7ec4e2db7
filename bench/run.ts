/**
 * Measures Kredichat beside references, in turn within each round, and prints medians, their ratios, and which goals
 * are met.
 *
 *     npm run bench -- [--quick] [--only sends|fanout|history|idle|search]
 *     npm run bench -- --store mongo [--quick] [--only sends|delivery|search]
 *
 * Ends with 1 when a server fails, or loses, repeats or reorders a message, but not when a goal is missed. All is on one machine: where clients take
 * what a server leaves them, neither is at its limit alone, and the server might do somewhat more.
 */
import { fork } from 'node:child_process';
import { closeSync, fsyncSync, openSync, statfsSync, writeSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Answer, Job, Load, Values } from './clients.ts';
import { type Mongo, startMongo } from './mongo.ts';
import { measureSearch } from './search.ts';
import { asPair, makeFolder, own, type RunningServer, removeFolder, sqliteServers, startServers } from './servers.ts';
import { type Effort, FULL, MEASUREMENTS, type Measurement, MONGO_MEASUREMENTS, QUICK } from './settings.ts';
import { align, judge, type Row, table } from './table.ts';

/** The whole run may take this long at most. */
const RUN_MS = 15 * 60_000;
/** A job may take this much longer than its load lasts. */
const JOB_MS = 60_000;
/** Between two jobs, for the server to clean up. */
const PAUSE_MS = 200;
/** Requests outstanding while a history is made. */
const FILL_WINDOW = 4;
/** The type `statfs` gives for a file system in memory on Linux. */
const TMPFS = 0x01021994;

// The exit handler in servers.ts ends the children and removes the folders.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
setTimeout(() => fail(new Error('took too long')), RUN_MS).unref();
try {
  const { values } = parseArgs({
    options: { quick: { type: 'boolean' }, only: { type: 'string' }, store: { type: 'string' } },
  });
  if (values.store !== undefined && values.store !== 'mongo') throw new Error('--store takes mongo');
  const all = values.store ? MONGO_MEASUREMENTS : MEASUREMENTS;
  const measurements = all.filter(({ part }) => values.only === undefined || values.only === part);
  const searches = values.only === undefined || values.only === 'search';
  if (measurements.length === 0 && !searches) {
    throw new Error(`--only takes one of ${[...new Set(all.map(({ part }) => part)), 'search'].join(', ')}`);
  }
  const mongo = values.store ? await startMongo(fail) : null;
  await run(values.quick ? QUICK : FULL, measurements, mongo);
  if (searches) console.log(await measureSearch(values.quick ?? false, mongo?.url('search') ?? null));
  await mongo?.stop();
  process.exit(0);
} catch (error) {
  fail(error);
}

function fail(error: unknown): never {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}

async function run(effort: Effort, measurements: readonly Measurement[], mongo: Mongo | null): Promise<void> {
  console.log(machine());
  console.log(
    `Rounds: ${effort.rounds}, values are their medians; ratios are Kredichat / reference; CPU in percent of one core. ${mongo?.note ?? "Only Kredichat's messages are durable."}`,
  );
  const begun = performance.now();
  const verdicts: string[][] = [];
  for (const part of new Set(measurements.map((measurement) => measurement.part))) {
    // New servers, so that a part measures the same whether others came before it or not.
    const started = await startServers(mongo?.servers(part) ?? sqliteServers(part), fail);
    const servers = part === 'delivery' ? asPair(started) : started;
    const clients = startClients();
    if (part === 'history') {
      for (const server of servers) {
        await clients.run(server, { kind: 'fill', messages: effort.historyMessages, window: FILL_WINDOW }, 0);
      }
    }
    for (const measurement of measurements) {
      if (measurement.part !== part) continue;
      const rows = await measure(measurement, servers, clients, effort);
      console.log(table(measurement, rows));
      verdicts.push(...judge(measurement, rows));
    }
    clients.stop();
    await Promise.all(servers.map((server) => server.stop()));
  }
  if (verdicts.length > 0) console.log(align('Goals of Kredichat', verdicts));
  console.log(`${Math.round((performance.now() - begun) / 1000)} s`);
}

/** Measures one thing on all servers. */
async function measure(
  { load, lasts = 'measureMs', once = false }: Measurement,
  servers: readonly RunningServer[],
  clients: Clients,
  effort: Effort,
): Promise<Row[]> {
  const results = servers.map((server) => ({ server, got: [] as Values[] }));
  if (effort.warmUpMs > 0 && !once) {
    for (const { server } of results) await clients.run(server, load, effort.warmUpMs);
  }
  for (let round = 0; round < (once ? 1 : effort.rounds); round++) {
    // Each round begins with another server, so that none is always measured right after the same one.
    const order = results.map((_, index) => results[(index + round) % results.length]);
    for (const entry of order) entry?.got.push(await clients.run(entry.server, load, effort[lasts]));
  }
  return results.map(({ server, got }) => ({
    name: server.target.name,
    values: Object.fromEntries(Object.keys(got[0] ?? {}).map((key) => [key, median(got.map((one) => one[key]))])),
  }));
}

function median(values: readonly (number | undefined)[]): number {
  const sorted = values.map((value) => value ?? Number.NaN).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}

interface Clients {
  /** Puts a load on a server; resolves with what was measured. */
  run(server: RunningServer, load: Load, ms: number): Promise<Values>;
  stop(): void;
}

/** Starts the process the load comes from. */
function startClients(): Clients {
  const file = fileURLToPath(new URL('clients.ts', import.meta.url));
  // Advanced, because JSON has no NaN.
  const clients = own(fork(file, { execArgv: ['--import', 'tsx'], serialization: 'advanced' }));
  let stopping = false;
  clients.once('exit', (code, signal) => {
    if (!stopping) fail(new Error(`the clients ended with ${signal ?? code}`));
  });
  return {
    async run({ target }, load, ms) {
      const job: Job = { target, load, ms };
      const answer = await new Promise<Answer>((resolve, reject) => {
        const late = setTimeout(() => resolve({ error: 'took too long' }), ms + JOB_MS);
        clients.once('message', (message: Answer) => {
          clearTimeout(late);
          resolve(message);
        });
        clients.send(job, (error) => {
          if (error) reject(error);
        });
      });
      // Also for a server that died to be noticed: that explains more than what its clients saw.
      await sleep(PAUSE_MS);
      if ('error' in answer) throw new Error(`${load.kind} on ${target.name}: ${answer.error}`);
      return answer.values;
    },
    stop() {
      stopping = true;
      clients.kill();
    },
  };
}

/** What the figures depend on beside the program. */
function machine(): string {
  const folder = makeFolder();
  const { type } = statfsSync(folder);
  const memory = type === TMPFS ? ', which is memory: TMPDIR names another folder' : '';
  const sync = `${syncMs(join(folder, 'sync')).toFixed(2)} ms per fsync in the temporary folder${memory}`;
  removeFolder(folder);
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `Node ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} cores, ${model}; ${sync}`;
}

/** The median time to make a small append durable: what bounds a durable send from below. */
function syncMs(file: string): number {
  const descriptor = openSync(file, 'w');
  const times = Array.from({ length: 50 }, () => {
    writeSync(descriptor, Buffer.alloc(4096));
    const from = performance.now();
    fsyncSync(descriptor);
    return performance.now() - from;
  });
  closeSync(descriptor);
  return median(times);
}
