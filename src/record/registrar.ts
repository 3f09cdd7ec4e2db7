import { randomUUID } from 'node:crypto';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { ConversationId, Instant } from '../model.ts';
import {
  type Log,
  type RegisterBatch,
  type Store,
  StoreUnavailable,
  type Tile,
  type Unregistered,
} from '../store/store.ts';
import { ForkError, sign } from './checkpoints.ts';
import { entriesAfter } from './entries.ts';
import { entryText, FORMAT } from './entry.ts';
import type { RecordKeys } from './keys.ts';
import { append, leafHash } from './merkle.ts';
import type { Publisher } from './publisher.ts';

/** Interval at which new changes are registered, and at which the register is sealed and signed, in milliseconds. */
const [REGISTER_MS, SIGN_MS] = [500, 5000];
/** Time of the lease, in milliseconds. */
const LEASE_MS = 10_000;
/** How long one sealing, and the registering at a stop, may take, and how long a stop does at most, in milliseconds. */
const [STOP_MS, STOPPED_MS] = [1000, 2000];
/** Conversations, and entries about, that one step registers. */
const [MAX_CONVERSATIONS, MAX_ENTRIES] = [100, 1000];
/** Share of the time that registering takes; what each second that changes wait adds; and the upper bound. */
const [SHARE, MORE_SHARE, MAX_SHARE] = [1 / 20, 1 / 200, 1 / 2];
/** Trees of which the newest tiles are kept, with the nodes over them: about 16 kB for each. */
const KEPT_EDGES = 500;

/** The newest tiles of a tree of `size` leaves, by level. */
interface Edge {
  readonly size: number;
  readonly tiles: ReadonlyMap<number, Buffer>;
}

export interface RegistrarOptions {
  readonly store: Store;
  readonly keys: RecordKeys;
  /** Null where checkpoints are not published. */
  readonly publisher: Publisher | null;
  /** Wall clock, milliseconds since 1970. */
  readonly clock: () => Instant;
  /** Called with a failure when it begins; the work goes on. */
  readonly onError: (error: unknown) => void;
  /** Called with the reason why nothing is signed, when it begins. */
  readonly onFork: (error: ForkError) => void;
}

/** State of the record, as far as this process registers it. */
export interface RegistrarState {
  /** How long changes have been waiting to be registered, at most, in seconds. */
  readonly lagSeconds: number;
  /** Leaves that no checkpoint covers. */
  readonly unsigned: number;
  /** How long leaves have been waiting to be signed, in seconds. */
  readonly unsignedSeconds: number;
  /** Whether signing is refused, as the register does not go on from a published checkpoint. */
  readonly forked: boolean;
  /** Conversations with a faulty log, which cannot be registered. */
  readonly faulty: number;
}

/**
 * Registers what has changed, behind the writes; one process at a time by a lease. A change is found by its mark in the
 * store, whatever process made it and however it ended. Seals read positions and signs at intervals, and when closed.
 */
