import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  append,
  consistencyAt,
  createTree,
  HASH_BYTES,
  inclusionAt,
  leafHash,
  nodeHash,
  type ReadTiles,
  rootAt,
  TILE,
  verifyConsistency,
  verifyInclusion,
} from '../../src/record/merkle.ts';
import type { Tile, TileKey } from '../../src/store/store.ts';

/** The definitions of RFC 6962, section 2.1, as they stand there, over leaf hashes. */
const sha256 = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
const hashNode = (left: Buffer, right: Buffer) => sha256(Buffer.of(1), left, right);
const hashLeaf = (leaf: Buffer) => sha256(Buffer.of(0), leaf);
const half = (n: number) => 2 ** Math.floor(Math.log2(n - 1));

const roots = new Map<string, Buffer>();
/** MTH(D[lo:hi]) of `LEAVES`. */
function mth(lo: number, hi: number): Buffer {
  const known = roots.get(`${lo}:${hi}`);
  if (known) return known;
  const k = lo + half(hi - lo);
  const root = hi === lo ? sha256() : hi - lo === 1 ? leafAt(lo) : hashNode(mth(lo, k), mth(k, hi));
  roots.set(`${lo}:${hi}`, root);
  return root;
}
function path(m: number, lo: number, hi: number): Buffer[] {
  if (hi - lo === 1) return [];
  const k = half(hi - lo);
  return m < k ? [...path(m, lo, lo + k), mth(lo + k, hi)] : [...path(m - k, lo + k, hi), mth(lo, lo + k)];
}
function subproof(m: number, lo: number, hi: number, whole: boolean): Buffer[] {
  if (m === hi - lo) return whole ? [] : [mth(lo, hi)];
  const k = half(hi - lo);
  return m <= k
    ? [...subproof(m, lo, lo + k, whole), mth(lo + k, hi)]
    : [...subproof(m - k, lo + k, hi, false), mth(lo, lo + k)];
}

const N = 300;
const LEAVES = Array.from({ length: 66_000 }, (_, i) => leafHash(`leaf ${i}`));
function leafAt(index: number): Buffer {
  return LEAVES[index] as Buffer;
}

/** Tiles in memory, and what is read of them. */
function createTiles() {
  const tiles = new Map<string, Buffer>();
  const reads: TileKey[][] = [];
  const read: ReadTiles = async (keys) => {
    reads.push([...keys]);
    return keys.map(({ level, index }) => tiles.get(`${level}/${index}`) ?? null);
  };
  const put = (changed: readonly Tile[]) => {
    for (const { level, index, hashes } of changed) tiles.set(`${level}/${index}`, hashes);
  };
  let size = 0;
  return {
    tiles,
    reads,
    read,
    async add(hashes: readonly Buffer[]) {
      const result = await append(read, size, hashes);
      put(result.tiles);
      size = result.size;
      return result;
    },
  };
}

async function treeOf(size: number) {
  const tree = createTiles();
  await tree.add(LEAVES.slice(0, size));
  return tree;
}

test('hashes are those of RFC 6962, section 2.1', () => {
  expect(leafHash('')).toEqual(hashLeaf(Buffer.alloc(0)));
  expect(leafHash('Grüße 👋\n')).toEqual(hashLeaf(Buffer.from('Grüße 👋\n')));
  expect(nodeHash(leafAt(0), leafAt(1))).toEqual(hashNode(leafAt(0), leafAt(1)));
});

test('roots are those of the test vectors of Certificate Transparency', async () => {
  const vectors = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
  const known = [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ];
  const grown = createTree();
  const tiled = createTiles();
  expect(grown.root().toString('hex')).toBe(known[0]);
  for (const [i, leaf] of vectors.entries()) {
    // The leaves are ASCII: their text has the same bytes.
    const hash = leafHash(Buffer.from(leaf, 'hex').toString('latin1'));
    grown.add(hash);
    expect(grown.root().toString('hex')).toBe(known[i + 1]);
    expect((await tiled.add([hash])).root.toString('hex')).toBe(known[i + 1]);
  }
});

