import { z } from 'zod';
import { commitment } from './commitment.ts';
import { HASH_BYTES, leafHash, verifyInclusion } from './merkle.ts';
import { type Checkpoint, fromBase64, openCheckpoint } from './signed-note.ts';

const HEADER = 'c2sp.org/tlog-proof@v1';
/** Characters of a proof, and hashes of its path, at most. */
const [MAX_PROOF, MAX_PATH] = [2 ** 22, 64];
const SALT_BYTES = 16;

/** A proof that a leaf is in a tree (C2SP tlog-proof, "Format"). */
export interface Proof {
  /** JSON; undefined for none. It is not authenticated. */
  readonly extra: unknown;
  /** Index of the leaf. */
  readonly index: number;
  /** Inclusion of the leaf (RFC 6962, section 2.1.1). */
  readonly path: readonly Buffer[];
  /** Signed note of the tree. */
  readonly checkpoint: string;
}

/** Writes a proof (C2SP tlog-proof, "Format"), with JSON as its extra data. */
export function formatProof({ extra, index, path, checkpoint }: Omit<Proof, 'extra'> & { extra?: object }): string {
  const lines = [HEADER];
  if (extra !== undefined) lines.push(`extra ${Buffer.from(JSON.stringify(extra)).toString('base64')}`);
  lines.push(`index ${index}`, ...path.map((hash) => hash.toString('base64')));
  return `${lines.join('\n')}\n\n${checkpoint}`;
}

/** Reads a proof (C2SP tlog-proof, "Format"). @throws Error when it is none, or its extra data is no JSON */
export function parseProof(text: string): Proof {
  if (text.length > MAX_PROOF) throw new Error(`The proof has more than ${MAX_PROOF} characters`);
  const end = text.indexOf('\n\n');
  if (end < 0) throw new Error('The proof has no checkpoint');
  const [header, ...lines] = text.slice(0, end).split('\n');
  if (header !== HEADER) throw new Error(`The proof does not begin with ${HEADER}`);
  const extra = lines[0]?.startsWith('extra ') ? jsonOf(lines.shift()?.slice(6) ?? '') : undefined;
  const [, index] = /^index (0|[1-9][0-9]{0,14})$/.exec(lines.shift() ?? '') ?? [];
  if (index === undefined) throw new Error('The proof has no index');
  const path = lines.map(fromBase64);
  if (path.length > MAX_PATH || !path.every((hash) => hash?.length === HASH_BYTES))
    throw new Error('The path of the proof is malformed');
  return { extra, index: Number(index), path: path as Buffer[], checkpoint: text.slice(end + 2) };
}

function jsonOf(base64: string): unknown {
  try {
    const bytes = fromBase64(base64) ?? Buffer.of(0xff);
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    throw new Error('The extra data of the proof is not base64 of JSON');
  }
}

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const bytes = (length: number) =>
  z.string().transform((text, context) => {
    const decoded = fromBase64(text);
    if (decoded?.length === length) return decoded;
    context.addIssue(`not base64 of ${length} bytes`);
    return z.NEVER;
  });
const natural = z.int().min(0);
const positive = z.int().min(1);

const EXTRA = z.object({
  entry: z.string(),
  index: natural,
  path: z.array(bytes(HASH_BYTES)).max(MAX_PATH),
  leaf: z.string(),
  disclosures: z.array(z.object({ name: z.string(), salt: bytes(SALT_BYTES), value: z.string() })),
});
const H_LEAF = z.tuple([z.literal(1), z.literal('H'), z.string(), positive, hex]);
const COMMITMENTS = z.array(z.tuple([z.string(), hex]));
const ENTRY = z.tuple([z.literal(1), z.string(), positive, z.string(), natural, natural, z.string(), COMMITMENTS]);

/** Reads what was hashed: JSON without spaces, in one spelling. */
function parseHashed<Schema extends z.ZodType>(text: string, schema: Schema, what: string): z.infer<Schema> {
  try {
    const value = schema.parse(JSON.parse(text));
    if (JSON.stringify(value) === text) return value;
  } catch {
    // The error is the one below.
  }
  throw new Error(`The proof has no well-formed ${what}`);
}

/** The contents of a message's proof, once verified. */
export interface MessageProof {
  /** The entry, as in docs/RECORD.md: version, conversation, rev, type, seq, time, author, commitments. */
  readonly entry: z.infer<typeof ENTRY>;
  /** Values that the entry commits to. */
  readonly disclosures: readonly { readonly name: string; readonly salt: Buffer; readonly value: string }[];
  /** The H leaf that names the ledger of the entry. */
  readonly leaf: string;
  readonly checkpoint: Pick<Checkpoint, 'origin' | 'size'>;
}

/**
 * Checks the proof of a message (C2SP tlog-proof, "Verifying a tlog proof"; docs/RECORD.md): its checkpoint, the leaf
 * in the register, the entry in the ledger of the leaf, the values behind the entry's commitments.
 * @param vkeys keys that are trusted (C2SP signed-note, "Verifier keys")
 * @throws Error that says what is wrong
 */
export function verifyMessageProof(proof: string, vkeys: readonly string[]): MessageProof {
  const { extra, index, path, checkpoint } = parseProof(proof);
  const { origin, size, root } = openCheckpoint(checkpoint, vkeys);
  const parsed = EXTRA.safeParse(extra);
  if (!parsed.success) throw new Error(`The extra data of the proof is malformed: ${parsed.error.issues[0]?.message}`);
  const { leaf, disclosures, ...inner } = parsed.data;

  const [, , conversation, lastRev, ledgerRoot] = parseHashed(leaf, H_LEAF, 'H leaf');
  if (!verifyInclusion(leafHash(leaf), index, size, path, root))
    throw new Error('The leaf is not in the register at the index of the proof');

  const entry = parseHashed(inner.entry, ENTRY, 'entry');
  const [, entryConversation, rev, , , , , commitments] = entry;
  if (entryConversation !== conversation) throw new Error('The leaf is not of the conversation of the entry');
  if (rev !== inner.index + 1) throw new Error('The entry is not of the index of the proof');
  if (!verifyInclusion(leafHash(inner.entry), inner.index, lastRev, inner.path, Buffer.from(ledgerRoot, 'hex')))
    throw new Error('The entry is not in the ledger that the leaf names');

  const open = new Map(commitments);
  for (const { name, salt, value } of disclosures) {
    if (open.get(name) !== commitment(salt, value))
      throw new Error(`The entry does not commit to the ${name} disclosed`);
    open.delete(name);
  }
  return { entry, disclosures, leaf, checkpoint: { origin, size } };
}
