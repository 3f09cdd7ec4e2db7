import { constants, existsSync } from 'node:fs';
import { chmod, copyFile, link, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { StoreConfig } from '../config.ts';
import { type Contents, checkSqlite, copySqlite } from '../store/sqlite/backup.ts';
import { type Manifest, newFolder, readManifest, sync, writeManifest } from './manifest.ts';
import { withProgress } from './progress.ts';

const STORE_FILE = 'kredichat.db';

/** The contents of `manifest.json` in a backup. */
type BackupManifest = Contents & Manifest<1>;

/**
 * Copies a SQLite store into an empty or new folder, while a server may use it, and checks the copy. The manifest is
 * written last: a folder without one is not a backup.
 * @throws Error when the folder is not empty, there is no store, or the copy is faulty
 */
export async function backup({ path }: Extract<StoreConfig, { kind: 'sqlite' }>, folder: string, program: string) {
  if (!existsSync(path)) throw new Error(`${path} does not exist`);
  await newFolder(folder);
  const file = join(folder, STORE_FILE);
  await copySqlite(path, file);
  return writeManifest<BackupManifest>(folder, [STORE_FILE], { format: 1, program, ...(await checkCopy(file)) });
}

/**
 * Restores a backup where there is no store yet. The file gets its name after it is checked and on the disk.
 * @throws Error when the backup is incomplete or altered, or there is a store
 */
export async function restore(
  folder: string,
  { path }: Extract<StoreConfig, { kind: 'sqlite' }>,
): Promise<BackupManifest> {
  const manifest = await readManifest<BackupManifest>(folder, 1);
  for (const taken of [path, `${path}-wal`])
    if (existsSync(taken)) throw new Error(`${taken} exists already; restore needs a new path`);
  await mkdir(dirname(path), { recursive: true });
  const part = `${path}.part`;
  await copyFile(join(folder, STORE_FILE), part, constants.COPYFILE_EXCL);
  try {
    await chmod(part, 0o600);
    await sync(part);
    await checkCopy(part);
    // Unlike a rename, this fails if a server has made the file meanwhile.
    await link(part, path);
    await sync(dirname(path));
  } finally {
    await rm(part, { force: true });
  }
  return manifest;
}

async function checkCopy(file: string): Promise<Contents> {
  const { faults, ...contents } = await withProgress('messages checked', (add) => checkSqlite(file, 'take', add));
  if (faults.length > 0) throw new Error(`${file} is faulty: ${faults.join('; ')}`);
  return contents;
}
