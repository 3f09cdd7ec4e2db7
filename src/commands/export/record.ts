import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Conversation, ConversationId, Rev } from '../../model.ts';
import { entriesAfter } from '../../record/entries.ts';
import { entryText } from '../../record/entry.ts';
import { inclusionAt, type ReadTiles } from '../../record/merkle.ts';
import { formatProof } from '../../record/tlog-proof.ts';
import type { Store } from '../../store/store.ts';
import { createLines } from './files.ts';

/** The entries, one a line: its exact text. Conversations by id, then by `rev`. */
export const ENTRIES = 'entries.ndjson';
/** The values that entries commit to, with their salts, in the order of the entries. */
export const DISCLOSURES = 'disclosures.ndjson';
/** The R leaves of the conversations, with their paths to the checkpoint. */
export const READS = 'reads.ndjson';
/** The folder of proofs: one of the newest ledger of each conversation. */
const PROOFS = 'proofs';

/** Leaves read at once, and tiles of the register that are kept. */
const [PAGE, KEPT_TILES] = [1000, 1000];

/** The reads of an export of the record. */
export type ExportReads = Pick<Store, 'messages' | 'changedMessages' | 'tiles' | 'newestLedgerLeaf' | 'readLeaves'>;

/** Counts of the record in an export, for the manifest. */
export interface RecordCounts {
  entries: number;
  disclosures: number;
  reads: number;
  /** Entries that the checkpoint does not cover. */
  unsigned: number;
  /** Values that were erased: the conversation, the entry that commits to it, its name, and the entry that says so. */
  readonly erased: (readonly [ConversationId, Rev, string, Rev])[];
  /** Files in `PROOFS`. */
  readonly proofs: string[];
}

/**
 * Writes the record of conversations as of a checkpoint of `size` leaves; null where nothing is signed.
 * @returns `add`, which writes one conversation in this state, and `close`
 */
export async function createRecordFiles(
  store: ExportReads,
  folder: string,
  checkpoint: { readonly note: string; readonly size: number } | null,
) {
  await mkdir(join(folder, PROOFS));
  const entries = await createLines(join(folder, ENTRIES));
  const disclosures = await createLines(join(folder, DISCLOSURES));
  const reads = await createLines(join(folder, READS));
  const counts: RecordCounts = { entries: 0, disclosures: 0, reads: 0, unsigned: 0, erased: [], proofs: [] };
  const tiles = keepTiles((keys) => store.tiles(null, keys));

  /** Writes the entries; false, and nothing written, when a text was erased after the state was read. */
  async function addEntries(state: Conversation): Promise<boolean> {
    const { id } = state;
    const begins = [await entries.flush(), await disclosures.flush()] as const;
    let disclosed = 0;
    const erased: (typeof counts.erased)[number][] = [];
    /** Entries that lack their text, by message. */
    const gone = new Map<number, Rev[]>();
    for await (const page of entriesAfter(store, state, 0)) {
      for (const entry of page) {
        const { rev, seq, values } = entry;
        await entries.addLine(entryText(state, entry));
        for (const { name, disclosed: shown } of values) {
          if (!shown) gone.set(seq, [...(gone.get(seq) ?? []), rev]);
          else {
            const salt = Buffer.from(shown.salt, 'hex').toString('base64');
            await disclosures.add({ conversationId: id, rev, name, salt, value: shown.value });
            disclosed++;
          }
        }
        // Its redaction, also where it was before the record began.
        if (!values.some(({ name }) => name === 'reason')) continue;
        for (const without of gone.get(seq) ?? []) erased.push([id, without, 'text', rev]);
        gone.delete(seq);
      }
    }
    if (gone.size > 0) {
      await entries.cut(begins[0]);
      await disclosures.cut(begins[1]);
      return false;
    }
    counts.entries += state.lastRev;
    counts.disclosures += disclosed;
    counts.erased.push(...erased.sort(([, a], [, b]) => a - b));
    return true;
  }

  async function addProofs({ id, lastRev }: Conversation): Promise<void> {
    const newest = checkpoint && (await store.newestLedgerLeaf(id, checkpoint.size));
    if (!newest) {
      counts.unsigned += lastRev;
      return;
    }
    const { index, leaf } = newest;
    const [, , , rev] = JSON.parse(leaf) as [number, string, string, Rev];
    counts.unsigned += Math.max(0, lastRev - rev);
    const path = await inclusionAt(tiles, index, checkpoint.size);
    const name = `${PROOFS}/${id}.tlog-proof`;
    await writeFile(join(folder, name), formatProof({ extra: { leaf }, index, path, checkpoint: checkpoint.note }));
    counts.proofs.push(name);
    for (let after = -1; ; ) {
      const page = await store.readLeaves(id, after, PAGE);
      for (const { index, leaf } of page) {
        if (index >= checkpoint.size) return;
        const path = await inclusionAt(tiles, index, checkpoint.size);
        await reads.add({ index, leaf, path: path.map((hash) => hash.toString('base64')) });
        counts.reads++;
      }
      const last = page.at(-1);
      if (!last || page.length < PAGE) return;
      after = last.index;
    }
  }

  return {
    counts,
    /** False, and nothing written, when a text was erased after the state was read. */
    async add(state: Conversation): Promise<boolean> {
      if (!(await addEntries(state))) return false;
      await addProofs(state);
      return true;
    },
    async close(): Promise<void> {
      await entries.close();
      await disclosures.close();
      await reads.close();
    },
  };
}

/** Keeps tiles: up to the size of the checkpoint their hashes never change. */
function keepTiles(read: ReadTiles): ReadTiles {
  const kept = new Map<string, Buffer>();
  return async (keys) => {
    const nameOf = ({ level, index }: (typeof keys)[number]) => `${level}/${index}`;
    const missing = keys.filter((key) => !kept.has(nameOf(key)));
    const found = missing.length > 0 ? await read(missing) : [];
    if (kept.size > KEPT_TILES) kept.clear();
    const all = new Map<string, Buffer | null>(missing.map((key, i) => [nameOf(key), found[i] ?? null]));
    for (const [name, tile] of all) if (tile) kept.set(name, tile);
    return keys.map((key) => all.get(nameOf(key)) ?? kept.get(nameOf(key)) ?? null);
  };
}
