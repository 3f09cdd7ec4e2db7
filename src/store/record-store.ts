import type { Conversation, ConversationId, EmailAddress, Message, Rev, Seq } from '../model.ts';

/**
 * The part of the port that keeps the record: the ledger of each conversation, the register of the deployment, and what
 * is not registered yet. Its trees are RFC 6962 trees, their hashes kept in tiles (see `merkle.ts`).
 */
export interface RecordStore {
  /**
   * Conversations with changes that are not registered, in any order, at most `limit`; none with a message that lacks
   * its `record`. Every write marks its conversation, in the same atomic step.
   */
  unregistered(limit: number): Promise<Unregistered[]>;

  /** Read positions that have moved since they were sealed last, at most `limit` conversations, with all of each. */
  unsealed(limit: number): Promise<Reads[]>;

  /** The marks of one conversation: for a check, which reads each conversation. */
  marks(id: ConversationId): Promise<Marks>;

  /** The register and its newest checkpoint. */
  register(): Promise<Register>;

  /**
   * Adds to the register, all or nothing and durable, provided its size is still `size`. False, and nothing written,
   * when it is not. A mark is removed only where nothing has moved since.
   */
  addToRegister(batch: RegisterBatch): Promise<boolean>;

  /** Stores a signed checkpoint of this size, unless a larger one is stored. Durable. */
  setCheckpoint(checkpoint: string, size: number): Promise<void>;

  /** Leaves of the register, `from` to `to - 1`, in order; fewer at its end. */
  leaves(from: number, to: number): Promise<string[]>;

  /** The first H leaf of the conversation with this `rev` or a later one, and an index below `size`; null for none. */
  ledgerLeaf(id: ConversationId, rev: Rev, size: number): Promise<IndexedLeaf | null>;

  /** The newest H leaf of the conversation with an index below `size`; null for none. */
  newestLedgerLeaf(id: ConversationId, size: number): Promise<IndexedLeaf | null>;

  /** R leaves of the conversation with an index above `after`, ascending, at most `limit`; -1 for the first. */
  readLeaves(id: ConversationId, after: number, limit: number): Promise<IndexedLeaf[]>;

  /** The hashes of tiles, in the order of the keys; null for a missing one. */
  tiles(log: Log, keys: readonly TileKey[]): Promise<(Buffer | null)[]>;

  /**
   * The messages numbered up to `seq` with a last change after `afterRev`, ascending by `rev`, at most `limit`; a
   * page follows the `rev` of the last one.
   */
  changedMessages(id: ConversationId, afterRev: Rev, seq: Seq, limit: number): Promise<Message[]>;

  /** SYSTEM messages added after `afterRev`, ascending, at most `limit`; a page follows the last `addedRev`. */
  systemMessages(id: ConversationId, afterRev: Rev, limit: number): Promise<Message[]>;

  /**
   * Takes or renews the lease of the registrar for `ms` milliseconds. False while another process holds it. It saves
   * work; what keeps two registrars apart is the condition of `addToRegister`.
   */
  takeLease(holder: string, ms: number): Promise<boolean>;

  /** Ends the lease, if this process holds it. */
  endLease(holder: string): Promise<void>;
}

/** A tree: the ledger of a conversation; null for the register. */
export type Log = ConversationId | null;

/** Position of a tile in its tree; level 0 holds leaf hashes. */
export interface TileKey {
  readonly level: number;
  readonly index: number;
}

/** A tile with all its hashes so far, 1 to 256 of 32 bytes. */
export interface Tile extends TileKey {
  readonly hashes: Buffer;
}

/** A conversation that is not registered up to its `lastRev`. */
export interface Unregistered {
  readonly state: Conversation;
  /** It is registered up to here; 0 for not at all. */
  readonly registeredRev: Rev;
}

/** Read positions of a conversation. */
export interface Reads {
  readonly conversation: ConversationId;
  readonly reads: readonly (readonly [EmailAddress, Seq])[];
}

/** The changes of a conversation that are not in the register yet. */
interface Marks {
  /** Whether its log has moved since it was registered. */
  readonly unregistered: boolean;
  /** The positions that have moved since they were sealed. */
  readonly reads: Reads['reads'];
}

export interface Register {
  /** Number of leaves. */
  readonly size: number;
  /** The newest checkpoint that was signed, as a signed note; null for none. */
  readonly checkpoint: string | null;
  /** The published checkpoint that the newest fork gave up; null for none. */
  readonly abandoned: string | null;
}

/** A leaf of the register with its index. */
export interface IndexedLeaf {
  readonly index: number;
  readonly leaf: string;
}

export interface RegisterBatch {
  /** The size of the register before. */
  readonly size: number;
  /** At least one. H leaves have a `rev`. */
  readonly leaves: readonly {
    readonly leaf: string;
    readonly conversation: ConversationId | null;
    readonly rev: Rev | null;
  }[];
  /** The tiles that change, of the register and of the ledgers. */
  readonly tiles: readonly (Tile & { readonly log: Log })[];
  /** Conversations registered up to this `rev`. */
  readonly registered: readonly { readonly conversation: ConversationId; readonly rev: Rev }[];
  /** Positions that are sealed. */
  readonly sealed: readonly Reads[];
  /** Set by a fork alone: the published checkpoint that it gives up; the stored one is removed. */
  readonly abandons?: string;
}
