import type { ConversationId, Rev, Viewer } from '../model.ts';
import { noteText } from '../record/checkpoints.ts';
import { entriesOf, entryText } from '../record/entry.ts';
import type { RecordKeys } from '../record/keys.ts';
import { inclusionAt, type ReadTiles } from '../record/merkle.ts';
import { parseCheckpoint } from '../record/signed-note.ts';
import { formatProof } from '../record/tlog-proof.ts';
import type { Log, Store, TileKey } from '../store/store.ts';
import type { AnyMessageView } from './message-view.ts';
import type { Visibility } from './visibility.ts';

/** Reads that proofs share: they are asked for by the page. */
interface Reads {
  /** The newest signed checkpoint with its size; null for none. */
  readonly signed: Promise<{ readonly checkpoint: string; readonly size: number } | null>;
  /** Tiles, read after the checkpoint: they have all that it covers. */
  readonly tilesOf: (log: Log) => ReadTiles;
}

/** Reads of the record. */
export function createRecordQueries(store: Store, visibility: Visibility, keys: Pick<RecordKeys, 'signers'>) {
  function createReads(): Reads {
    const signed = store.register().then(({ checkpoint }) => {
      if (checkpoint === null) return null;
      return { checkpoint, size: parseCheckpoint(noteText(checkpoint)).size };
    });
    const known = new Map<string, Promise<Buffer | null>>();
    const tilesOf = (log: Log): ReadTiles => {
      const nameOf = ({ level, index }: TileKey) => `${log ?? ''} ${level} ${index}`;
      return (keys) => {
        const missing = keys.filter((key) => !known.has(nameOf(key)));
        const reading = missing.length > 0 ? store.tiles(log, missing) : Promise.resolve([]);
        for (const [i, key] of missing.entries())
          known.set(
            nameOf(key),
            reading.then((tiles) => tiles[i] ?? null),
          );
        return Promise.all(keys.map((key) => known.get(nameOf(key)) ?? null));
      };
    };
    return { signed, tilesOf };
  }

  /** The reads of those that ask in one turn of the event loop. */
  let shared: Reads | null = null;
  function reads(): Reads {
    if (!shared) {
      shared = createReads();
      setImmediate(() => {
        shared = null;
      });
    }
    return shared;
  }

  /** The leaf of the first registration of a change, within the newest checkpoint. */
  async function registration({ signed }: Reads, id: ConversationId, rev: Rev) {
    const { checkpoint, size } = (await signed) ?? { checkpoint: '', size: 0 };
    const found = size > 0 ? await store.ledgerLeaf(id, rev, size) : null;
    return found && { checkpoint, size, ...found };
  }

  return {
    /** The newest signed checkpoint; null for none. */
    recordCheckpoint: async (): Promise<string | null> => (await store.register()).checkpoint,

    /** Verifier keys of the keys that sign. */
    recordKeys: (): string[] => keys.signers.map(({ vkey }) => vkey),

    /** The proof of the newest entry about a message; null while no checkpoint covers it. */
    async proof(viewer: Viewer, view: AnyMessageView): Promise<string | null> {
      const message = view.asOf?.present ?? view;
      const { conversationId: id, rev, addedRev, record } = message;
      const shared = reads();
      const registered = await registration(shared, id, rev);
      if (!registered || !record) return null;
      // The opening names the members.
      const opened =
        'members' in view.conversation || addedRev > 1
          ? { members: new Map(), ...view.conversation }
          : await visibility.read('node', id, viewer);
      const entry = opened && entriesOf(message, opened).find((one) => one.rev === rev);
      if (!entry) return null;
      const { checkpoint, size, index, leaf } = registered;
      const [, , , ledgerSize] = JSON.parse(leaf) as [number, string, ConversationId, Rev];
      const [path, inner] = await Promise.all([
        inclusionAt(shared.tilesOf(null), index, size),
        inclusionAt(shared.tilesOf(id), rev - 1, ledgerSize),
      ]);
      const disclosures = entry.values.flatMap(({ name, disclosed }) =>
        disclosed
          ? [{ name, salt: Buffer.from(disclosed.salt, 'hex').toString('base64'), value: disclosed.value }]
          : [],
      );
      const ofLedger = {
        entry: entryText({ id }, entry),
        index: rev - 1,
        path: inner.map((hash) => hash.toString('base64')),
      };
      return formatProof({ extra: { ...ofLedger, leaf, disclosures }, index, path, checkpoint });
    },
  };
}
