import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { at, Fault, failUnless, isCount, isId, isName } from './shapes.ts';

const MANIFEST = 'manifest.json';
/** Longest line of a list, in bytes, with its newline. */
const MAX_LINE = 1_048_576;
const PART = 65_536;
const FILE_NAME = /^(?:proofs\/)?[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/** Counts found, under the names that the manifest has for them. */
export interface Counts {
  conversations: number;
  messages: number;
  entries: number;
  disclosures: number;
  reads: number;
  unsigned: number;
}

export const noCounts = (): Counts => ({
  ...{ conversations: 0, messages: 0, entries: 0, disclosures: 0, reads: 0, unsigned: 0 },
});

/** The part of `manifest.json` that a verifier reads. */
export interface Declared extends Readonly<Counts> {
  readonly scope: { readonly kind: 'conversation' | 'config' | 'all'; readonly value: string | null };
  readonly erased: readonly (readonly [id: string, rev: number, name: string, declaringRev: number])[];
  readonly withheld: readonly (readonly [id: string, rev: number, name: string])[];
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[];
}

/** A UTF-8 text that keeps every byte: nothing is replaced or left out. @throws TypeError for other bytes */
const utf8 = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);

/** The text of a small file. @throws Error when it cannot be read, or is not UTF-8 */
export const textOf = (folder: string, name: string): string => utf8(readFileSync(join(folder, name)));

/** Step 1: the manifest, with the sums of all files, and no file beside them. @throws Fault */
export function checkManifest(folder: string): Declared {
  const manifest = at(MANIFEST, () => {
    const parsed = JSON.parse(textOf(folder, MANIFEST));
    failUnless(parsed?.format === 'export 1', MANIFEST, 'not of format export 1');
    checkDeclared(parsed);
    return parsed as Declared;
  });
  const names = new Set<string>();
  for (const { name } of manifest.files) {
    failUnless(!names.has(name), name, 'listed twice');
    names.add(name);
  }
  for (const { name, bytes, sha256 } of manifest.files)
    at(name, () => {
      failUnless(lstatSync(join(folder, name)).isFile(), name, 'not a plain file');
      const sum = sumOf(join(folder, name));
      failUnless(sum.bytes === bytes && sum.sha256 === sha256, name, 'not as the manifest says');
    });
  for (const name of at(MANIFEST, () => namesIn(folder)))
    failUnless(names.has(name) || name === MANIFEST, name, 'not in the manifest');
  const needed = ['entries.ndjson', 'disclosures.ndjson', 'reads.ndjson'];
  if (manifest.scope.kind === 'all') needed.push('register.ndjson');
  for (const name of needed) failUnless(names.has(name), MANIFEST, `there is no ${name}`);
  return manifest;
}

function checkDeclared(manifest: Record<keyof Declared, unknown>): void {
  for (const count of Object.keys(noCounts()) as (keyof Counts)[])
    failUnless(isCount(manifest[count]), MANIFEST, `there is no count of ${count}`);
  const { kind, value } = manifest.scope as Declared['scope'];
  const isScope = kind === 'all' ? value === null : ['conversation', 'config'].includes(kind);
  failUnless(isScope && (value === null) === (kind === 'all'), MANIFEST, 'it has no scope');
  failUnless(value === null || typeof value === 'string', MANIFEST, 'it has no scope');
  for (const [id, rev, name, declaringRev, ...rest] of manifest.erased as unknown[][])
    failUnless(
      isId(id) && isCount(rev, 1) && isName(name) && isCount(declaringRev, 1) && rest.length === 0,
      MANIFEST,
      '`erased` has a wrong item',
    );
  const withheld = manifest.withheld as unknown[][];
  for (const [id, rev, name, ...rest] of withheld)
    failUnless(
      isId(id) && isCount(rev, 1) && isName(name) && rest.length === 0,
      MANIFEST,
      '`withheld` has a wrong item',
    );
  failUnless(new Set(withheld.map(String)).size === withheld.length, MANIFEST, '`withheld` has an item twice');
  for (const { name, bytes, sha256 } of manifest.files as Declared['files']) {
    failUnless(typeof name === 'string' && FILE_NAME.test(name), MANIFEST, 'a file has a wrong name');
    failUnless(name !== MANIFEST && isCount(bytes) && typeof sha256 === 'string', MANIFEST, `a wrong item: ${name}`);
  }
}

function sumOf(path: string): { bytes: number; sha256: string } {
  const hash = createHash('sha256');
  let bytes = 0;
  for (const part of partsOf(path)) {
    hash.update(part);
    bytes += part.length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** All names in the folder in ASCII order; those in `proofs` with that. */
function namesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((item) =>
      item.name === 'proofs' && item.isDirectory()
        ? readdirSync(join(folder, item.name)).map((name) => `proofs/${name}`)
        : [item.name],
    )
    .sort();
}

/** The bytes of a file; a part is valid until the next one. */
function* partsOf(path: string): Generator<Buffer, undefined> {
  const file = openSync(path, 'r');
  const part = Buffer.alloc(PART);
  try {
    for (let length = readSync(file, part); length > 0; length = readSync(file, part)) yield part.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

/** The lines of a file. @throws Fault for one that is too long, is not UTF-8, or has no end */
export function* linesOf(folder: string, name: string): Generator<string, undefined> {
  let rest = Buffer.alloc(0);
  for (const part of partsOf(join(folder, name))) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, part]) : part;
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      failUnless(end - from < MAX_LINE, name, 'a line is too long');
      yield utf8(bytes.subarray(from, end));
      from = end + 1;
    }
    rest = Buffer.from(bytes.subarray(from));
    failUnless(rest.length < MAX_LINE, name, 'a line is too long');
  }
  failUnless(rest.length === 0, name, 'the last line has no end');
}

/** The items of a list, read one ahead. */
export interface Items<T> {
  /** The next item, which stays the next; null at the end. @throws Fault for a line that spells none */
  peek(): T | null;
  /** Goes on to the next item. */
  drop(): void;
}

export function itemsOf<T>(folder: string, name: string, parse: (line: string) => T | null): Items<T> {
  const lines = linesOf(folder, name);
  let next: T | null | undefined;
  return {
    peek() {
      if (next !== undefined) return next;
      const item = at(name, () => {
        const line = lines.next();
        if (line.done) return null;
        const item = parse(line.value);
        if (item === null) throw new Fault(name, `not of its form: ${line.value.slice(0, 200)}`);
        return item;
      });
      next = item;
      return item;
    },
    drop() {
      next = undefined;
    },
  };
}
