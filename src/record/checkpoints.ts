import type { Register, Store } from '../store/store.ts';
import type { RecordKeys } from './keys.ts';
import { rootAt } from './merkle.ts';
import type { Publisher } from './publisher.ts';
import { formatCheckpoint, parseCheckpoint, signNote } from './signed-note.ts';

/** The register does not go on from a checkpoint that was published: signing it would fork the record. */
export class ForkError extends Error {}

type Reads = Pick<Store, 'register' | 'tiles'>;

/** The note of a checkpoint without its signatures. */
export function noteText(checkpoint: string): string {
  return checkpoint.slice(0, checkpoint.indexOf('\n\n') + 1);
}

/** The checkpoints that the register must go on from: the newest published one, and the stored one. */
async function knownCheckpoints(register: Register, publisher: Publisher | null): Promise<Set<string>> {
  const published = await publisher?.newest(register.checkpoint !== null);
  // A fork gave this one up.
  const given = published === register.abandoned ? null : published;
  return new Set([given, register.checkpoint].filter((checkpoint) => checkpoint != null));
}

/**
 * The first known checkpoint that the register does not go on from, with the reason; null where there is none.
 * @throws Error when the folder of published checkpoints cannot be read
 */
export async function findFork(
  store: Reads,
  register: Register,
  publisher: Publisher | null,
  origin: string,
): Promise<{ readonly checkpoint: string; readonly error: ForkError } | null> {
  for (const checkpoint of await knownCheckpoints(register, publisher)) {
    try {
      await requireConsistency(store, register, checkpoint, origin);
    } catch (error) {
      if (error instanceof ForkError) return { checkpoint, error };
      throw error;
    }
  }
  return null;
}

/**
 * Checks that the register goes on from a checkpoint.
 * @throws ForkError when it does not; Error when the checkpoint is none
 */
async function requireConsistency(store: Reads, { size }: Register, checkpoint: string, origin: string): Promise<void> {
  const known = parseCheckpoint(noteText(checkpoint));
  if (known.origin !== origin)
    throw new ForkError(`the newest checkpoint is of the origin ${known.origin}, and RECORD_ORIGIN is ${origin}`);
  if (known.size > size)
    throw new ForkError(`a checkpoint of ${known.size} leaves was published, and the register has ${size}`);
  const root = await rootAt((keys) => store.tiles(null, keys), known.size);
  if (!root.equals(known.root))
    throw new ForkError(`the register differs from the published checkpoint of ${known.size} leaves`);
}

/**
 * Signs, publishes and stores a checkpoint of the whole register, unless the stored one is that already.
 * @returns the size that is signed
 * @throws ForkError when the register does not go on from a known checkpoint: it is never signed
 */
export async function sign(
  store: Reads & Pick<Store, 'setCheckpoint'>,
  keys: RecordKeys,
  publisher: Publisher | null,
): Promise<number> {
  const register = await store.register();
  const { size, checkpoint } = register;
  const fork = await findFork(store, register, publisher, keys.origin);
  if (fork) throw fork.error;
  if (size === 0) return 0;
  const root = await rootAt((keys) => store.tiles(null, keys), size);
  // Ed25519 makes the same signature each time (RFC 8032, section 5.1.6).
  const signed = signNote(formatCheckpoint(keys.origin, size, root), keys.signers);
  if (signed !== checkpoint || (publisher && (await publisher.newest(true)) !== signed)) {
    await publisher?.publish(signed, size);
    await store.setCheckpoint(signed, size);
  }
  return size;
}
