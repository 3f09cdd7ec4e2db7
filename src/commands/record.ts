import type { Config } from '../config.ts';
import { findFork } from '../record/checkpoints.ts';
import { FORMAT } from '../record/entry.ts';
import { append, leafHash } from '../record/merkle.ts';
import { createPublisher } from '../record/publisher.ts';
import { openStore, readStore } from './open-store.ts';
import { recordKeys } from './record-keys.ts';

/** The verifier keys of the keys that sign (C2SP signed-note). */
export function verifierKeys(config: Pick<Config, 'store' | 'record'>): string[] {
  return recordKeys(config, 'skip').signers.map(({ vkey }) => vkey);
}

/**
 * Lets the register go on beside a published checkpoint that it does not go on from, as after the restore of a backup:
 * adds a leaf that says so, with the reason.
 * @returns the index of the leaf
 * @throws Error when the register goes on from the newest checkpoint
 */
export async function fork({ store: at, record }: Pick<Config, 'store' | 'record'>, reason: string): Promise<number> {
  // Refuses where there is no store: opening would make one.
  await readStore(at, async () => {});
  const store = await openStore(at);
  try {
    for (;;) {
      const register = await store.register();
      const publisher = record.publish === null ? null : createPublisher(record.publish);
      const found = await findFork(store, register, publisher, record.origin);
      if (!found) throw new Error('the register goes on from the newest checkpoint: there is nothing to give up');
      const { size } = register;
      const leaf = JSON.stringify([FORMAT, 'F', reason]);
      const grown = await append((keys) => store.tiles(null, keys), size, [leafHash(leaf)]);
      const tiles = grown.tiles.map((tile) => ({ ...tile, log: null }));
      const leaves = [{ leaf, conversation: null, rev: null }];
      // False: a server has registered something meanwhile.
      const batch = { size, leaves, tiles, registered: [], sealed: [], abandons: found.checkpoint };
      if (await store.addToRegister(batch)) return size;
    }
  } finally {
    await store.close();
  }
}
