import type { Conversation, ConversationId, EmailAddress, Rev, Seq } from '../model.ts';
import { type Store, StoreUnavailable } from '../store/store.ts';
import { findFork } from './checkpoints.ts';
import { entriesAfter, systemAfter } from './entries.ts';
import { entryText } from './entry.ts';
import type { RecordKeys } from './keys.ts';
import { createTree, HASH_BYTES, leafHash, rootAt, TILE } from './merkle.ts';
import type { Publisher } from './publisher.ts';
import { openNote } from './signed-note.ts';

/** Leaves read at once. */
const PAGE = 1000;

/** The reads of a check. */
export type RecordReads = Pick<
  Store,
  | 'conversationIds'
  | 'conversation'
  | 'messages'
  | 'changedMessages'
  | 'systemMessages'
  | 'register'
  | 'leaves'
  | 'readLeaves'
  | 'tiles'
  | 'newestLedgerLeaf'
  | 'marks'
>;

/** The newest H leaf of a conversation. */
interface Registered {
  readonly rev: Rev;
  readonly root: string;
}

/**
 * Checks the record of a store against its messages: every entry against the ledger, every ledger against the register,
 * the register against its checkpoint, members and read positions against what was registered. Yields the faults, one
 * line each. `ids` are the conversations to check.
 */
export async function* checkRecord(
  store: RecordReads,
  ids: AsyncIterable<ConversationId>,
  keys: RecordKeys,
  publisher: Publisher | null,
): AsyncGenerator<string> {
  const registered = new Map<ConversationId, Registered>();
  yield* checkRegister(store, keys, publisher, registered);
  for await (const id of ids) {
    const newest = registered.get(id) ?? null;
    registered.delete(id);
    for await (const fault of checkConversation(store, id, newest)) yield `${id}: ${fault}`;
  }
  for (const id of registered.keys()) yield `${id}: the register knows the conversation, and the store does not`;
}

async function* checkRegister(
  store: RecordReads,
  keys: RecordKeys,
  publisher: Publisher | null,
  registered: Map<ConversationId, Registered>,
): AsyncGenerator<string> {
  const register = await store.register();
  const { size, checkpoint } = register;
  const tree = createTree();
  const hashes = createHashReader(store, null);
  while (tree.size < size) {
    const page = await store.leaves(tree.size, Math.min(tree.size + PAGE, size));
    for (const leaf of page) {
      const hash = leafHash(leaf);
      if (!hash.equals(await hashes(tree.size))) yield `leaf ${tree.size} of the register differs from its tree`;
      tree.add(hash);
      const [, kind, id, rev, root] = JSON.parse(leaf) as [number, string, ConversationId, Rev, string];
      if (kind !== 'H') continue;
      if (rev <= (registered.get(id)?.rev ?? 0)) yield `${id}: leaf ${tree.size - 1} of the register goes back`;
      registered.set(id, { rev, root });
    }
    if (page.length === 0) {
      yield `the register has no leaf ${tree.size}, and should have ${size}`;
      return;
    }
  }
  if (!tree.root().equals(await rootAt((keys) => store.tiles(null, keys), size)))
    yield 'the register differs from its tree';
  if (checkpoint !== null) {
    try {
      if (keys.signers.length > 0)
        openNote(
          checkpoint,
          keys.signers.map(({ vkey }) => vkey),
        );
    } catch (error) {
      yield `the checkpoint: ${(error as Error).message}`;
    }
  }
  const fork = await findFork(store, register, publisher, keys.origin);
  if (fork) yield `the register: ${fork.error.message}`;
}

async function* checkConversation(
  store: RecordReads,
  id: ConversationId,
  newest: Registered | null,
): AsyncGenerator<string> {
  const state = await store.conversation(id);
  if (!state) return yield 'the conversation cannot be read';
  const { rev: end, root } = newest ?? { rev: 0, root: '' };
  if (state.lastRev < end) yield `the log ends at change ${state.lastRev}, and ${end} are registered`;
  if (state.lastRev > end) yield* checkMark(store, state);
  const tree = createTree();
  try {
    yield* checkLedger(store, state, end, tree);
  } catch (error) {
    if (error instanceof StoreUnavailable) throw error;
    yield (error as Error).message;
  }
  if (tree.size === end && end > 0 && tree.root().toString('hex') !== root)
    yield `the ledger of ${end} changes differs from the register`;
  yield* checkMembers(store, state);
  yield* checkReads(store, id);
}

