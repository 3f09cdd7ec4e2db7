import { hash } from 'node:crypto';
import type { Tile, TileKey } from '../store/store.ts';

/** Length of a hash in bytes (SHA-256; C2SP tlog-tiles, "Parameters"). */
export const HASH_BYTES = 32;

/** Hashes in a full tile (C2SP tlog-tiles, "Merkle Tree"). */
export const TILE = 256;

/** Heights of the tree between two levels of tiles: 2 ** 8 = 256. */
const TILE_HEIGHT = 8;

/**
 * Reads tiles (C2SP tlog-tiles) in the order of the keys; null for a missing one. A tile may hold more hashes than the
 * size in question has: that of an earlier size is its prefix. A Buffer that was returned never changes.
 */
export type ReadTiles = (keys: readonly TileKey[]) => Promise<readonly (Buffer | null)[]>;

/** The leaves from `lo` to `hi - 1`: D[lo:hi] of RFC 6962, section 2.1. */
type Range = readonly [lo: number, hi: number];

/** A full subtree: where its root is, in the row of this height over a tile. */
type Node = TileKey & { readonly height: number; readonly at: number };

/** The tiles that were read, by `nameOf`. */
type Tiles = ReadonlyMap<string, Buffer | null>;

const nameOf = (level: number, index: number) => `${level}/${index}`;

/** A letter for each byte (latin1): even with the copy into a Buffer, faster than one from `hash` or a hash object. */
const sha256 = (data: Buffer | string) => hash('sha256', data, 'binary');

/** Hash of the empty tree, MTH({}) = SHA-256 of nothing (RFC 6962, section 2.1). */
const EMPTY = Buffer.from(sha256(''), 'latin1');

/** 0x01 and the two hashes below a node. */
const pair = Buffer.alloc(1 + 2 * HASH_BYTES, 1);
const NO_HASHES = Buffer.alloc(0);

/** Hash of a leaf: SHA-256(0x00 ‖ text in UTF-8) (RFC 6962, section 2.1). */
export function leafHash(text: string): Buffer {
  return Buffer.from(sha256(`\0${text}`), 'latin1');
}

/** Hash of a node: SHA-256(0x01 ‖ left ‖ right) (RFC 6962, section 2.1). */
export function nodeHash(left: Buffer, right: Buffer): Buffer {
  left.copy(pair, 1);
  right.copy(pair, 1 + HASH_BYTES);
  return Buffer.from(sha256(pair), 'latin1');
}

/** The rows of tiles, for readers that keep tiles: many proofs then hash each of them once. */
const knownRows = new WeakMap<Buffer, readonly Buffer[]>();

/** The nodes over a tile by height, in joined rows: first the tile, last its root, if full; those of `before` first. */
function rowsOf(tile: Buffer, before?: Buffer): readonly Buffer[] {
  const known = knownRows.get(tile);
  if (known) return known;
  const rows = [tile];
  for (let row = tile; row.length >= 2 * HASH_BYTES; ) {
    const above = Buffer.allocUnsafe(Math.floor(row.length / (2 * HASH_BYTES)) * HASH_BYTES);
    const copied = (before && knownRows.get(before))?.[rows.length]?.copy(above) ?? 0;
    for (let at = copied; at < above.length; at += HASH_BYTES) {
      row.copy(pair, 1, 2 * at, 2 * (at + HASH_BYTES));
      above.write(sha256(pair), at, 'latin1');
    }
    rows.push(above);
    row = above;
  }
  knownRows.set(tile, rows);
  return rows;
}

/** The hash `at` in the row of this height over a tile. @throws Error when the tile is too short */
function nodeAt(tiles: Tiles, { level, index, height, at }: Node): Buffer {
  const row = rowsOf(tiles.get(nameOf(level, index)) ?? NO_HASHES)[height] ?? NO_HASHES;
  const node = row.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
  if (node.length === HASH_BYTES) return node;
  throw new Error(`Tile ${nameOf(level, index)} of the tree has fewer than ${(at + 1) * 2 ** height} hashes`);
}

