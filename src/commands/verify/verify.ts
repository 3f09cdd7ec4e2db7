import { existsSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { createTree } from '../../record/merkle.ts';
import { parseVkey } from '../../record/signed-note.ts';
import { readCheckpoint } from './checkpoint.ts';
import { checkConversation, type Export } from './conversation.ts';
import { checkManifest, itemsOf, noCounts } from './files.ts';
import { readRegister } from './register.ts';
import { disclosureOf, entryOf, Fault, failUnless, readsOf } from './shapes.ts';

/** Result of a verification. */
export interface Verdict {
  /** Incomplete: what is there verifies, but something is withheld or not covered by a signed checkpoint. */
  readonly result: 'verified' | 'incomplete' | 'broken';
  /** The first fault with its place, or what is missing; null when verified. */
  readonly reason: string | null;
  readonly conversations: number;
  readonly entries: number;
  readonly disclosures: number;
  /** Leaves with read positions. */
  readonly reads: number;
}

/** A verdict as one line. */
export function verdictLine({ result, reason, ...counts }: Verdict, isKeyGiven: boolean): string {
  if (result === 'broken') return `broken: ${reason}`;
  const found = `${counts.conversations} conversations, ${counts.entries} entries, ${counts.disclosures} disclosures`;
  const parts = [...(reason ? [reason] : []), `${found}, ${counts.reads} read positions`];
  const note = isKeyGiven ? '' : ' (by the key in the export itself: no proof against its maker)';
  return `${result}: ${parts.join('; ')}${note}`;
}

/**
 * Checks an export as docs/RECORD.md says. `vkeys` are verifier keys that the caller trusts; null takes those of the
 * export itself, which prove nothing against its maker. `progress` is called with the number of entries done since.
 * @throws Error when there is no such folder, or a key is none
 */
export async function verifyExport(
  folder: string,
  vkeys: readonly string[] | null,
  progress: (entries: number) => void = () => {},
): Promise<Verdict> {
  if (!existsSync(folder)) throw new Error(`${folder} does not exist`);
  vkeys?.forEach(parseVkey);
  const counts = noCounts();
  const verdict = (result: Verdict['result'], reason: string | null): Verdict => {
    const { conversations, entries, disclosures, reads } = counts;
    return { result, reason, conversations, entries, disclosures, reads };
  };
  try {
    const withheld = await checkAll(folder, vkeys, counts, progress);
    const missing = [
      ...(counts.unsigned > 0 ? [`${counts.unsigned} entries are not covered by a checkpoint`] : []),
      ...(withheld > 0 ? [`${withheld} values are withheld`] : []),
    ];
    return missing.length > 0 ? verdict('incomplete', missing.join('; ')) : verdict('verified', null);
  } catch (error) {
    if (error instanceof Fault) return verdict('broken', error.message);
    throw error;
  }
}

/** @returns the number of values that are withheld @throws Fault for the first fault */
async function checkAll(
  folder: string,
  vkeys: readonly string[] | null,
  counts: Export['counts'],
  progress: (entries: number) => void,
): Promise<number> {
  const manifest = checkManifest(folder);
  const files = new Set(manifest.files.map(({ name }) => name));
  const checkpoint = files.has('checkpoint.txt') ? readCheckpoint(folder, vkeys, files) : null;
  const register =
    manifest.scope.kind === 'all' ? readRegister(folder, checkpoint ?? { size: 0, root: createTree().root() }) : null;
  const all: Export = {
    ...{ folder, files, manifest, checkpoint, register, counts },
    entries: itemsOf(folder, 'entries.ndjson', entryOf),
    disclosures: itemsOf(folder, 'disclosures.ndjson', disclosureOf),
    reads: itemsOf(folder, 'reads.ndjson', readsOf),
    proofs: new Set(),
    registered: 0,
    erased: 0,
    withheld: new Set(manifest.withheld.map(String)),
  };
  let last = '';
  for (let entry = all.entries.peek(); entry; entry = all.entries.peek()) {
    failUnless(entry.id > last, entry.id, 'conversations are not in order');
    last = entry.id;
    for await (const done of checkConversation(all, last)) {
      progress(done);
      await setImmediate();
    }
    counts.conversations++;
  }
  checkRest(all, last);
  return manifest.withheld.length;
}

/** Step 5: nothing is left over, and the manifest says what was found. */
function checkRest({ manifest, register, counts, files, ...all }: Export, last: string): void {
  const disclosure = all.disclosures.peek();
  if (disclosure)
    throw new Fault(`${disclosure.conversationId} rev ${disclosure.rev}`, 'a disclosure without its entry');
  failUnless(all.reads.peek() === null, 'reads.ndjson', 'a position of a conversation that is not there');
  if (register) {
    failUnless(all.registered === register.conversations, 'register.ndjson', 'a conversation is missing');
    failUnless(counts.reads === register.reads, 'reads.ndjson', 'not all read positions');
  }
  for (const name of [...files].sort())
    if (name.startsWith('proofs/'))
      failUnless(all.proofs.has(name), name, 'a proof of a conversation that is not there');
  const place = 'manifest.json';
  failUnless(all.erased === manifest.erased.length, place, '`erased` lists more than is missing');
  failUnless(all.withheld.size === 0, place, '`withheld` lists more than is missing');
  for (const [name, found] of Object.entries(counts))
    failUnless(manifest[name as keyof typeof counts] === found, place, `${found} ${name} were found`);
  const { kind, value } = manifest.scope;
  const isScope = kind !== 'conversation' || (counts.conversations === 1 && last === value);
  failUnless(isScope, place, 'the scope is another conversation');
}
