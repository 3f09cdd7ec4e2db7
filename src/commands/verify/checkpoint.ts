import { createHash, createPublicKey, verify } from 'node:crypto';
import { leafHash, verifyInclusion } from '../../record/merkle.ts';
import { textOf, utf8 } from './files.ts';
import { at, failUnless, hashesOf, ledgerLeafOf, unbase64 } from './shapes.ts';

const FILE = 'checkpoint.txt';
const KEYS = 'keys.txt';
const NUMBER = /^(?:0|[1-9][0-9]{0,14})$/;
const SIGNATURE = /^\u2014 ([^\s+]+) (\S+)$/;
/** The begin of an Ed25519 key in DER (RFC 8410), before its 32 bytes. */
const DER = Buffer.from('302a300506032b6570032100', 'hex');

/** A checkpoint whose signature was checked. */
export interface Checkpoint {
  readonly text: string;
  readonly size: number;
  readonly root: Buffer;
}

interface Key {
  readonly name: string;
  readonly id: Buffer;
  readonly publicKey: Buffer;
}

function keyOf(vkey: string, place: string): Key {
  const [, name = '', id, encoded] = /^([^\s+]+)\+([^+]*)\+(.*)$/s.exec(vkey) ?? [];
  const key = unbase64(encoded, 33);
  failUnless(key?.[0] === 1, place, `not a verifier key: ${vkey}`);
  const hash = createHash('sha256').update(`${name}\n`).update(key).digest().subarray(0, 4);
  failUnless(hash.toString('hex') === id, place, `the key id is not that of the key: ${vkey}`);
  return { name, id: hash, publicKey: key.subarray(1) };
}

/** Step 2: the checkpoint, signed by one of the keys; null takes those of the export. @throws Fault */
export function openCheckpoint(
  folder: string,
  vkeys: readonly string[] | null,
  files: ReadonlySet<string>,
): Checkpoint {
  const keys = vkeys ? vkeys.map((vkey) => keyOf(vkey, '--key')) : at(KEYS, () => ownKeys(folder, files));
  return at(FILE, () => {
    const note = textOf(folder, FILE);
    const end = note.lastIndexOf('\n\n');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a note has none of them
    failUnless(end >= 0 && note.endsWith('\n') && !/[\0-\x09\x0b-\x1f]/.test(note), FILE, 'not a note');
    const text = note.slice(0, end + 1);
    const lines = text.split('\n').slice(0, -1);
    const [origin, size = '', encoded] = lines;
    const root = unbase64(encoded, 32);
    failUnless(!lines.includes('') && NUMBER.test(size) && root, FILE, 'not a checkpoint');
    let isSigned = false;
    for (const line of note.slice(end + 2, -1).split('\n')) {
      const [, name, encodedSignature] = SIGNATURE.exec(line) ?? [];
      const signature = unbase64(encodedSignature);
      failUnless(signature && signature.length > 4, FILE, 'not a signature line');
      for (const key of keys.filter((key) => key.name === name && key.id.equals(signature.subarray(0, 4)))) {
        const publicKey = createPublicKey({ key: Buffer.concat([DER, key.publicKey]), format: 'der', type: 'spki' });
        const isRight = verify(null, Buffer.from(text), publicKey, signature.subarray(4));
        failUnless(isRight, FILE, 'the signature is wrong');
        isSigned ||= name === origin;
      }
    }
    failUnless(isSigned, FILE, 'no signature by the key');
    return { text: note, size: Number(size), root };
  });
}

function ownKeys(folder: string, files: ReadonlySet<string>): Key[] {
  failUnless(files.has(KEYS), KEYS, 'missing');
  const text = textOf(folder, KEYS);
  failUnless(text.endsWith('\n'), KEYS, 'no keys');
  return text
    .slice(0, -1)
    .split('\n')
    .map((vkey) => keyOf(vkey, KEYS));
}

/** The H leaf of a conversation in a proof, with its index, included in the checkpoint. @throws Error, Fault */
export function readProof(folder: string, name: string, id: string, checkpoint: Checkpoint | null) {
  const text = textOf(folder, name);
  const end = text.indexOf('\n\n');
  const [first, extra = '', index = '', ...path] = text.slice(0, end).split('\n');
  const json = extra.startsWith('extra ') && unbase64(extra.slice(6));
  const hashes = hashesOf(path);
  const isIndex = index.startsWith('index ') && NUMBER.test(index.slice(6));
  failUnless(end >= 0 && first === 'c2sp.org/tlog-proof@v1' && json && isIndex && hashes, id, 'not a proof');
  const { leaf } = JSON.parse(utf8(json));
  failUnless(checkpoint?.text === text.slice(end + 2), id, 'the proof has another checkpoint');
  const found = ledgerLeafOf(leaf);
  failUnless(found?.id === id, id, 'the proof is not of this conversation');
  const at = Number(index.slice(6));
  const isIncluded = verifyInclusion(leafHash(leaf), at, checkpoint.size, hashes, checkpoint.root);
  failUnless(isIncluded, id, 'the leaf is not in the register');
  return { index: at, leaf: { rev: found.rev, root: Buffer.from(found.root, 'hex') } };
}
