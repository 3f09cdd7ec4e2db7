/** Shapes of what an export has, as docs/RECORD.md defines them: exact, so that a text has one meaning. */

const NUMBER = '(?:0|[1-9][0-9]{0,14})';
const POSITIVE = '[1-9][0-9]{0,14}';
const ID = 'c_[A-Za-z0-9_-]{43}';
const HEX = '[0-9a-f]{64}';
const ADDRESS = '[!#-\\[\\]-~]+';
const VALUE = `\\["(?:text|opening|reply|client|changes|reason|source)","${HEX}"\\]`;
const READ = `\\["${ADDRESS}",${NUMBER}\\]`;
const TYPE = 'ADDED|EDITED|REDACTED|ERASED|IMPORTED';

const whole = (pattern: string) => new RegExp(`^(?:${pattern})$`);
const ENTRY = whole(
  `\\[1,"${ID}",${POSITIVE},"(?:${TYPE})",${NUMBER},${NUMBER},"(?:${ADDRESS})?",\\[(?:${VALUE}(?:,${VALUE})*)?\\]\\]`,
);
const LEAF = /^\[1,"[A-Z]",.*\]$/s;
const H_LEAF = whole(`\\[1,"H","${ID}",${POSITIVE},"${HEX}"\\]`);
const R_LEAF = whole(`\\[1,"R","${ID}",${NUMBER},\\[${READ}(?:,${READ})*\\]\\]`);
const IDS = whole(ID);
const POSITIVES = whole(POSITIVE);
const ADDRESSES = whole(ADDRESS);
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Names of values in their order. */
export const NAMES = ['text', 'opening', 'reply', 'client', 'changes', 'reason', 'source'];

/** A fault in an export. */
export class Fault extends Error {
  /** @param place a file, or a conversation with, where known, its `rev` and message */
  constructor(place: string, what: string) {
    super(`${place}: ${what}`);
  }
}

/** @throws Fault unless the condition holds */
export function failUnless(condition: unknown, place: string, what: string): asserts condition {
  if (!condition) throw new Fault(place, what);
}

/** Runs a step; what cannot be read or parsed is a fault at its place. */
export function at<T>(place: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw error instanceof Fault ? error : new Fault(place, `cannot be read: ${(error as Error).message}`);
  }
}

/** An entry as its text spells it. */
export interface Entry {
  readonly text: string;
  readonly id: string;
  readonly rev: number;
  readonly type: 'ADDED' | 'EDITED' | 'REDACTED' | 'ERASED' | 'IMPORTED';
  readonly seq: number;
  readonly at: number;
  readonly by: string;
  readonly values: readonly (readonly [name: string, commitment: string])[];
}

/** A line of `disclosures.ndjson`. */
export interface Disclosure {
  readonly conversationId: string;
  readonly rev: number;
  readonly name: string;
  readonly salt: string;
  readonly value: string;
}

/** A line of `reads.ndjson`. */
export interface SealedReads {
  readonly id: string;
  readonly index: number;
  readonly leaf: string;
  readonly path: readonly Buffer[];
  readonly reads: readonly (readonly [member: string, readSeq: number])[];
}

/** An H leaf: the ledger of a conversation with `rev` entries. */
export interface LedgerLeaf {
  readonly id: string;
  readonly rev: number;
  /** In lower-case hex. */
  readonly root: string;
}

export const isId = (value: unknown): value is string => typeof value === 'string' && IDS.test(value);
export const isName = (value: unknown): value is string => NAMES.includes(value as string);
export const isAddress = (value: unknown): value is string => typeof value === 'string' && ADDRESSES.test(value);
export const isCount = (value: unknown, least = 0): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= least && value < 1e15;

/** The number that a text spells; null unless it is at least 1 and spelt in its one way. */
export const positiveOf = (text: string): number | null => (POSITIVES.test(text) ? Number(text) : null);

/** The place of an entry. */
export const placeOf = ({ id, rev, seq }: Pick<Entry, 'id' | 'rev' | 'seq'>): string =>
  `${id} rev ${rev}${seq > 0 ? ` message ${seq}` : ''}`;

/** The bytes; null where the text is not base64 in its one spelling. */
export function unbase64(text: unknown, length?: number): Buffer | null {
  if (typeof text !== 'string' || !BASE64.test(text)) return null;
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text && (length === undefined || bytes.length === length) ? bytes : null;
}

/** The hashes of a path in base64; null where it is none. */
function hashesOf(path: unknown): Buffer[] | null {
  if (!Array.isArray(path)) return null;
  const hashes = path.map((text) => unbase64(text, 32));
  return hashes.every((hash) => hash !== null) ? hashes : null;
}

/** The entry that a text spells; null where it is none. */
export function entryOf(text: string): Entry | null {
  if (!ENTRY.test(text)) return null;
  const [, id, rev, type, seq, at, by, values] = JSON.parse(text);
  return { text, id, rev, type, seq, at, by, values };
}

/** The object that a line spells; null unless it has these keys in this order, spelt as canonical JSON. */
function objectOf(line: string, keys: readonly string[]): Record<string, unknown> | null {
  const value: unknown = JSON.parse(line);
  if (typeof value !== 'object' || value === null || Object.keys(value).join() !== keys.join()) return null;
  return JSON.stringify(value) === line ? (value as Record<string, unknown>) : null;
}

/** The disclosure that a line spells; null where it is none. */
export function disclosureOf(line: string): Disclosure | null {
  const item = objectOf(line, ['conversationId', 'rev', 'name', 'salt', 'value']);
  if (!item || !isId(item.conversationId) || !isCount(item.rev, 1) || !isName(item.name)) return null;
  if (typeof item.salt !== 'string' || typeof item.value !== 'string' || /\p{Surrogate}/u.test(item.value)) return null;
  return item as unknown as Disclosure;
}

/** The read positions that a line of `reads.ndjson` spells; null where it spells none. */
export function readsOf(line: string): SealedReads | null {
  const { index, leaf, path } = objectOf(line, ['index', 'leaf', 'path']) ?? {};
  const hashes = hashesOf(path);
  if (!isCount(index) || typeof leaf !== 'string' || !R_LEAF.test(leaf) || !hashes) return null;
  const [, , id, , reads] = JSON.parse(leaf);
  return { id, index, leaf, path: hashes, reads };
}

/** The contents of a leaf of the register; null where the text is no leaf. */
export function leafOf(text: string): LedgerLeaf | 'reads' | 'other' | null {
  if (text.startsWith('[1,"H",')) return ledgerLeafOf(text);
  if (text.startsWith('[1,"R",')) return R_LEAF.test(text) ? 'reads' : null;
  return LEAF.test(text) ? 'other' : null;
}

/** The H leaf that a text spells; null where it is none. */
export function ledgerLeafOf(text: unknown): LedgerLeaf | null {
  if (typeof text !== 'string' || !H_LEAF.test(text)) return null;
  const [, , id, rev, root] = JSON.parse(text);
  return { id, rev, root };
}

/** Whether texts are in ascending order, without repeats. */
export const areAscending = (texts: readonly string[]): boolean =>
  texts.every((text, i) => i === 0 || (texts[i - 1] ?? '') < text);
