import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';
import { HASH_BYTES } from './merkle.ts';

/** Characters in a note, and signatures on it, at most (C2SP signed-note, "Format": verifiers have a limit). */
const [MAX_NOTE, MAX_SIGNATURES] = [2 ** 20, 100];
/** The type of Ed25519 signatures (C2SP signed-note, "Signature types"). */
const ED25519 = 0x01;
const KEY_BYTES = 32;

/** Signs notes (C2SP signed-note, "Ed25519 signatures"). */
export interface Signer {
  /** Name of the key: the origin of the checkpoints that it signs. */
  readonly name: string;
  /** The verifier key of its signatures. */
  readonly vkey: string;
  /** The signature line of a text, without a newline. */
  sign(text: string): string;
}

/** A verifier key (C2SP signed-note, "Verifier keys"). */
export interface VerifierKey {
  readonly name: string;
  /** The key id, four bytes in lower-case hex. */
  readonly id: string;
  /** Ed25519 public key. */
  readonly key: KeyObject;
}

/** The contents of a checkpoint (C2SP tlog-checkpoint, "Note text"). */
export interface Checkpoint {
  readonly origin: string;
  /** Number of leaves. */
  readonly size: number;
  readonly root: Buffer;
}

/** Bytes of base64 (RFC 4648, section 4) in its one spelling: padded, with zero bits at the end; null for another. */
export function fromBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : null;
}

/** Valid UTF-8 without ASCII control characters but newlines, the last of which ends it. */
const isText = (text: string) => text.isWellFormed() && text.endsWith('\n') && !/[^\n -\u{10ffff}]/u.test(text);
const isName = (name: string) => /^[^\s\u0085+]+$/.test(name) && isText(`${name}\n`);

/** Bytes of the public key, of a private or public one (RFC 8032). */
function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x ?? '', 'base64url');
}

function keyId(name: string, typeAndKey: Buffer): Buffer {
  return hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), typeAndKey]), 'buffer').subarray(0, 4);
}

/**
 * A signer of this name (C2SP signed-note, "Ed25519 signatures").
 * @param key Ed25519 private key
 * @throws Error when a key cannot have the name, or the key is of another kind
 */
export function createSigner(name: string, key: KeyObject): Signer {
  if (!isName(name)) throw new Error(`A key cannot have the name ${JSON.stringify(name)}`);
  if (key.type !== 'private' || key.asymmetricKeyType !== 'ed25519') throw new Error('Not an Ed25519 private key');
  const typeAndKey = Buffer.concat([Buffer.of(ED25519), rawPublicKey(key)]);
  const id = keyId(name, typeAndKey);
  return {
    name,
    vkey: `${name}+${id.toString('hex')}+${typeAndKey.toString('base64')}`,
    sign: (text) => `— ${name} ${Buffer.concat([id, sign(null, Buffer.from(text), key)]).toString('base64')}`,
  };
}

/** Reads an Ed25519 verifier key (C2SP signed-note, "Verifier keys"). @throws Error when it is none */
export function parseVkey(vkey: string): VerifierKey {
  const [, name = '', id = '', base64 = ''] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(vkey) ?? [];
  const bytes = fromBase64(base64);
  const isVkey = isName(name) && bytes?.[0] === ED25519 && bytes.length === 1 + KEY_BYTES;
  if (!isVkey || keyId(name, bytes).toString('hex') !== id)
    throw new Error(`Not a verifier key (Ed25519): ${JSON.stringify(vkey.slice(0, 200))}`);
  const x = bytes.toString('base64url', 1);
  return { name, id, key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) };
}

/** A note of a text that ends with a newline, signed by each of them (C2SP signed-note, "Format"). */
export function signNote(text: string, signers: readonly Signer[]): string {
  if (!isText(text) || signers.length === 0) throw new Error('A note has a text that ends with a newline, and signers');
  return `${text}\n${signers.map((signer) => `${signer.sign(text)}\n`).join('')}`;
}

/**
 * The text of a note, and those of the keys that signed it (C2SP signed-note, "Signatures"). Signatures by other keys
 * are ignored.
 * @throws Error when it is no note, none of the keys signed it, or a signature of one of them is wrong
 */
export function openNote(note: string, vkeys: readonly string[]): { text: string; keys: string[] } {
  const end = note.lastIndexOf('\n\n');
  if (note.length > MAX_NOTE) throw new Error(`The note has more than ${MAX_NOTE} characters`);
  if (!isText(note) || end < 0) throw new Error('The note is malformed');
  const text = note.slice(0, end + 1);
  const lines = note.slice(end + 2, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) throw new Error(`The note has more than ${MAX_SIGNATURES} signatures`);
  const known = vkeys.map((vkey) => ({ vkey, ...parseVkey(vkey) }));
  const signed = new Set<string>();
  for (const line of lines) {
    const [, name = '', base64 = ''] = /^— ([^ ]+) ([^ ]+)$/.exec(line) ?? [];
    const bytes = fromBase64(base64);
    if (!isName(name) || !bytes || bytes.length <= 4) throw new Error('A signature line of the note is malformed');
    const id = bytes.toString('hex', 0, 4);
    for (const { vkey, key } of known.filter((key) => key.name === name && key.id === id)) {
      if (!verify(null, Buffer.from(text), key, bytes.subarray(4)))
        throw new Error(`The signature of the note by the key ${name}+${id} is wrong`);
      signed.add(vkey);
    }
  }
  if (signed.size === 0) throw new Error('The note has no signature by a known key');
  return { text, keys: [...signed] };
}

/** The text of a checkpoint, which `signNote` signs (C2SP tlog-checkpoint, "Note text"). */
export function formatCheckpoint(origin: string, size: number, root: Buffer): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`;
}

/**
 * Reads the text of a checkpoint, without its signatures (C2SP tlog-checkpoint, "Note text"). Its extension lines are
 * ignored. @throws Error when it is none
 */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = '', digits = '', base64 = '', ...rest] = text.split('\n');
  const root = fromBase64(base64);
  const isNumber = /^(?:0|[1-9][0-9]{0,14})$/.test(digits);
  const isWhole = isText(text) && origin !== '' && rest.pop() === '' && !rest.includes('');
  if (!isWhole || !isNumber || root?.length !== HASH_BYTES) throw new Error('The checkpoint is malformed');
  return { origin, size: Number(digits), root };
}

/**
 * A signed checkpoint, and the keys that signed it; at least one of them has the origin as its name (C2SP
 * tlog-checkpoint, "Signatures"). @throws Error as `openNote` and `parseCheckpoint` do, or when there is no such key
 */
export function openCheckpoint(note: string, vkeys: readonly string[]): Checkpoint & { keys: string[] } {
  const { text, keys } = openNote(note, vkeys);
  const checkpoint = parseCheckpoint(text);
  if (!keys.some((vkey) => parseVkey(vkey).name === checkpoint.origin))
    throw new Error(`The checkpoint of ${checkpoint.origin} is not signed by a known key of that name`);
  return { ...checkpoint, keys };
}
