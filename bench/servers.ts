import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { COLLECT_SIGNAL } from './meter.ts';
import type { Mongo } from './mongo.ts';

/** Which protocol a server speaks; see dialects.ts. */
export type DialectName = 'bareWs' | 'textbook' | 'kredichat';

/**
 * What can be measured; `another build` is Kredichat, too, of another folder, to be compared with; `without the record`
 * is this build.
 */
export type ServerName =
  | 'bare ws'
  | 'joined ws'
  | 'textbook'
  | 'another build'
  | 'without the record'
  | 'Kredichat'
  | 'two instances';

interface ServerKind {
  readonly dialect: DialectName;
  /** Arguments of node. The first line on stdout holds the address. */
  readonly command: readonly string[];
  /** How many processes share the store. */
  readonly instances: number;
  /** The environment beside what all have. */
  readonly env: (storeUrl: string) => Readonly<Record<string, string>>;
}

const PROJECT = fileURLToPath(new URL('../', import.meta.url));

/** Arguments that make a server collect its garbage when asked. */
const COLLECTING = ['--expose-gc', ...['--import', `data:text/javascript,process.on('${COLLECT_SIGNAL}',()=>gc())`]];

const reference = (file: string) => ['--import', 'tsx', fileURLToPath(new URL(`reference/${file}`, import.meta.url))];

function kindOf(name: ServerName, anotherBuild: string | undefined): ServerKind {
  switch (name) {
    case 'bare ws':
      return { dialect: 'bareWs', command: reference('bare-ws.ts'), instances: 1, env: () => ({}) };
    case 'joined ws':
      return { dialect: 'bareWs', command: [...reference('bare-ws.ts'), '--joined'], instances: 1, env: () => ({}) };
    case 'textbook':
      return {
        ...{ dialect: 'textbook', command: reference('textbook.ts'), instances: 1 },
        // Node warns of every EventTarget with more than ten listeners, which `createPubSub` is made of.
        env: (storeUrl) => ({ NODE_NO_WARNINGS: '1', STORE_URL: storeUrl }),
      };
    default: {
      const main = join(name === 'another build' ? resolve(anotherBuild ?? '') : PROJECT, 'dist/main.js');
      if (!existsSync(main)) throw new Error(`${main} is missing: \`npm run build\` makes it`);
      const command = name === 'without the record' ? reference('without-record.ts') : [main];
      return {
        ...{ dialect: 'kredichat', command, instances: name === 'two instances' ? 2 : 1 },
        env: (storeUrl) => ({
          ...{ PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'error', STORE_URL: storeUrl },
          ...{ RATE_LIMIT_MESSAGES: '0', MAX_SUBSCRIPTIONS: '10000' },
        }),
      };
    }
  }
}

/** A server that runs, as the load needs to know it. */
export interface Target {
  readonly name: ServerName;
  readonly dialect: DialectName;
  /** `http://127.0.0.1:PORT` of each instance. */
  readonly urls: readonly string[];
  /** The processes that are the server. */
  readonly pids: readonly number[];
  /** Its MongoDB, and the process that is that; null where there is none. */
  readonly mongoUrl: string | null;
  readonly mongodPid: number | null;
}

/** A server that runs, as a child of this process. */
export interface RunningServer {
  readonly target: Target;
  /** Ends it and resolves when it is gone. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** The stores are here, or else SQLite files. */
  readonly mongo: Mongo | null;
  /** The folder of another checkout of Kredichat. */
  readonly anotherBuild: string | undefined;
  /** Is told when a server ends without being stopped. */
  readonly died: (error: Error) => void;
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

let databases = 0;

/** Starts a server on an empty store. */
export async function startServer(
  name: ServerName,
  { mongo, anotherBuild, died }: StartOptions,
): Promise<RunningServer> {
  const kind = kindOf(name, anotherBuild);
  const folder = makeFolder();
  const mongoUrl = mongo?.url(`server${++databases}`) ?? null;
  const env = kind.env(mongoUrl ?? `sqlite:${join(folder, 'bench.db')}`);
  const starting = Array.from({ length: kind.instances }, () => startProcess(name, kind.command, env, died));
  const processes = await Promise.all(starting);
  return {
    target: {
      ...{ name, dialect: kind.dialect, mongoUrl, mongodPid: mongo?.pid ?? null },
      ...{ urls: processes.map(({ url }) => url), pids: processes.map(({ pid }) => pid) },
    },
    async stop() {
      await Promise.all(processes.map((process) => process.stop()));
      removeFolder(folder);
    },
  };
}

async function startProcess(
  name: string,
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  died: (error: Error) => void,
) {
  const child = own(
    spawn(process.execPath, [...COLLECTING, ...command], {
      cwd: PROJECT,
      // production for all of them: otherwise graphql checks more than it does where it counts.
      env: { PATH: process.env.PATH, NODE_ENV: 'production', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  let stopping = false;
  const gone = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      if (!stopping) died(new Error(`${name} ended with ${signal ?? code}`));
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
    url,
    pid: child.pid ?? 0,
    async stop() {
      stopping = true;
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await gone;
      clearTimeout(late);
    },
  };
}
