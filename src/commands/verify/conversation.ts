import { commitment } from '../../record/commitment.ts';
import { createTree, leafHash, verifyInclusion } from '../../record/merkle.ts';
import { type Checkpoint, readProof } from './checkpoint.ts';
import type { Counts, Declared, Items } from './files.ts';
import type { Found } from './register.ts';
import { checkOpening, createCourse } from './rules.ts';
import {
  areAscending,
  at,
  type Disclosure,
  type Entry,
  Fault,
  failUnless,
  placeOf,
  positiveOf,
  type SealedReads,
  unbase64,
} from './shapes.ts';

/** Entries between two signs of progress. */
const STEP = 5000;

/** An export while it is checked. */
export interface Export {
  readonly folder: string;
  /** Names of its files. */
  readonly files: ReadonlySet<string>;
  readonly manifest: Declared;
  /** Null where none was signed yet. */
  readonly checkpoint: Checkpoint | null;
  /** Null unless everything was exported. */
  readonly register: Found | null;
  readonly entries: Items<Entry>;
  readonly disclosures: Items<Disclosure>;
  readonly reads: Items<SealedReads>;
  /** Counts so far. */
  readonly counts: Counts;
  /** Names of the proofs that were checked. */
  readonly proofs: Set<string>;
  /** Number of conversations so far that the register has. */
  registered: number;
  /** Number of items of `manifest.erased` so far. */
  erased: number;
  /** Items of `manifest.withheld` that were not found yet. */
  readonly withheld: Set<string>;
}

type Missing = Pick<Entry, 'id' | 'rev' | 'seq'> & { readonly name: string };

/** Step 4: the conversation that `entries` has next. Gives the number of entries done since. @throws Fault */
export async function* checkConversation(all: Export, id: string): AsyncGenerator<number> {
  const { entries, disclosures, counts } = all;
  const leaves = ledgersOf(all, id);
  const signedRev = leaves.at(-1)?.rev ?? 0;
  const tree = createTree();
  const course = createCourse();
  const missing: Missing[] = [];
  let checked = 0;
  for (let entry = entries.peek(); entry?.id === id; entry = entries.peek()) {
    entries.drop();
    const { rev } = entry;
    failUnless(rev === tree.size + 1, placeOf(entry), `rev ${tree.size + 1} is next`);
    course.take(entry);
    for (const [name, committed] of entry.values)
      if (!isDisclosed(all, entry, name, committed)) missing.push({ id, rev, seq: entry.seq, name });
    const extra = disclosures.peek();
    if (extra && (extra.conversationId < id || (extra.conversationId === id && extra.rev <= rev)))
      throw new Fault(`${extra.conversationId} rev ${extra.rev}`, 'a disclosure of what the entry does not have');
    tree.add(leafHash(entry.text));
    counts.entries++;
    if (rev > signedRev) counts.unsigned++;
    if (leaves[checked]?.rev === rev)
      failUnless(leaves[checked++]?.root.equals(tree.root()), `${id} rev ${rev}`, 'not the ledger of the leaf');
    if (rev % STEP === 0) yield STEP;
  }
  failUnless(checked === leaves.length, id, 'entries are missing at the end');
  counts.messages += course.messages;
  for (const one of missing) checkMissing(all, one, course.redactedAt(one.seq) ?? 0);
  checkReads(all, id, course.messages);
  yield tree.size % STEP;
}

/** The sizes and roots that the ledger must have had, ascending: by the proof, and by the register if it is there. */
function ledgersOf(all: Export, id: string): { readonly rev: number; readonly root: Buffer }[] {
  const { folder, files, checkpoint, register } = all;
  const known = register?.leavesOf(id) ?? [];
  const newest = known.at(-1);
  const name = `proofs/${id}.tlog-proof`;
  if (!files.has(name)) {
    failUnless(!newest, id, 'there is no proof');
    return [];
  }
  const { leaf, index } = at(id, () => readProof(folder, name, id, checkpoint));
  if (register) failUnless(newest?.index === index, id, 'the leaf is not the newest');
  all.proofs.add(name);
  if (!newest) return [leaf];
  all.registered++;
  return known;
}

/** Checks a value; false where it is missing. */
function isDisclosed(all: Export, entry: Entry, name: string, committed: string): boolean {
  const next = all.disclosures.peek();
  if (next?.conversationId !== entry.id || next.rev !== entry.rev || next.name !== name) return false;
  all.disclosures.drop();
  all.counts.disclosures++;
  const place = placeOf(entry);
  const { value } = next;
  const salt = unbase64(next.salt, 16);
  failUnless(salt, place, 'a salt of 16 bytes is needed');
  failUnless(commitment(salt, value) === committed, place, `the ${name} is not the one committed to`);
  if (name === 'reply')
    failUnless((positiveOf(value) ?? entry.seq) < entry.seq, place, 'a reply to no earlier message');
  if (name === 'opening') {
    const { kind, value: scope } = all.manifest.scope;
    at(place, () => checkOpening(place, entry.id, value, kind === 'config' ? scope : null));
  }
  return true;
}

/** Checks that a missing value is declared. `declaringRev` is that of the redaction of its message; 0 for none. */
function checkMissing(all: Export, { name, ...entry }: Missing, declaringRev: number): void {
  const { id, rev } = entry;
  const place = placeOf(entry);
  if (all.withheld.delete(String([id, rev, name]))) return;
  const isErased = name === 'text' && declaringRev > rev;
  failUnless(isErased, place, `the ${name} is missing, and no entry declares it`);
  const listed = all.manifest.erased[all.erased++];
  const isListed = String(listed) === String([id, rev, name, declaringRev]);
  failUnless(isListed, 'manifest.json', `\`erased\` does not list ${place}`);
}

/** Checks the read positions of a conversation: in the register, never backward, of messages that are there. */
function checkReads({ reads, checkpoint, counts }: Export, id: string, messages: number): void {
  const positions = new Map<string, number>();
  let last = -1;
  for (let next = reads.peek(); next; next = reads.peek()) {
    failUnless(next.id >= id, 'reads.ndjson', 'a position of a conversation that is not there');
    if (next.id > id) break;
    reads.drop();
    const { index, leaf, path } = next;
    failUnless(index > last, id, 'read positions are not in order');
    last = index;
    const isIncluded = checkpoint && verifyInclusion(leafHash(leaf), index, checkpoint.size, path, checkpoint.root);
    failUnless(isIncluded, id, 'read positions that are not in the register');
    failUnless(areAscending(next.reads.map(([member]) => member)), id, 'members of a read position are not in order');
    for (const [member, seq] of next.reads) {
      const isForward = seq >= (positions.get(member) ?? 0) && seq <= messages;
      failUnless(isForward, id, `a wrong read position: ${member}`);
      positions.set(member, seq);
    }
    counts.reads++;
  }
}
