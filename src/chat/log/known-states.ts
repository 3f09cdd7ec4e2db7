import { LRUCache } from 'lru-cache';
import type { Conversation, ConversationId, EmailAddress } from '../../model.ts';
import { revAfter, type Store, type WakeUp } from '../../store/store.ts';
import { textUnits } from '../message-view.ts';
import { afterRead, afterWrite } from './next-state.ts';

/** Capacity, in members of the cached conversations; a conversation itself counts as some members, as does its text. */
const CACHED_MEMBERS = 100_000;
const MEMBERS_PER_CONVERSATION = 8;
/** UTF-16 units. */
const TEXT_PER_MEMBER = 100;
/** Reads of a conversation that changes meanwhile, before the state is returned without being cached. */
const MAX_ATTEMPTS = 5;

export type KnownStates = ReturnType<typeof createKnownStates>;

/**
 * A cache of the newest states of conversations. A state is read once, and advanced by the writes that wake-ups carry:
 * so writes of this and other processes are known without asking the store. A state is kept only if nothing is missing
 * between it and the wake-up, and is never older than one returned before.
 */
export function createKnownStates(store: Store) {
  const cache = new LRUCache<ConversationId, Conversation>({
    maxSize: CACHED_MEMBERS,
    sizeCalculation: ({ members, lastMessage }) =>
      members.size + MEMBERS_PER_CONVERSATION + Math.ceil((lastMessage ? textUnits(lastMessage) : 0) / TEXT_PER_MEMBER),
  });
  /** Conversations being read, with the number of wake-ups since the first of these reads began. */
  const reading = new Map<ConversationId, { readers: number; wakeUps: number }>();

  function after(wakeUp: Exclude<WakeUp, { kind: 'typing' }>): Conversation | null {
    const before = cache.get(wakeUp.conversation);
    if (wakeUp.kind === 'read') return before ? afterRead(before, wakeUp) : null;
    if (wakeUp.kind === 'view' || !wakeUp.write) return null;
    const { write } = wakeUp;
    if (!before) return write.opening && afterWrite(null, write);
    if (before.lastRev >= revAfter(write)) return before;
    return before.lastRev === write.afterRev ? afterWrite(before, write) : null;
  }

  return {
    /** The newest state, if known; the wake-up of a newer one may still be on its way. */
    known: (id: ConversationId): Conversation | null => cache.get(id) ?? null,

    /** Reads the state from the store, and caches it. */
    async read(id: ConversationId, reader?: EmailAddress): Promise<Conversation | null> {
      const current = reading.get(id) ?? { readers: 0, wakeUps: 0 };
      reading.set(id, current);
      current.readers++;
      try {
        for (let attempt = 1; ; attempt++) {
          const { wakeUps } = current;
          const conversation = await store.conversation(id, reader);
          if (!conversation) return null;
          // The change of a wake-up that came meanwhile may be included or not.
          const isCurrent = current.wakeUps === wakeUps;
          if (!isCurrent && attempt < MAX_ATTEMPTS) continue;
          // A concurrent read may have returned a newer state.
          const before = cache.get(id);
          const newest = before && isOlder(conversation, before) ? before : conversation;
          if (isCurrent) cache.set(id, newest);
          return newest;
        }
      } finally {
        if (--current.readers === 0) reading.delete(id);
      }
    },

    /** Applies a wake-up, and returns the state after it; null where it must be read. */
    wake(wakeUp: Exclude<WakeUp, { kind: 'typing' }>): Conversation | null {
      const { conversation: id } = wakeUp;
      const current = reading.get(id);
      if (current) current.wakeUps++;
      const state = after(wakeUp);
      if (state) cache.set(id, state);
      else cache.delete(id);
      return state;
    },

    /** The cached state may be wrong or outdated: the next read asks the store. */
    forget(id: ConversationId): void {
      cache.delete(id);
      const current = reading.get(id);
      if (current) current.wakeUps++;
    },
    /** Wake-ups were lost: drops all states. */
    forgetAll(): void {
      cache.clear();
      for (const current of reading.values()) current.wakeUps++;
    },
  };
}

/** Whether the first state is older: at the same `lastRev` only read positions move, and only forward. */
function isOlder(first: Conversation, second: Conversation): boolean {
  if (first.lastRev !== second.lastRev) return first.lastRev < second.lastRev;
  return readTotal(first) < readTotal(second);
}

function readTotal({ members }: Conversation): number {
  let sum = 0;
  for (const { readSeq } of members.values()) sum += readSeq;
  return sum;
}
