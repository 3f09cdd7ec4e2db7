/**
 * Measures Kredichat beside references, in turn within each round, and prints medians, their ratios, CPU time for each
 * operation, and which goals are met.
 *
 * npm run bench -- [--quick] [--store mongo] [--only PART]... [--beside FOLDER]
 *
 * PART is one of those in settings.ts, or `search`. FOLDER is another checkout, built, to be compared with. Ends with 1
 * when a server fails, or loses, repeats or reorders a message, but not when a goal is missed. All is on one machine:
 * where clients take what a server leaves them, neither is at its limit alone, and the server might do somewhat more.
 */
import { fork } from 'node:child_process';
import { closeSync, fsyncSync, openSync, statfsSync, writeSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Answer, Job, Load, Values } from './clients.ts';
import { median } from './meter.ts';
import { startMongo } from './mongo.ts';
import { measureSearch } from './search.ts';
import {
  makeFolder,
  own,
  type RunningServer,
  removeFolder,
  type ServerName,
  type StartOptions,
  startServer,
} from './servers.ts';
import { type Measurement, measurements } from './settings.ts';
import { align, judge, type Row, table } from './table.ts';

/** The whole run may take this long at most. */
const RUN_MS = 25 * 60_000;
/** A job may take this much longer than its load lasts: it prepares, and a ramp has several rates. */
const JOB_MS = 5 * 60_000;
/** Between two jobs, for the server to clean up. */
const PAUSE_MS = 200;
/** The type `statfs` gives for a file system in memory on Linux. */
const TMPFS = 0x01021994;

// The exit handler in servers.ts ends the children and removes the folders.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
setTimeout(() => fail(new Error('took too long')), RUN_MS).unref();
try {
  const { values } = parseArgs({
    options: {
      ...{
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true },
        store: { type: 'string' },
      },
      beside: { type: 'string' },
    },
  });
  const { quick, only, beside: anotherBuild } = values;
  if (values.store !== undefined && values.store !== 'mongo') throw new Error('--store takes mongo');
  const all = measurements(values.store ?? 'sqlite', quick);
  const wanted = all.filter(({ part }) => !only || only.includes(part));
  const searches = !only || only.includes('search');
  if (wanted.length === 0 && !searches) {
    throw new Error(`--only takes one of ${[...new Set(all.map(({ part }) => part)), 'search'].join(', ')}`);
  }
  const mongo = values.store ? await startMongo(fail) : null;
  console.log(machine());
  console.log(
    `Values are medians of the rounds; ratios are of the last row to the others. ` +
      `${mongo?.note ?? "Only Kredichat's messages are durable."}`,
  );
  await run(wanted, { mongo, anotherBuild, died: fail });
  if (searches) console.log(await measureSearch(quick, mongo?.url('search') ?? null));
  await mongo?.stop();
  process.exit(0);
} catch (error) {
  fail(error);
}

function fail(error: unknown): never {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}

async function run(wanted: readonly Measurement[], options: StartOptions): Promise<void> {
  const begun = performance.now();
  const verdicts: string[][] = [];
  for (const part of new Set(wanted.map((measurement) => measurement.part))) {
    const ofPart = wanted.filter((measurement) => measurement.part === part);
    // New servers, so that a part measures the same whether others came before it or not.
    const servers = new Map<ServerName, RunningServer>();
    for (const name of new Set(ofPart.flatMap(serversOf))) servers.set(name, await startServer(name, options));
    const clients = startClients();
    for (const measurement of ofPart) {
      const rows = await measure(
        measurement,
        serversOf(measurement).flatMap((name) => servers.get(name) ?? []),
        clients,
      );
      console.log(table(measurement, rows));
      verdicts.push(...judge(measurement, rows));
    }
    clients.stop();
    await Promise.all([...servers.values()].map((server) => server.stop()));
  }
  if (verdicts.length > 0) console.log(align('Goals of Kredichat', verdicts));
  console.log(`${Math.round((performance.now() - begun) / 1000)} s`);

  function serversOf({ servers }: Measurement): readonly ServerName[] {
    return options.anotherBuild === undefined
      ? servers
      : [...servers.slice(0, -1), 'another build', ...servers.slice(-1)];
  }
}

/** Measures one thing on all servers. */
async function measure(measurement: Measurement, servers: readonly RunningServer[], clients: Clients): Promise<Row[]> {
  const { load, rounds, warmUpMs, ms, referenceMs = ms } = measurement;
  const results = servers.map((server) => ({ server, got: [] as Values[] }));
  if (warmUpMs > 0) for (const { server } of results) await clients.run(server, load, warmUpMs);
  for (let round = 0; round < rounds; round++) {
    // Each round begins with another server, so that none is always measured right after the same one.
    const order = results.map((_, index) => results[(index + round) % results.length]);
    for (const entry of order) {
      const time = entry?.server.target.dialect === 'kredichat' ? ms : referenceMs;
      entry?.got.push(await clients.run(entry.server, load, time));
    }
  }
  return results.map(({ server, got }) => ({
    name: server.target.name,
    values: Object.fromEntries(
      Object.keys(got[0] ?? {}).map((key) => [key, median(got.map((one) => one[key] ?? Number.NaN))]),
    ),
  }));
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
  const machine = `${process.platform} ${process.arch}, ${availableParallelism()} cores, ${model}`;
  return `Node ${process.version}, ${machine}; ${sync}`;
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