/** The largest power of two below `n`: k of RFC 6962, section 2.1. */
function splitOf(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** The full subtrees that a range of RFC 6962 consists of, from right to left. */
function nodesOf([lo, hi]: Range): Node[] {
  const nodes: Node[] = [];
  let end = hi;
  for (let height = 0, leaves = 1; end > lo; height++, leaves *= 2) {
    if (end % (leaves * 2) === 0 && end - leaves * 2 >= lo) continue;
    end -= leaves;
    const inTile = height % TILE_HEIGHT;
    const row = TILE / 2 ** inTile;
    const node = end / leaves;
    const level = (height - inTile) / TILE_HEIGHT;
    nodes.push({ level, index: Math.floor(node / row), height: inTile, at: node % row });
  }
  return nodes;
}

/** MTH(D[lo:hi]) (RFC 6962, section 2.1) from tiles. @throws Error when a hash is missing */
function hashOf(tiles: Tiles, range: Range): Buffer {
  const [last, ...before] = nodesOf(range).map((node) => nodeAt(tiles, node));
  return before.reduce((right, left) => nodeHash(left, right), last ?? EMPTY);
}

/** Reads tiles, each once. */
async function tilesOf(read: ReadTiles, keys: readonly TileKey[]): Promise<Map<string, Buffer | null>> {
  const byName = new Map(keys.map(({ level, index }) => [nameOf(level, index), { level, index }]));
  if (byName.size === 0) return new Map();
  const tiles = await read([...byName.values()]);
  return new Map([...byName.keys()].map((name, i) => [name, tiles[i] ?? null]));
}

/** The hashes of ranges, in one reading. */
async function hashesAt(read: ReadTiles, ranges: readonly Range[]): Promise<Buffer[]> {
  const tiles = await tilesOf(read, ranges.flatMap(nodesOf));
  return ranges.map((range) => hashOf(tiles, range));
}

const isSize = (n: number) => Number.isSafeInteger(n) && n >= 0;

/** Root of a tree when it had `size` leaves: MTH (RFC 6962, section 2.1). @throws Error when a tile is missing */
export async function rootAt(read: ReadTiles, size: number): Promise<Buffer> {
  if (!isSize(size)) throw new RangeError(`A tree has no size of ${size}`);
  return (await hashesAt(read, [[0, size]]))[0] ?? EMPTY;
}

/**
 * Audit path of the leaf `index` in the tree of `size` leaves: PATH (RFC 6962, section 2.1.1), the sibling of the leaf
 * first. @throws Error when a tile is missing, or the tree has no such leaf
 */
export async function inclusionAt(read: ReadTiles, index: number, size: number): Promise<Buffer[]> {
  if (!isSize(index) || !isSize(size) || index >= size) throw new RangeError(`No leaf ${index} in ${size} leaves`);
  const ranges: Range[] = [];
  let [lo, hi]: Range = [0, size];
  while (hi - lo > 1) {
    const middle = lo + splitOf(hi - lo);
    ranges.unshift(index < middle ? [middle, hi] : [lo, middle]);
    if (index < middle) hi = middle;
    else lo = middle;
  }
  return hashesAt(read, ranges);
}

/**
 * Proof that the tree of `size` leaves begins with that of `oldSize` leaves: PROOF (RFC 6962, section 2.1.2); nothing
 * for equal sizes and for an empty old tree. @throws Error when a tile is missing, or the tree was never that large
 */
export async function consistencyAt(read: ReadTiles, oldSize: number, size: number): Promise<Buffer[]> {
  if (!isSize(oldSize) || !isSize(size) || oldSize > size)
    throw new RangeError(`No ${oldSize} leaves before ${size} leaves`);
  if (oldSize === 0) return [];
  const ranges: Range[] = [];
  let [lo, hi]: Range = [0, size];
  while (oldSize < hi) {
    const middle = lo + splitOf(hi - lo);
    ranges.unshift(oldSize <= middle ? [middle, hi] : [lo, middle]);
    if (oldSize <= middle) hi = middle;
    else lo = middle;
  }
  if (lo > 0) ranges.unshift([lo, hi]);
  return hashesAt(read, ranges);
}

/**
 * Adds leaves to a tree of `size` leaves, in one reading.
 * @returns its new size and root (RFC 6962, section 2.1), and the tiles that changed, complete (C2SP tlog-tiles)
 * @throws Error when a tile is missing
 */
export async function append(
  read: ReadTiles,
  size: number,
  leafHashes: readonly Buffer[],
): Promise<{ size: number; root: Buffer; tiles: Tile[] }> {
  if (!isSize(size)) throw new RangeError(`A tree has no size of ${size}`);
  if (leafHashes.some(({ length }) => length !== HASH_BYTES)) throw new RangeError(`A hash has ${HASH_BYTES} bytes`);
  const edge: (TileKey & { count: number })[] = [];
  for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / TILE))
    edge.push({ level, index: Math.floor(count / TILE), count: count % TILE });
  const partial = edge.filter(({ count }) => count > 0);
  const known = await tilesOf(read, partial);

  const tiles: Tile[] = [];
  let added = leafHashes;
  for (let level = 0; added.length > 0; level++) {
    const { index, count } = edge[level] ?? { index: 0, count: 0 };
    const stored = known.get(nameOf(level, index)) ?? NO_HASHES;
    const length = count * HASH_BYTES;
    if (stored.length < length)
      throw new Error(`Tile ${nameOf(level, index)} of the tree has fewer than ${count} hashes`);
    const all = Buffer.concat([stored.subarray(0, length), ...added]);
    const roots: Buffer[] = [];
    for (let i = 0; i * TILE * HASH_BYTES < all.length; i++) {
      const hashes = all.subarray(i * TILE * HASH_BYTES, (i + 1) * TILE * HASH_BYTES);
      if (i === 0 && stored.length === length) rowsOf(hashes, stored);
      tiles.push({ level, index: index + i, hashes });
      known.set(nameOf(level, index + i), hashes);
      if (hashes.length === TILE * HASH_BYTES)
        roots.push(nodeAt(known, { level, index: index + i, height: TILE_HEIGHT, at: 0 }));
    }
    added = roots;
  }
  const newSize = size + leafHashes.length;
  return { size: newSize, root: hashOf(known, [0, newSize]), tiles };
}

