import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { StoreConfig } from '../config.ts';
import { type Contents, checkSqlite, copySqlite } from '../store/sqlite/backup.ts';

const STORE_FILE = 'kredichat.db';
const MANIFEST_FILE = 'manifest.json';

/** The contents of `manifest.json` in a backup. */
export interface Manifest extends Contents {
  readonly format: 1;
  /** Version of the program that made the backup. */
  readonly program: string;
  /** RFC 3339, UTC. */
  readonly createdAt: string;
  /** The other files of the backup, by name; sizes in bytes. */
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[];
}

/**
 * Copies a SQLite store into an empty or new folder, while a server may use it, and checks the copy. The manifest is
 * written last: a folder without one is not a backup.
 * @throws Error when the folder is not empty, there is no store, or the copy is faulty
 */
export async function backup({ path }: Extract<StoreConfig, { kind: 'sqlite' }>, folder: string, program: string) {
  if (!existsSync(path)) throw new Error(`${path} does not exist`);
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) throw new Error(`${folder} is not empty`);
  const file = join(folder, STORE_FILE);
  copySqlite(path, file);
  await sync(file);
  const contents = checkCopy(file);
  const { size: bytes } = await stat(file);
  const files = [{ name: STORE_FILE, bytes, sha256: await sha256(file) }];
  const manifest: Manifest = { format: 1, program, createdAt: new Date().toISOString(), ...contents, files };
  const written = join(folder, `${MANIFEST_FILE}.part`);
  await writeFile(written, `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
  await rename(written, join(folder, MANIFEST_FILE));
  await sync(folder);
  return manifest;
}

/**
 * Restores a backup where there is no store yet. The file gets its name after it is checked and on the disk.
 * @throws Error when the backup is incomplete or altered, or there is a store
 */
export async function restore(folder: string, { path }: Extract<StoreConfig, { kind: 'sqlite' }>): Promise<Manifest> {
  const manifest = JSON.parse(
    await readFile(join(folder, MANIFEST_FILE), 'utf8').catch(() => {
      throw new Error(`${folder} has no ${MANIFEST_FILE}: it is not a complete backup`);
    }),
  ) as Manifest;
  if (manifest.format !== 1) throw new Error(`the backup has format ${manifest.format}; this program reads format 1`);
  for (const { name, sha256: expected } of manifest.files)
    if ((await sha256(join(folder, name))) !== expected)
      throw new Error(`${join(folder, name)} was altered: its SHA-256 differs from the manifest`);
  for (const taken of [path, `${path}-wal`])
    if (existsSync(taken)) throw new Error(`${taken} exists already; restore needs a new path`);
  await mkdir(dirname(path), { recursive: true });
  const part = `${path}.part`;
  try {
    await copyFile(join(folder, STORE_FILE), part);
    await sync(part);
    checkCopy(part);
    await rename(part, path);
    await sync(dirname(path));
  } finally {
    await rm(part, { force: true });
  }
  return manifest;
}

function checkCopy(file: string): Contents {
  const { contents, faults } = checkSqlite(file);
  if (faults.length > 0) throw new Error(`${file} is faulty: ${faults.join('; ')}`);
  return contents;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest('hex');
}

/** Flushes a file, or the entries of a folder, to the disk. */
async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
