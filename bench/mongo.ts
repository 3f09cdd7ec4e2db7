import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { makeFolder, own } from './servers.ts';

/** Where the test suite puts a mongod; see test/support/mongod.ts. */
const CACHED = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'kredichat/mongod-4.4.2/mongod');

/** A replica set of one member that all servers share. */
export interface Mongo {
  /** What the figures depend on beside what is said of every run. */
  readonly note: string;
  readonly pid: number;
  /** A connection string of a database of its own. */
  url(database: string): string;
  stop(): Promise<void>;
}

/**
 * Starts the replica set; `died` is told when it ends without being stopped. It ends with this process at the latest.
 * @throws Error where there is no mongod
 */
export async function startMongo(died: (error: Error) => void): Promise<Mongo> {
  const { binary, version } = findMongod();
  const set = await MongoMemoryReplSet.create({
    binary: { systemBinary: binary, version },
    // A folder of ours, because mongodb-memory-server removes its own only when it is stopped in order.
    instanceOpts: [{ dbPath: makeFolder() }],
    replSet: { count: 1, storageEngine: 'wiredTiger' },
  });
  let stopping = false;
  let pid = 0;
  for (const { instanceInfo } of set.servers) {
    const child = instanceInfo?.instance.mongodProcess;
    if (child) pid = own(child).pid ?? 0;
    child?.once('exit', (code, signal) => {
      if (!stopping) died(new Error(`mongod ended with ${signal ?? code}`));
    });
  }
  return {
    note: `All messages are acknowledged by the majority of one mongod ${version}.`,
    pid,
    url: (database) => set.getUri(`bench_${database}`),
    async stop() {
      stopping = true;
      await set.stop();
    },
  };
}

function findMongod(): { readonly binary: string; readonly version: string } {
  const binary = process.env.MONGOMS_SYSTEM_BINARY || CACHED;
  if (!existsSync(binary)) {
    throw new Error(`no mongod at ${binary}: MONGOMS_SYSTEM_BINARY names one, or \`npm test\` puts one there`);
  }
  const version = /v(\d+\.\d+\.\d+)/.exec(execFileSync(binary, ['--version'], { encoding: 'utf8' }))?.[1];
  if (!version) throw new Error(`${binary} is not a mongod`);
  return { binary, version };
}
