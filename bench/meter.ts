import { readFileSync } from 'node:fs';

/** CPU time spent in a measurement, in percent of one core; null where the system does not tell. */
export interface Usage {
  readonly server: number | null;
  readonly clients: number;
}

/** A tick of /proc in milliseconds: USER_HZ is 100 on every Linux architecture Node runs on. */
const TICK_MS = 10;

/** Measures time, and what CPU this process and those with the given ids spend in it. */
export function createMeter(serverPids: readonly number[]) {
  let from: Reading | null = null;
  let to: Reading | null = null;

  return {
    start(): void {
      from = read(serverPids);
    },
    /** `at` is for ends that were noticed late; the CPU time is taken now. */
    stop(at = performance.now()): void {
      to = { ...read(serverPids), at };
    },
    elapsedMs(): number {
      return from && to ? to.at - from.at : 0;
    },
    usage(): Usage {
      if (!from || !to) return { server: null, clients: 0 };
      const elapsed = to.at - from.at;
      const { server } = to;
      return {
        server: server === null || from.server === null ? null : ((server - from.server) / elapsed) * 100,
        clients: ((to.clients - from.clients) / elapsed) * 100,
      };
    },
  };
}

interface Reading {
  readonly at: number;
  /** Milliseconds of CPU since the process started. */
  readonly server: number | null;
  readonly clients: number;
}

function read(serverPids: readonly number[]): Reading {
  const { user, system } = process.cpuUsage();
  const server = serverPids.map(cpuOf).reduce((sum, cpu) => (sum === null || cpu === null ? null : sum + cpu), 0);
  return { at: performance.now(), server, clients: (user + system) / 1000 };
}

/** Fields utime and stime of /proc/PID/stat (proc(5)), which count all threads of the process. */
function cpuOf(pid: number): number | null {
  if (process.platform !== 'linux') return null;
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field, the name in brackets, may hold blanks.
  const [utime, stime] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return utime === undefined || stime === undefined ? null : (utime + stime) * TICK_MS;
}

/** The value that the given share of them does not exceed. `sorted` is ascending. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