test('roots and inclusion proofs of all trees up to 300 leaves are those of the definitions', async () => {
  const { read } = await treeOf(N);
  const grown = createTree();
  for (let size = 0; size <= N; size++) {
    expect(grown.size).toBe(size);
    const root = await rootAt(read, size);
    if (!root.equals(mth(0, size)) || !root.equals(grown.root())) expect.fail(`root at ${size}`);
    for (let index = 0; index < size; index++) {
      const proof = await inclusionAt(read, index, size);
      if (!Buffer.concat(proof).equals(Buffer.concat(path(index, 0, size)))) expect.fail(`path ${index} of ${size}`);
      if (!verifyInclusion(leafAt(index), index, size, proof, root)) expect.fail(`${index} of ${size} refused`);
    }
    grown.add(leafAt(size));
  }
});

test('consistency proofs of all pairs of sizes up to 300 are those of the definitions', async () => {
  const { read } = await treeOf(N);
  for (let size = 0; size <= N; size++)
    for (let oldSize = 0; oldSize <= size; oldSize++) {
      const proof = await consistencyAt(read, oldSize, size);
      const expected = oldSize === 0 ? [] : subproof(oldSize, 0, size, true);
      if (!Buffer.concat(proof).equals(Buffer.concat(expected))) expect.fail(`${oldSize} to ${size}`);
      if (!verifyConsistency(oldSize, mth(0, oldSize), size, mth(0, size), proof))
        expect.fail(`${oldSize} to ${size} refused`);
    }
});

test('tiles are those of C2SP tlog-tiles, at the sizes where a level begins', async () => {
  const tree = createTiles();
  let before = 0;
  for (const size of [1, 255, 256, 257, 512, 65_535, 65_536, 65_537, 65_800]) {
    const { root, tiles } = await tree.add(LEAVES.slice(before, size));
    expect(root, `root at ${size}`).toEqual(mth(0, size));
    const changed = tiles.map(({ level, index }) => `${level}/${index}`);
    const expected = [];
    for (let level = 0, span = 1; span <= size; level++, span *= TILE) {
      const [first, end] = [Math.floor(before / span), Math.floor(size / span)];
      for (let index = Math.floor(first / TILE); index * TILE < end; index++)
        if (end > first) expected.push(`${level}/${index}`);
      for (const tile of tiles.filter((tile) => tile.level === level)) {
        expect(tile.hashes.length).toBe(Math.min(TILE, end - tile.index * TILE) * HASH_BYTES);
        for (let i = 0; i < tile.hashes.length / HASH_BYTES; i++) {
          const at = (tile.index * TILE + i) * span;
          if (!tile.hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES).equals(mth(at, at + span)))
            expect.fail(`hash ${i} of tile ${level}/${tile.index}`);
        }
      }
    }
    expect(changed).toEqual(expected);
    before = size;
  }
  // What earlier sizes had is read from the same tiles.
  for (const size of [0, 1, 255, 256, 257, 65_535, 65_536, 65_537]) {
    expect(await rootAt(tree.read, size), `root at ${size}`).toEqual(mth(0, size));
    if (size === 0) continue;
    expect(await consistencyAt(tree.read, size, 65_800)).toEqual(subproof(size, 0, 65_800, true));
    for (const index of [0, size >> 1, size - 1])
      expect(await inclusionAt(tree.read, index, size)).toEqual(path(index, 0, size));
  }
});

