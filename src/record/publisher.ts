import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The newest checkpoint in a folder of published ones; the others are in folders of their days (UTC), by size. */
const NEWEST = 'checkpoint.txt';

/** Where checkpoints are published. */
export interface Publisher {
  /** The newest one; null for none. @throws Error when the folder is missing, unless nothing was `published` before */
  newest(published: boolean): Promise<string | null>;
  /** Durable when it resolves. Another checkpoint of the same size and day stays beside it. */
  publish(checkpoint: string, size: number): Promise<void>;
}

/**
 * Publishes to a folder: `DAY/SIZE.txt` and `checkpoint.txt`. It is made for the first checkpoint of a register alone:
 * later, a folder that is missing is one that is not mounted, with checkpoints that must be known.
 */
export function createPublisher(folder: string): Publisher {
  /** Writes a new file, on the disk when it resolves, and gives it to `place`. */
  async function write(text: string, place: (file: string) => Promise<unknown>): Promise<void> {
    const path = join(folder, `.${randomUUID()}`);
    try {
      const file = await open(path, 'wx', 0o644);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await place(path);
    } finally {
      await rm(path, { force: true });
    }
  }
  async function sync(path: string): Promise<void> {
    const directory = await open(path);
    await directory.sync().finally(() => directory.close());
  }
  /** The file, or null for none. */
  async function read(path: string): Promise<string | null> {
    try {
      return await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  return {
    async newest(published) {
      if (published) await sync(folder);
      return read(join(folder, NEWEST));
    },
    async publish(checkpoint, size) {
      const day = join(folder, new Date().toISOString().slice(0, 10));
      await mkdir(day, { recursive: true });
      let known: string | null = null;
      for (let copy = 1; known !== checkpoint; copy++) {
        const path = join(day, copy === 1 ? `${size}.txt` : `${size}-${copy}.txt`);
        // Unlike a rename, a link replaces nothing.
        await write(checkpoint, (file) => link(file, path)).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'EEXIST') throw error;
        });
        known = await read(path);
      }
      await sync(day);
      await write(checkpoint, (file) => rename(file, join(folder, NEWEST)));
      await sync(folder);
    },
  };
}