/** Changes that are not registered must be marked as such, else they were not made by a write. */
async function* checkMark(store: RecordReads, { id, lastRev }: Conversation): AsyncGenerator<string> {
  // In this order: the mark goes when the leaf comes.
  if ((await store.marks(id)).unregistered) return;
  const newest = await store.newestLedgerLeaf(id, Number.MAX_SAFE_INTEGER);
  const [, , , rev] = newest ? (JSON.parse(newest.leaf) as [number, string, string, Rev]) : [0, 0, 0, 0];
  if (rev < lastRev) yield `the changes ${rev + 1} to ${lastRev} are neither registered nor marked for it`;
}

/** Compares the entries up to `end` with the ledger, and adds them to `tree`. */
async function* checkLedger(
  store: RecordReads,
  state: Conversation,
  end: Rev,
  tree: ReturnType<typeof createTree>,
): AsyncGenerator<string> {
  if (end === 0) return;
  const hashes = createHashReader(store, state.id);
  for await (const page of entriesAfter(store, state, 0)) {
    for (const entry of page) {
      if (entry.rev > end) return;
      const hash = leafHash(entryText(state, entry));
      if (!hash.equals(await hashes(entry.rev - 1)))
        yield `change ${entry.rev}, of message ${entry.seq}, is not as it was registered`;
      tree.add(hash);
    }
  }
}

/** The members must be those of the opening and of the changes since. Changes from before the record are not known. */
async function* checkMembers(store: RecordReads, state: Conversation): AsyncGenerator<string> {
  const { id, members, createdAt, importedRev, lastRev } = state;
  if (importedRev > 0) return;
  const expected = new Set([...members.values()].filter((one) => one.joinedAt === createdAt).map(({ email }) => email));
  for await (const { addedRev, record } of systemAfter(store, id, 0)) {
    // Those added since are not in the state.
    if (addedRev > lastRev) break;
    for (const { field, from, to } of record?.changes ?? []) {
      if (field !== 'members') continue;
      if (from !== null) expected.delete(from as EmailAddress);
      if (to !== null) expected.add(to as EmailAddress);
    }
  }
  for (const { email, leftAt } of members.values()) {
    if (leftAt === null && !expected.delete(email)) yield `${email} is a member, and no change says so`;
    if (leftAt !== null && expected.delete(email)) yield `${email} is no member, and no change says so`;
  }
  for (const email of expected) yield `${email} is no member, and no change says so`;
}

/** A read position is at least the one that was sealed before it was read, and is marked, or sealed afterwards. */
async function* checkReads(store: RecordReads, id: ConversationId): AsyncGenerator<string> {
  const before = await sealedReads(store, id);
  const members = (await store.conversation(id))?.members;
  const differing = [...(members?.values() ?? [])].filter(({ email, readSeq }) => readSeq !== (before.get(email) ?? 0));
  for (const { email, readSeq } of differing) {
    const known = before.get(email) ?? 0;
    if (readSeq < known) yield `${email} had read up to ${known}, and the read position is ${readSeq}`;
  }
  for (const email of before.keys())
    if (members?.has(email) === false) yield `${email} had read, and is not among the members`;
  const moved = differing.filter(({ email, readSeq }) => readSeq > (before.get(email) ?? 0));
  if (moved.length === 0) return;
  const marked = new Map((await store.marks(id)).reads);
  const after = await sealedReads(store, id);
  for (const { email, readSeq } of moved)
    if (readSeq > Math.max(marked.get(email) ?? 0, after.get(email) ?? 0))
      yield `the read position ${readSeq} of ${email} is not registered`;
}

/** The positions of the newest R leaves. */
async function sealedReads(store: RecordReads, id: ConversationId): Promise<Map<EmailAddress, Seq>> {
  const sealed = new Map<EmailAddress, Seq>();
  for (let after = -1; ; ) {
    const page = await store.readLeaves(id, after, PAGE);
    for (const { leaf } of page) {
      const [, , , , reads] = JSON.parse(leaf) as [number, string, string, number, [EmailAddress, Seq][]];
      for (const [email, seq] of reads) sealed.set(email, seq);
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return sealed;
    after = last.index;
  }
}

/** Reads leaf hashes in order; an empty one for a missing one. */
function createHashReader(store: Pick<Store, 'tiles'>, log: ConversationId | null) {
  let [known, hashes]: [number, Buffer] = [-1, Buffer.alloc(0)];
  return async (index: number): Promise<Buffer> => {
    const tile = Math.floor(index / TILE);
    if (tile !== known)
      [known, hashes] = [tile, (await store.tiles(log, [{ level: 0, index: tile }]))[0] ?? Buffer.alloc(0)];
    const at = (index % TILE) * HASH_BYTES;
    return hashes.subarray(at, at + HASH_BYTES);
  };
}