test('a proof, a root and an addition read once, a tile of each level at most twice', async () => {
  const { read, reads } = await treeOf(65_950);
  reads.length = 0;
  await rootAt(read, 65_930);
  await inclusionAt(read, 30_000, 65_930);
  await consistencyAt(read, 30_001, 65_930);
  await append(read, 65_930, LEAVES.slice(65_930, 65_935));
  const names = reads.map((keys) => keys.map(({ level, index }) => `${level}/${index}`).sort());
  expect(names).toEqual([
    ['0/257', '1/1', '2/0'],
    ['0/117', '0/257', '1/0', '1/1'],
    ['0/117', '0/257', '1/0', '1/1'],
    ['0/257', '1/1', '2/0'],
  ]);
  reads.length = 0;
  expect(await inclusionAt(read, 0, 1)).toEqual([]);
  expect(await consistencyAt(read, 5, 5)).toEqual([]);
  await append(read, 65_536, []);
  expect(reads).toEqual([[{ level: 2, index: 0 }]]);
});

test('many additions make the tiles and the root of one', async () => {
  const parts = fc.array(fc.oneof(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 700 })), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(parts, async (lengths) => {
      const [many, grown] = [createTiles(), createTree()];
      let size = 0;
      for (const length of lengths) {
        const added = LEAVES.slice(size, size + length);
        for (const hash of added) grown.add(hash);
        size += length;
        const result = await many.add(added);
        expect(result.size).toBe(size);
        expect(result.root.equals(grown.root())).toBe(true);
      }
      const once = await treeOf(size);
      expect(new Map([...many.tiles].sort())).toEqual(new Map([...once.tiles].sort()));
    }),
    { numRuns: 30 },
  );
});

test('an addition to an earlier size takes the prefix of a longer tile', async () => {
  const { read } = await treeOf(300);
  const { root, tiles } = await append(read, 290, LEAVES.slice(290, 295));
  expect(root).toEqual(mth(0, 295));
  expect(tiles.map(({ hashes }) => hashes.length / HASH_BYTES)).toEqual([295 - 256]);
});

test('a missing or short tile, and a size that cannot be, are errors', async () => {
  const { read, tiles } = await treeOf(300);
  await expect(inclusionAt(read, 300, 300)).rejects.toThrow('No leaf 300 in 300 leaves');
  await expect(inclusionAt(read, -1, 300)).rejects.toThrow(RangeError);
  await expect(consistencyAt(read, 301, 300)).rejects.toThrow(RangeError);
  await expect(rootAt(read, 1.5)).rejects.toThrow(RangeError);
  await expect(append(read, 300, [Buffer.alloc(31)])).rejects.toThrow(RangeError);
  await expect(rootAt(read, 301)).rejects.toThrow('Tile 0/1 of the tree has fewer than 45 hashes');
  await expect(append(read, 301, LEAVES.slice(0, 1))).rejects.toThrow('Tile 0/1');
  tiles.delete('0/1');
  await expect(append(read, 300, LEAVES.slice(0, 1))).rejects.toThrow('Tile 0/1');
  await expect(consistencyAt(read, 10, 300)).rejects.toThrow('Tile 0/1');
});

/** What can be wrong with a list of hashes; `undefined` where the change is none. */
const wrongPath = (hashes: readonly Buffer[]) =>
  fc.oneof(
    fc.nat({ max: hashes.length }).map((at) => hashes.toSpliced(at, 0, LEAVES[at] as Buffer)),
    ...(hashes.length === 0
      ? []
      : [
          fc.nat({ max: hashes.length - 1 }).map((at) => hashes.toSpliced(at, 1)),
          fc.nat({ max: hashes.length - 1 }).map((at) => hashes.with(at, (hashes[at] as Buffer).subarray(1))),
          fc
            .tuple(fc.nat({ max: hashes.length - 1 }), fc.nat({ max: 31 }), fc.integer({ min: 1, max: 255 }))
            .map(([at, byte, bits]) => hashes.with(at, changed(hashes[at] as Buffer, byte, bits))),
        ]),
  );

function changed(hash: Buffer, at: number, bits: number): Buffer {
  const copy = Buffer.from(hash);
  copy[at] = (copy[at] ?? 0) ^ bits;
  return copy;
}

const BAD = [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 53)];

