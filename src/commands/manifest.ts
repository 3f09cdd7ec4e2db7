import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const MANIFEST_FILE = 'manifest.json';

/** The contents of `manifest.json` in a backup or an export. */
export interface Manifest<Format> {
  readonly format: Format;
  /** Version of the program that wrote the folder. */
  readonly program: string;
  /** RFC 3339, UTC. */
  readonly createdAt: string;
  readonly conversations: number;
  readonly messages: number;
  /** The other files of the folder, by name; sizes in bytes. */
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[];
}

/** Makes a folder. @throws Error when it exists and is not empty */
export async function newFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) throw new Error(`${folder} is not empty`);
}

/** Adds sizes and SHA-256 of the files to a manifest and writes it, last: a folder without one is incomplete. */
export async function writeManifest<M extends Manifest<unknown>>(
  folder: string,
  names: readonly string[],
  contents: Omit<M, 'createdAt' | 'files'>,
): Promise<M> {
  const files: Manifest<unknown>['files'][number][] = [];
  for (const name of names) {
    const file = join(folder, name);
    await sync(file);
    files.push({ name, bytes: (await stat(file)).size, sha256: await sha256(file) });
  }
  const { format, program, ...rest } = contents;
  const manifest = { format, program, createdAt: new Date().toISOString(), ...rest, files } as unknown as M;
  const part = join(folder, `${MANIFEST_FILE}.part`);
  await writeFile(part, `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
  await rename(part, join(folder, MANIFEST_FILE));
  await sync(folder);
  return manifest;
}

/** Reads the manifest of a folder and checks its files. @throws Error when it is incomplete or altered */
export async function readManifest<M extends Manifest<unknown>>(folder: string, format: M['format']): Promise<M> {
  const text = await readFile(join(folder, MANIFEST_FILE), 'utf8').catch(() => {
    throw new Error(`${folder} has no ${MANIFEST_FILE}: it is not complete`);
  });
  const manifest = JSON.parse(text) as M;
  if (manifest.format !== format)
    throw new Error(`${folder} has the format "${manifest.format}"; this command reads "${format}"`);
  for (const { name, sha256: expected } of manifest.files)
    if ((await sha256(join(folder, name))) !== expected)
      throw new Error(`${join(folder, name)} was altered: its SHA-256 differs from the manifest`);
  return manifest;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest('hex');
}

/** Flushes a file, or the entries of a folder, to the disk. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