export function createRegistrar({ store, keys, publisher, clock, onError, onFork }: RegistrarOptions) {
  const holder = randomUUID();
  const stop = new AbortController();
  /** When the lease is asked for next, by `performance.now()`. */
  let renewAt = 0;
  let isHolder = false;
  /** Since when changes have been waiting, by `performance.now()`; null while none wait. */
  let waitingSince: number | null = null;
  /** Conversations that are left out. */
  const faulty = new Set<ConversationId>();
  /** The register, as this process knows it, and the part that is signed. */
  let [size, signedSize] = [0, 0];
  let unsignedSince: number | null = null;
  let forked = false;

  /** Of the trees that this process has grown last, as they are stored. */
  const edges = new LRUCache<string, Edge>({ max: KEPT_EDGES });

  /** Adds leaves to a tree of `size` leaves; its edge is to be kept once the tiles are stored. */
  async function grow(log: Log, size: number, hashes: readonly Buffer[]) {
    const kept = edges.get(log ?? '');
    const edge = new Map(kept?.size === size ? kept.tiles : []);
    const grown = await append(
      async (keys) => {
        const missing = keys.filter(({ level }) => !edge.has(level));
        if (missing.length > 0)
          for (const [index, tile] of (await store.tiles(log, missing)).entries())
            if (tile) edge.set(missing[index]?.level ?? 0, tile);
        return keys.map(({ level }) => edge.get(level) ?? null);
      },
      size,
      hashes,
    );
    for (const { level, hashes } of grown.tiles) edge.set(level, hashes);
    const tiles: (Tile & { log: Log })[] = grown.tiles.map((tile) => ({ ...tile, log }));
    return { root: grown.root, tiles, keep: () => edges.set(log ?? '', { size: grown.size, tiles: edge }) };
  }

  /** Registers up to `MAX_ENTRIES` entries of a conversation. */
  async function extend({ state, registeredRev }: Unregistered) {
    const { id, lastRev } = state;
    const hashes: Buffer[] = [];
    for await (const page of entriesAfter(store, state, registeredRev)) {
      for (const entry of page) hashes.push(leafHash(entryText(state, entry)));
      // Other work of the event loop goes on between two pages.
      await setImmediate();
      if (hashes.length >= MAX_ENTRIES) break;
    }
    const rev = Math.min(registeredRev + hashes.length, lastRev);
    const ledger = await grow(id, registeredRev, hashes);
    const leaf = JSON.stringify([FORMAT, 'H', id, rev, ledger.root.toString('hex')]);
    return { entries: hashes.length, leaf: { leaf, conversation: id, rev }, ledger };
  }

  /** Adds leaves to the register; false when another process has. */
  async function add(
    size: number,
    { leaves, tiles = [], registered = [], sealed = [] }: Pick<RegisterBatch, 'leaves'> & Partial<RegisterBatch>,
  ): Promise<boolean> {
    const hashes = leaves.map(({ leaf }) => leafHash(leaf));
    const grown = await grow(null, size, hashes);
    const added = await store.addToRegister({ size, leaves, tiles: [...tiles, ...grown.tiles], registered, sealed });
    if (added) grown.keep();
    return added;
  }

  /** Registers some of what waits. True when more waits, and this process can go on. */
  async function register(): Promise<boolean> {
    // The size is read first: a step of another process in between makes this one fail.
    ({ size } = await store.register());
    const limit = MAX_CONVERSATIONS + faulty.size;
    const found = await store.unregistered(limit);
    const parts: Awaited<ReturnType<typeof extend>>[] = [];
    let entries = 0;
    for (const one of found) {
      if (one.registeredRev === one.state.lastRev || faulty.has(one.state.id)) continue;
      waitingSince ??= performance.now();
      const part = await extend(one).catch((error: unknown) => leaveOut(one.state.id, error));
      if (!part) continue;
      parts.push(part);
      entries += part.entries;
      if (entries >= MAX_ENTRIES) break;
    }
    if (parts.length > 0) {
      const leaves = parts.map(({ leaf }) => leaf);
      const registered = leaves.map(({ conversation, rev }) => ({ conversation, rev }));
      const tiles = parts.flatMap(({ ledger }) => ledger.tiles);
      if (!(await add(size, { leaves, tiles, registered }))) return false;
      for (const { ledger } of parts) ledger.keep();
    }
    const more = parts.length > 0 && (found.length === limit || entries >= MAX_ENTRIES);
    if (!more) waitingSince = null;
    return more;
  }

  /** Goes on without a conversation with a log that is faulty: its entries cannot be derived. */
  function leaveOut(id: ConversationId, error: unknown): null {
    if (error instanceof StoreUnavailable) throw error;
    faulty.add(id);
    onError(new Error(`${id} cannot be registered: see \`kredichat check\``, { cause: error }));
    return null;
  }

  /** Seals read positions that have moved. */
  async function seal(): Promise<void> {
    for (const until = performance.now() + STOP_MS; performance.now() < until; ) {
      ({ size } = await store.register());
      const sealed = (await store.unsealed(MAX_CONVERSATIONS)).filter(({ reads }) => reads.length > 0);
      if (sealed.length === 0) return;
      const leaves = sealed.map(({ conversation, reads }) => {
        const sorted = [...reads].sort(([a], [b]) => (a < b ? -1 : 1));
        return { leaf: JSON.stringify([FORMAT, 'R', conversation, clock(), sorted]), conversation, rev: null };
      });
      if (!(await add(size, { leaves, sealed }))) return;
      await setImmediate();
    }
  }

  async function signAll(): Promise<void> {
    try {
      signedSize = await sign(store, keys, publisher);
      unsignedSince = size > signedSize ? performance.now() : null;
      forked = false;
    } catch (error) {
      unsignedSince ??= performance.now();
      if (!(error instanceof ForkError)) throw error;
      if (!forked) onFork(error);
      forked = true;
    }
  }

  /** Runs work that is repeated: a failure that goes on is reported once. The store reports its outages. */
  function createReporter() {
    let failure = '';
    return async (work: () => Promise<void>): Promise<void> => {
      try {
        await work();
        failure = '';
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (message !== failure && !(error instanceof StoreUnavailable)) onError(error);
        failure = message;
      }
    };
  }
  const [inRounds, inSigning] = [createReporter(), createReporter()];

  let nextSigning = 0;
  let signing: Promise<void> | null = null;
  /** Whether the last round left changes that this process can go on with. */
  let hasMore = false;
  async function round(): Promise<void> {
    hasMore = false;
    if (performance.now() > renewAt) {
      isHolder = await store.takeLease(holder, LEASE_MS);
      renewAt = performance.now() + (isHolder ? LEASE_MS / 2 : LEASE_MS / 4);
    }
    if (!isHolder) return;
    hasMore = await register();
    if (performance.now() < nextSigning || signing) return;
    nextSigning = performance.now() + SIGN_MS;
    await seal();
    if (size > signedSize) unsignedSince ??= performance.now();
    // A folder of published checkpoints that does not answer holds up nothing else.
    if (keys.signers.length > 0) signing = inSigning(signAll).finally(() => (signing = null));
  }

  /** Milliseconds since; 0 for null. */
  const since = (time: number | null) => (time === null ? 0 : performance.now() - time);

  const running = (async () => {
    while (!stop.signal.aborted) {
      const began = performance.now();
      await inRounds(round);
      // Sends come first: a backlog is registered in a share of the time that grows while it waits.
      const share = Math.min(MAX_SHARE, SHARE + (since(waitingSince) / 1000) * MORE_SHARE);
      const rest = since(began) * (1 / share - 1);
      const pause = hasMore ? Math.min(rest, SIGN_MS) : Math.min(Math.max(rest, REGISTER_MS), 2 * REGISTER_MS);
      await setTimeout(pause, undefined, { signal: stop.signal, ref: false }).catch(() => {});
    }
  })();

  return {
    state(): RegistrarState {
      const seconds = (time: number | null) => (isHolder ? since(time) / 1000 : 0);
      return {
        lagSeconds: seconds(waitingSince),
        unsigned: isHolder && keys.signers.length > 0 ? size - signedSize : 0,
        unsignedSeconds: seconds(unsignedSince),
        forked: isHolder && forked,
        faulty: isHolder ? faulty.size : 0,
      };
    },
    /** Registers, seals and signs what is left, and ends the lease; not later than after `STOPPED_MS`. */
    async close(): Promise<void> {
      stop.abort();
      const end = async () => {
        await running;
        await signing;
        // A longer backlog is left to the next process.
        const stopBy = performance.now() + STOP_MS;
        nextSigning = Number.POSITIVE_INFINITY;
        do await inRounds(round);
        while (hasMore && performance.now() < stopBy);
        nextSigning = 0;
        await inRounds(round);
        await signing;
        if (isHolder) await store.endLease(holder).catch(onError);
      };
      await Promise.race([end(), setTimeout(STOPPED_MS, undefined, { ref: false })]);
    },
  };
}
