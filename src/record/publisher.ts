import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';

/** The newest checkpoint in a folder of published ones; the others are in folders of their days (UTC), by size. */
const NEWEST = 'checkpoint.txt';

/** Where checkpoints are published. */
export interface Publisher {
  /** The newest one; null for none. */
  newest(): Promise<string | null>;
  /** Durable when it resolves. */
  publish(checkpoint: string, size: number): Promise<void>;
}

/**
 * Publishes to a folder, which is created where it is missing: `DAY/SIZE.txt` and `checkpoint.txt`. Use one that is not
 * where the database is.
 */
export function createPublisher(folder: string): Publisher {
  async function write(path: string, text: string): Promise<void> {
    const file = await open(`${path}.new`, 'w', 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
  }
  async function sync(path: string): Promise<void> {
    const directory = await open(path);
    await directory.sync().finally(() => directory.close());
  }

  return {
    async newest() {
      try {
        return await readFile(join(folder, NEWEST), 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
        throw error;
      }
    },
    async publish(checkpoint, size) {
      const day = join(folder, new Date().toISOString().slice(0, 10));
      await mkdir(day, { recursive: true });
      await write(join(day, `${size}.txt`), checkpoint);
      await sync(day);
      await write(join(folder, NEWEST), checkpoint);
      await sync(folder);
    },
  };
}
