import {
  createHmac,
  createPrivateKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomUUID,
  timingSafeEqual,
} from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { createSigner, type Signer } from './signed-note.ts';

/** Keys at once: the one in use, and the next or last one during a rotation. */
const MAX_KEYS = 2;
/** Permissions that a file with a key must not give: reading and writing for all, writing for the group. */
const OPEN_TO_OTHERS = 0o026;

/** The keys of the record: they sign its checkpoints and make hashes of texts that cannot be guessed at. */
export interface RecordKeys {
  /** Name of the deployment in its checkpoints (C2SP tlog-checkpoint, "Note text"). */
  readonly origin: string;
  /** Signers of checkpoints (C2SP signed-note); empty where nothing is signed. */
  readonly signers: readonly Signer[];
  /**
   * Hash of the first text of a message, by which a repeat of its sending is known after the text is erased:
   * HMAC-SHA-256 (RFC 2104) in base64url under a key derived from the first key (RFC 5869). Null without keys.
   * @param id id of the message
   */
  hashFirstText(id: string, text: string): string | null;
  /** Whether `hashFirstText` made the hash of this text, with any of the keys; in constant time (RFC 2104). */
  isFirstText(hash: string, id: string, text: string): boolean;
}

/** Whether a text can name a deployment (C2SP tlog-checkpoint): 1 to 100 printable ASCII characters but space and +. */
export function isOrigin(text: string): boolean {
  return /^[!-*,-~]{1,100}$/.test(text);
}

function recordKeysOf(origin: string, keys: readonly KeyObject[]): RecordKeys {
  const macs = keys.map((key) => {
    const seed = Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url');
    const secret = Buffer.from(hkdfSync('sha256', seed, '', 'kredichat first text', 32));
    return (id: string, text: string) => createHmac('sha256', secret).update(`${id}\n${text}`).digest();
  });
  return {
    origin,
    signers: keys.map((key) => createSigner(origin, key)),
    hashFirstText: (id, text) => macs[0]?.(id, text).toString('base64url') ?? null,
    isFirstText(hash, id, text) {
      const bytes = Buffer.from(hash, 'base64url');
      return macs.some((mac) => bytes.length === 32 && timingSafeEqual(bytes, mac(id, text)));
    },
  };
}

/** No keys: checkpoints are not signed (C2SP signed-note needs one). */
export const NO_KEYS = (origin: string): RecordKeys => recordKeysOf(origin, []);

/** A new key that is kept nowhere (RFC 8032), for a store in memory. */
export function ephemeralKeys(origin: string): RecordKeys {
  return recordKeysOf(origin, [generateKeyPairSync('ed25519').privateKey]);
}

/**
 * Reads Ed25519 private keys in PKCS#8 PEM (RFC 8410, section 7) from files, at most two. Of two, both sign and the
 * first one makes hashes; of none, there are no signers.
 * @throws Error that names the file, when it cannot be read, has no such key, or is open to others
 */
export function loadKeys(paths: readonly string[], origin: string): RecordKeys {
  if (paths.length > MAX_KEYS) throw new Error(`There are at most ${MAX_KEYS} keys of the record`);
  const keys = paths.map(loadKey);
  if (keys[1] && keys[0]?.equals(keys[1])) throw new Error(`${paths[1]} has the same key as ${paths[0]}`);
  return recordKeysOf(origin, keys);
}

function loadKey(path: string): KeyObject {
  const pem = readPrivate(path);
  try {
    if (!pem.includes('-----BEGIN PRIVATE KEY-----')) throw new Error('no PKCS#8 PEM');
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // The message of the library is of no help, and might tell of the contents.
  }
  throw new Error(`${path} is not an Ed25519 private key (PKCS#8 PEM, unencrypted)`);
}

function readPrivate(path: string): string {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const { mode } = fstatSync(file);
    if ((mode & OPEN_TO_OTHERS) === 0) return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`${path} cannot be read: ${(error as Error).message}`);
  } finally {
    if (file !== undefined) closeSync(file);
  }
  throw new Error(`${path} may be read or written by others: set its mode to 0600 (or 0640)`);
}

/**
 * Makes a file with a new Ed25519 private key (PKCS#8 PEM, RFC 8410), mode 0600, unless there is one; durable when
 * it returns. Of two processes at once, one makes the file, whole at once, and both can load it.
 */
export function createKey(path: string): void {
  if (!existsSync(path)) {
    const { privateKey } = generateKeyPairSync('ed25519');
    const part = `${path}.${randomUUID()}`;
    try {
      writeFileSync(part, privateKey.export({ format: 'pem', type: 'pkcs8' }), {
        mode: 0o600,
        flag: 'wx',
        flush: true,
      });
      linkSync(part, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      rmSync(part, { force: true });
    }
  }
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
