import { leafHash, verifyInclusion } from '../../record/merkle.ts';
import { openCheckpoint, parseVkey } from '../../record/signed-note.ts';
import { parseProof } from '../../record/tlog-proof.ts';
import { textOf } from './files.ts';
import { at, failUnless, ledgerLeafOf } from './shapes.ts';

const FILE = 'checkpoint.txt';
const KEYS = 'keys.txt';

/** A checkpoint with a checked signature. */
export interface Checkpoint {
  readonly note: string;
  readonly size: number;
  readonly root: Buffer;
}

/** Step 2: the checkpoint, signed by one of the keys; null takes those of the export. @throws Fault */
export function readCheckpoint(
  folder: string,
  vkeys: readonly string[] | null,
  files: ReadonlySet<string>,
): Checkpoint {
  const keys = vkeys ?? at(KEYS, () => ownKeys(folder, files));
  return at(FILE, () => {
    const note = textOf(folder, FILE);
    return { note, ...openCheckpoint(note, keys) };
  });
}

function ownKeys(folder: string, files: ReadonlySet<string>): string[] {
  failUnless(files.has(KEYS), KEYS, 'missing');
  const text = textOf(folder, KEYS);
  failUnless(text.endsWith('\n'), KEYS, 'no keys');
  const keys = text.slice(0, -1).split('\n');
  keys.forEach(parseVkey);
  return keys;
}

/** The H leaf of a conversation in a proof, with its index, included in the checkpoint. @throws Error, Fault */
export function readProof(folder: string, name: string, id: string, checkpoint: Checkpoint | null) {
  const { extra, index, path, checkpoint: note } = parseProof(textOf(folder, name));
  failUnless(checkpoint?.note === note, id, 'the proof has another checkpoint');
  const { leaf: text } = extra as { leaf: string };
  const leaf = ledgerLeafOf(text);
  failUnless(leaf?.id === id, id, 'the proof is not of this conversation');
  const isIncluded = verifyInclusion(leafHash(text), index, checkpoint.size, path, checkpoint.root);
  failUnless(isIncluded, id, 'the leaf is not in the register');
  return { index, leaf: { rev: leaf.rev, root: Buffer.from(leaf.root, 'hex') } };
}
