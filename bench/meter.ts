import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Values } from './clients.ts';
import type { Target } from './servers.ts';

/** A tick of /proc in milliseconds: USER_HZ is 100 on every Linux architecture Node runs on. */
const TICK_MS = 10;
/** Makes a server collect its garbage, see servers.ts. */
export const COLLECT_SIGNAL = 'SIGUSR2';
/** What a process may take to collect its garbage and give it back, in milliseconds. */
const COLLECT_MS = 1000;

/** CPU time since the start, in milliseconds: of a server by thread, of its database, and of this process. */
interface Reading {
  readonly at: number;
  readonly threads: readonly ReadonlyMap<number, number>[];
  readonly mongod: number;
  readonly clients: number;
  readonly machine: number;
}

/** What was spent while it was measured, in milliseconds. */
export interface Usage {
  readonly ms: number;
  /**
   * The server's main thread, the busiest of its others (with SQLite the writer's), and all others (most of it
   * garbage).
   */
  readonly main: number;
  readonly second: number;
  readonly others: number;
  /** NaN where there is none. */
  readonly mongod: number;
  readonly clients: number;
  /** All other processes of the machine. */
  readonly elsewhere: number;
}

/** Starts to measure; what it returns says what was spent since. */
export function startMeter(target: Target): () => Usage {
  const from = read(target);
  return () => {
    const to = read(target);
    const usage = { ms: to.at - from.at, main: 0, second: 0, others: 0 };
    target.pids.forEach((pid, index) => {
      const before = from.threads[index];
      const spent = [...(to.threads[index] ?? [])].map(([id, cpu]) => ({ id, cpu: cpu - (before?.get(id) ?? 0) }));
      const [second = 0, ...others] = spent
        .filter(({ id }) => id !== pid)
        .map(({ cpu }) => cpu)
        .sort((a, b) => b - a);
      usage.main += spent.find(({ id }) => id === pid)?.cpu ?? Number.NaN;
      usage.second += second;
      usage.others += sum(others);
    });
    const [mongod, clients] = [to.mongod - from.mongod, to.clients - from.clients];
    const ours = usage.main + usage.second + usage.others + (mongod || 0) + clients;
    return { ...usage, mongod, clients, elsewhere: Math.max(0, to.machine - from.machine - ours) };
  };
}

/**
 * CPU microseconds for each of so many operations, and how busy this process and others were, in percent of one core.
 */
export function perOperation(
  { ms, main, second, others, mongod, clients, elsewhere }: Usage,
  operations: number,
): Values {
  const us = (cpu: number) => (cpu * 1000) / operations;
  const cpu = { cpuUs: us(main + second + others), mainUs: us(main), secondUs: us(second), othersUs: us(others) };
  return { ...cpu, mongodUs: us(mongod), clientsCpu: (clients / ms) * 100, elsewhereCpu: (elsewhere / ms) * 100 };
}

function read({ pids, mongodPid }: Target): Reading {
  const { user, system } = process.cpuUsage();
  return {
    at: performance.now(),
    threads: pids.map(threadsOf),
    mongod: mongodPid === null ? Number.NaN : sum(threadsOf(mongodPid).values()),
    clients: (user + system) / 1000,
    machine: machineCpu(),
  };
}

/** What each thread of a process has spent. Those that have ended are missing: none do while a load lasts. */
function threadsOf(pid: number): Map<number, number> {
  if (process.platform !== 'linux') return new Map();
  return new Map(readdirSync(`/proc/${pid}/task`).map((id) => [Number(id), cpuOf(`${pid}/task/${id}`)]));
}

/** Fields utime and stime of the stat file (proc(5)). */
function cpuOf(path: string): number {
  const stat = readProc(`${path}/stat`);
  // The second field, the name in brackets, may hold blanks.
  const [utime = Number.NaN, stime = Number.NaN] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return (utime + stime) * TICK_MS;
}

/** What all processes have spent: the first line of /proc/stat, but for what is idle or waits. */
function machineCpu(): number {
  const [user = Number.NaN, nice = 0, system = 0, , , irq = 0, softirq = 0] = readProc('stat')
    .split(/\s+/, 8)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq) * TICK_MS;
}

/** Resident memory of a server, in megabytes. */
export function residentMb({ pids }: Target): number {
  return sum(pids.map((pid) => statusOf(pid, 'VmRSS') / 1024));
}

/** Memory of its own that a server holds once it has collected its garbage, in bytes. */
export async function heldBytes({ pids }: Target): Promise<number> {
  // Twice, because what has a finalizer goes only the second time.
  for (let n = 0; n < 2; n++) {
    for (const pid of pids) process.kill(pid, COLLECT_SIGNAL);
    await sleep(COLLECT_MS);
  }
  return sum(pids.map((pid) => statusOf(pid, 'RssAnon') * 1024));
}

/** A field of /proc/PID/status in kibibytes; NaN where the system does not tell. */
function statusOf(pid: number, field: string): number {
  return Number(new RegExp(`${field}:\\s*(\\d+) kB`).exec(readProc(`${pid}/status`))?.[1]);
}

function readProc(path: string): string {
  return process.platform === 'linux' ? readFileSync(`/proc/${path}`, 'utf8') : '';
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** p50 and p99 of latencies, which are sorted in place; a prefix tells them from others. */
export function percentiles(latencies: number[], prefix = ''): Values {
  latencies.sort((a, b) => a - b);
  return { [`${prefix}p50`]: percentile(latencies, 0.5), [`${prefix}p99`]: percentile(latencies, 0.99) };
}

/** The value that the given share of them does not exceed. `sorted` is ascending. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}
