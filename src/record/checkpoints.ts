import type { Register, Store } from '../store/store.ts';
import type { RecordKeys } from './keys.ts';
import { rootAt } from './merkle.ts';
import type { Publisher } from './publisher.ts';
import { formatCheckpoint, parseCheckpoint, signNote } from './signed-note.ts';

/** The register does not go on from a checkpoint that was published: signing it would fork the record. */
export class ForkError extends Error {}

type Reads = Pick<Store, 'register' | 'tiles'>;

/** The note of a checkpoint without its signatures. */
function noteText(checkpoint: string): string {
  return checkpoint.slice(0, checkpoint.indexOf('\n\n') + 1);
}

/**
 * The checkpoint that the register must go on from: the newest published one, else the newest stored one, unless a fork
 * gave it up. Null for none.
 */
export async function newestCheckpoint(register: Register, publisher: Publisher | null): Promise<string | null> {
  const newest = (await publisher?.newest()) ?? register.checkpoint;
  return newest === null || newest === register.abandoned ? register.checkpoint : newest;
}

/**
 * Checks that the register goes on from a checkpoint.
 * @throws ForkError when it does not; Error when the checkpoint is none
 */
export async function requireConsistency(
  store: Reads,
  { size }: Register,
  checkpoint: string,
  origin: string,
): Promise<void> {
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
 * Signs, publishes and stores a checkpoint of the whole register, if it has grown.
 * @returns the size that is signed
 * @throws ForkError when the register does not go on from the newest checkpoint: it is never signed
 */
export async function sign(
  store: Reads & Pick<Store, 'setCheckpoint'>,
  keys: RecordKeys,
  publisher: Publisher | null,
): Promise<number> {
  const register = await store.register();
  const newest = await newestCheckpoint(register, publisher);
  if (newest !== null) {
    await requireConsistency(store, register, newest, keys.origin);
    // The register is behind what is published where a process was killed between the two.
    if (parseCheckpoint(noteText(newest)).size === register.size && newest === register.checkpoint) return register.size;
  }
  if (register.size === 0) return 0;
  const root = await rootAt((keys) => store.tiles(null, keys), register.size);
  const checkpoint = signNote(formatCheckpoint(keys.origin, register.size, root), keys.signers);
  await publisher?.publish(checkpoint, register.size);
  await store.setCheckpoint(checkpoint, register.size);
  return register.size;
}
