import { createTree, leafHash } from '../../record/merkle.ts';
import { linesOf } from './files.ts';
import { at, failUnless, leafOf } from './shapes.ts';

const FILE = 'register.ndjson';

/** An H leaf of a conversation, found in the register. */
interface FoundLeaf {
  readonly index: number;
  readonly rev: number;
  readonly root: Buffer;
}

/** The statements of the register about conversations. */
export interface Found {
  /** The H leaves of a conversation in their order. */
  leavesOf(id: string): FoundLeaf[];
  /** Number of conversations with H leaves. */
  readonly conversations: number;
  /** Number of R leaves. */
  readonly reads: number;
}

/**
 * Step 3: reads the register. H leaves are kept in columns, each with the number of the one before of its conversation:
 * objects for a million would take too much memory.
 * @throws Fault unless it has this size and root
 */
export function readRegister(folder: string, { size, root }: { readonly size: number; readonly root: Buffer }): Found {
  const newest = new Map<string, number>();
  const before: number[] = [];
  const revs: number[] = [];
  const indexes: number[] = [];
  let roots = Buffer.alloc(32 * 1024);
  let reads = 0;
  const tree = createTree();
  at(FILE, () => {
    for (const line of linesOf(folder, FILE)) {
      const leaf = leafOf(line);
      failUnless(leaf !== null, FILE, `not a leaf: ${line.slice(0, 200)}`);
      if (leaf === 'reads') reads++;
      else if (leaf !== 'other') {
        const last = newest.get(leaf.id) ?? -1;
        failUnless(last < 0 || (revs[last] ?? 0) < leaf.rev, FILE, `a ledger does not grow: ${line}`);
        const place = before.push(last) - 1;
        revs.push(leaf.rev);
        indexes.push(tree.size);
        if (roots.length < (place + 1) * 32) roots = Buffer.concat([roots], roots.length * 2);
        roots.write(leaf.root, place * 32, 'hex');
        newest.set(leaf.id, place);
      }
      tree.add(leafHash(line));
    }
  });
  failUnless(tree.size === size && tree.root().equals(root), FILE, 'not the leaves of the checkpoint');
  return {
    leavesOf(id) {
      const leaves: FoundLeaf[] = [];
      for (let place = newest.get(id) ?? -1; place >= 0; place = before[place] ?? -1)
        leaves.push({
          index: indexes[place] ?? 0,
          rev: revs[place] ?? 0,
          root: roots.subarray(place * 32, (place + 1) * 32),
        });
      return leaves.reverse();
    },
    conversations: newest.size,
    reads,
  };
}