test('no other path, index, size, leaf or root is accepted for an inclusion', () => {
  const cases = fc
    .integer({ min: 1, max: N })
    .chain((size) => fc.record({ size: fc.constant(size), index: fc.nat({ max: size - 1 }) }))
    .chain(({ size, index }) => {
      const proof = path(index, 0, size);
      return fc.record({
        size: fc.constant(size),
        index: fc.constant(index),
        proof: fc.constant(proof),
        wrong: wrongPath(proof),
        other: fc.oneof(fc.nat({ max: 2 * N }), fc.constantFrom(...BAD)),
        byte: fc.nat({ max: 31 }),
      });
    });
  fc.assert(
    fc.property(cases, ({ size, index, proof, wrong, other, byte }) => {
      const [leaf, root] = [leafAt(index), mth(0, size)];
      expect(verifyInclusion(leaf, index, size, proof, root)).toBe(true);
      expect(verifyInclusion(leaf, index, size, wrong, root)).toBe(false);
      expect(verifyInclusion(changed(leaf, byte, 1), index, size, proof, root)).toBe(false);
      expect(verifyInclusion(leaf, index, size, proof, changed(root, byte, 1))).toBe(false);
      expect(verifyInclusion(leaf.subarray(1), index, size, proof, root)).toBe(false);
      if (other !== index) expect(verifyInclusion(leaf, other, size, proof, root)).toBe(false);
      // Sizes with paths of the same shape are told apart by the signed size alone.
      const sameShape = other <= 2 * N && other > index && path(index, 0, other).length === proof.length;
      if (other !== size && !sameShape) expect(verifyInclusion(leaf, index, other, proof, root)).toBe(false);
    }),
    { numRuns: 2000 },
  );
});

test('no other path, size or root is accepted for consistency', () => {
  const cases = fc
    .integer({ min: 1, max: N })
    .chain((size) => fc.record({ size: fc.constant(size), oldSize: fc.integer({ min: 1, max: size }) }))
    .chain(({ size, oldSize }) => {
      const proof = subproof(oldSize, 0, size, true);
      return fc.record({
        size: fc.constant(size),
        oldSize: fc.constant(oldSize),
        proof: fc.constant(proof),
        wrong: wrongPath(proof),
        other: fc.oneof(fc.nat({ max: 2 * N }), fc.constantFrom(...BAD)),
        byte: fc.nat({ max: 31 }),
      });
    });
  fc.assert(
    fc.property(cases, ({ size, oldSize, proof, wrong, other, byte }) => {
      const [oldRoot, root] = [mth(0, oldSize), mth(0, size)];
      expect(verifyConsistency(oldSize, oldRoot, size, root, proof)).toBe(true);
      expect(verifyConsistency(oldSize, oldRoot, size, root, wrong)).toBe(false);
      expect(verifyConsistency(oldSize, changed(oldRoot, byte, 1), size, root, proof)).toBe(false);
      expect(verifyConsistency(oldSize, oldRoot, size, changed(root, byte, 1), proof)).toBe(false);
      expect(verifyConsistency(oldSize, oldRoot.subarray(1), size, root, proof)).toBe(false);
      if (other !== oldSize) expect(verifyConsistency(other, oldRoot, size, root, proof)).toBe(false);
      if (!(other >= oldSize) || !Number.isSafeInteger(other))
        expect(verifyConsistency(oldSize, oldRoot, other, root, proof)).toBe(false);
    }),
    { numRuns: 2000 },
  );
  expect(verifyConsistency(0, sha256(), 9, mth(0, 9), [])).toBe(true);
  expect(verifyConsistency(0, mth(0, 1), 9, mth(0, 9), [])).toBe(false);
  expect(verifyConsistency(0, mth(0, 1), 0, mth(0, 1), [])).toBe(false);
  expect(verifyConsistency(0, sha256(), 9, mth(0, 9), [mth(0, 9)])).toBe(false);
});
