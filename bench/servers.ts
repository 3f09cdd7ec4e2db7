import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { COLLECT_SIGNAL } from './meter.ts';
import type { Part } from './settings.ts';

/** Which protocol a server speaks; see dialects.ts. */
export type DialectName = 'bareWs' | 'textbook' | 'kredichat';

/** A server that can be measured. */
export interface ServerKind {
  readonly name: string;
  readonly dialect: DialectName;
  /** Arguments of node. The first line on stdout holds the address. */
  readonly command: readonly string[];
  /** The environment beside what all have; `folder` is a fresh temporary one. */
  readonly env: (folder: string) => Readonly<Record<string, string>>;
}

const PROJECT = fileURLToPath(new URL('../', import.meta.url));
const MAIN = join(PROJECT, 'dist/main.js');

/** Arguments that make a server collect its garbage when asked. */
const COLLECTING = ['--expose-gc', ...['--import', `data:text/javascript,process.on('${COLLECT_SIGNAL}',()=>gc())`]];

const reference = (file: string) => ['--import', 'tsx', fileURLToPath(new URL(`reference/${file}`, import.meta.url))];

/** The GraphQL reference; messages are in memory alone unless `MONGO_URL` says where else. */
export function textbook(env: Readonly<Record<string, string>> = {}): ServerKind {
  return {
    name: 'textbook GraphQL',
    dialect: 'textbook',
    command: reference('textbook.ts'),
    // Node warns of every EventTarget with more than ten listeners, which `createPubSub` is made of.
    env: () => ({ NODE_NO_WARNINGS: '1', ...env }),
  };
}

/** Kredichat on a store. */
export function kredichat(storeUrl: (folder: string) => string): ServerKind {
  return {
    name: 'Kredichat',
    dialect: 'kredichat',
    command: [MAIN],
    env: (folder) => ({
      ...{ PORT: '0', HOST: '127.0.0.1', RATE_LIMIT_MESSAGES: '0', LOG_LEVEL: 'error' },
      STORE_URL: storeUrl(folder),
    }),
  };
}

const bareWs: ServerKind = { name: 'bare ws', dialect: 'bareWs', command: reference('bare-ws.ts'), env: () => ({}) };
const joinedWs: ServerKind = { ...bareWs, name: 'joined ws', command: [...bareWs.command, '--joined'] };

/** What is measured in a part. Ratios are of the last one to the others. */
export function sqliteServers(part: Part): ServerKind[] {
  return [
    // Only where there is something to join.
    ...(part === 'fanout' ? [bareWs, joinedWs] : [bareWs]),
    ...[textbook(), kredichat((folder) => `sqlite:${join(folder, 'bench.db')}`)],
  ];
}

/** A server that runs, as the load needs to know it. */
export interface Target {
  readonly name: string;
  readonly dialect: DialectName;
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Where an audience subscribes; `url` for a server that is one process. */
  readonly audienceUrl: string;
  /** The processes that are the server. */
  readonly pids: readonly number[];
}

/** A server that runs, as a child of this process. */
export interface RunningServer {
  readonly target: Target;
  /** Ends it and resolves when it is gone. */
  stop(): Promise<void>;
}

const START_MS = 15_000;
const STOP_MS = 10_000;

const children = new Set<ChildProcess>();
const folders = new Set<string>();

// However this process ends, short of SIGKILL, nothing of it stays.
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) removeFolder(folder);
});

/** Makes a child process end with this one at the latest. */
export function own<Child extends ChildProcess>(child: Child): Child {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** A new temporary folder, gone with this process at the latest. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'kredichat-bench-'));
  folders.add(folder);
  return folder;
}

/** Removes a folder of `makeFolder`. */
export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  folders.delete(folder);
}

/** Starts servers; `died` is told when one of them ends without being stopped. */
export function startServers(kinds: readonly ServerKind[], died: (error: Error) => void): Promise<RunningServer[]> {
  if (!existsSync(MAIN)) throw new Error('dist/main.js is missing: `npm run build` makes it');
  return Promise.all(kinds.map((kind) => start(kind, died)));
}

/** Two instances on one store as two servers to measure: the first alone, and the first with its audience on the second. */
export function asPair([first, second]: readonly RunningServer[]): RunningServer[] {
  if (!first || !second) throw new Error('a pair is two');
  const { url, pids } = second.target;
  return [
    { ...first, target: { ...first.target, name: 'one instance' } },
    {
      target: { ...first.target, name: 'two instances', audienceUrl: url, pids: [...first.target.pids, ...pids] },
      stop: second.stop,
    },
  ];
}

async function start(
  { name, dialect, command, env }: ServerKind,
  died: (error: Error) => void,
): Promise<RunningServer> {
  const folder = makeFolder();
  const child = own(
    spawn(process.execPath, [...COLLECTING, ...command], {
      cwd: PROJECT,
      // production for all of them: otherwise graphql checks more than it does where it counts.
      env: { PATH: process.env.PATH, NODE_ENV: 'production', ...env(folder) },
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  let stopping = false;
  const gone = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      if (!stopping) died(new Error(`${name} ended with ${signal ?? code}`));
      removeFolder(folder);
      resolve();
    });
  });
  const url = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${name} did not start in time`)), START_MS);
    child.once('error', reject);
    // Reads on after the first line, so that the pipe never fills.
    createInterface(child.stdout).on('line', (line) => {
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (!address) return;
      clearTimeout(late);
      resolve(address);
    });
  });
  return {
    target: { name, dialect, url, audienceUrl: url, pids: [child.pid ?? 0] },
    async stop() {
      stopping = true;
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await gone;
      clearTimeout(late);
    },
  };
}