/** An empty tree that is made leaf by leaf, and keeps the roots of its full subtrees alone: O(log n) memory. */
export function createTree() {
  const subtrees: Buffer[] = [];
  let size = 0;
  return {
    /** Number of leaves. */
    get size() {
      return size;
    },
    /** Adds the hash of the next leaf. */
    add(leafHash: Buffer): void {
      let right = leafHash;
      for (let n = size; n % 2 === 1; n = Math.floor(n / 2)) right = nodeHash(subtrees.pop() ?? EMPTY, right);
      subtrees.push(right);
      size++;
    },
    /** Root over the leaves so far: MTH (RFC 6962, section 2.1). */
    root: () => (size === 0 ? EMPTY : subtrees.reduceRight((right, left) => nodeHash(left, right))),
  };
}

const areHashes = (hashes: readonly Buffer[]) => hashes.every(({ length }) => length === HASH_BYTES);

/**
 * Walks from the leaf `index` of the tree of `size` leaves towards the root (RFC 9162, sections 2.1.3.2 and 2.1.4.2),
 * one step for each sibling. @returns false when the path is shorter or longer than that
 */
function climb(index: number, size: number, path: readonly Buffer[], step: (sibling: Buffer, isLeft: boolean) => void) {
  let [node, last] = [index, size - 1];
  for (const sibling of path) {
    if (last === 0) return false;
    const isLeft = node % 2 === 1 || node === last;
    step(sibling, isLeft);
    // A node at the right edge without a sibling is the root of what is below it.
    while (isLeft && node % 2 === 0 && node > 0) [node, last] = [node / 2, Math.floor(last / 2)];
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  return last === 0;
}

/** Whether a leaf hash is at `index` of the tree of this size and root (RFC 9162, section 2.1.3.2). Never throws. */
export function verifyInclusion(
  leaf: Buffer,
  index: number,
  size: number,
  path: readonly Buffer[],
  root: Buffer,
): boolean {
  if (!isSize(index) || !isSize(size) || index >= size || !areHashes([leaf, root, ...path])) return false;
  let hash = leaf;
  const isWhole = climb(index, size, path, (sibling, isLeft) => {
    hash = isLeft ? nodeHash(sibling, hash) : nodeHash(hash, sibling);
  });
  return isWhole && hash.equals(root);
}

/**
 * Whether the tree of `size` leaves begins with that of `oldSize` leaves (RFC 9162, section 2.1.4.2). Equal sizes need
 * equal roots, an empty old tree its own root; neither has a path. Never throws.
 */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Buffer,
  size: number,
  root: Buffer,
  path: readonly Buffer[],
): boolean {
  if (!isSize(oldSize) || !isSize(size) || oldSize > size || !areHashes([oldRoot, root, ...path])) return false;
  if (oldSize === size) return path.length === 0 && oldRoot.equals(root) && (size > 0 || root.equals(EMPTY));
  if (oldSize === 0) return path.length === 0 && oldRoot.equals(EMPTY);
  let [node, last] = [oldSize - 1, size - 1];
  while (node % 2 === 1) [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  // The largest full subtree at the right edge of the old tree: its root, if it is the old tree itself.
  const [first, ...rest] = node === 0 ? [oldRoot, ...path] : path;
  if (first === undefined || path.length === 0) return false;
  let [oldHash, hash] = [first, first];
  const isWhole = climb(node, last + 1, rest, (sibling, isLeft) => {
    if (isLeft) oldHash = nodeHash(sibling, oldHash);
    hash = isLeft ? nodeHash(sibling, hash) : nodeHash(hash, sibling);
  });
  return isWhole && oldHash.equals(oldRoot) && hash.equals(root);
}
