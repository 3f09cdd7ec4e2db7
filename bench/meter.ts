import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a measurement took, and the CPU time spent in it, in percent of one core; NaN where the system does not tell. */
interface Usage {
  readonly ms: number;
  readonly serverCpu: number;
  readonly clientsCpu: number;
}

/** A tick of /proc in milliseconds: USER_HZ is 100 on every Linux architecture Node runs on. */
const TICK_MS = 10;
/** Makes a server collect its garbage, see servers.ts. */
export const COLLECT_SIGNAL = 'SIGUSR2';
/** What a process may take to collect its garbage and give it back, in milliseconds. */
const COLLECT_MS = 1000;

/** Starts to measure time, and what CPU this process and those with the given ids spend in it; what it returns stops that. */
export function startMeter(serverPids: readonly number[]): () => Usage {
  const from = read(serverPids);
  return () => {
    const to = read(serverPids);
    const ms = to.at - from.at;
    return {
      ms,
      serverCpu: ((to.server - from.server) / ms) * 100,
      clientsCpu: ((to.clients - from.clients) / ms) * 100,
    };
  };
}

/** The time, and the CPU time since the processes started, in milliseconds. */
function read(serverPids: readonly number[]) {
  const { user, system } = process.cpuUsage();
  return { at: performance.now(), server: sum(serverPids.map(cpuOf)), clients: (user + system) / 1000 };
}

/** Fields utime and stime of /proc/PID/stat (proc(5)), which count all threads of the process. */
function cpuOf(pid: number): number {
  const stat = readProc(pid, 'stat');
  // The second field, the name in brackets, may hold blanks.
  const [utime = Number.NaN, stime = Number.NaN] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return (utime + stime) * TICK_MS;
}

/** Memory of their own that servers hold once they have collected their garbage, in bytes; NaN where the system does not tell. */
export async function heldBytes(serverPids: readonly number[]): Promise<number> {
  // Twice, because what has a finalizer goes only the second time.
  for (let n = 0; n < 2; n++) {
    for (const pid of serverPids) process.kill(pid, COLLECT_SIGNAL);
    await sleep(COLLECT_MS);
  }
  return sum(serverPids.map((pid) => Number(/RssAnon:\s*(\d+) kB/.exec(readProc(pid, 'status'))?.[1]) * 1024));
}

function readProc(pid: number, file: string): string {
  return process.platform === 'linux' ? readFileSync(`/proc/${pid}/${file}`, 'utf8') : '';
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The value that the given share of them does not exceed. `sorted` is ascending. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
