import { LRUCache } from 'lru-cache';
import type { Conversation, ConversationId, EmailAddress } from '../../model.ts';
import { revAfter, type Store, type WakeUp } from '../../store/store.ts';
import { textLength } from '../message-view.ts';
import { afterRead, afterWrite } from './next-state.ts';

/** Members of kept conversations, all together; each conversation counts as a few more, as does so much text. */
const KEPT_MEMBERS = 100_000;
const BESIDE_MEMBERS = 8;
const TEXT_OF_MEMBER = 100;
/** How often a conversation is read again because it changed meanwhile, before what was read is not kept. */
const MAX_ATTEMPTS = 5;

export type KnownStates = ReturnType<typeof createKnownStates>;

/**
 * The newest states of conversations that this process knows. They are read once, and go on from there by what wake-ups
 * say was written: so what is written here or elsewhere is known without asking the store. A state is only kept where
 * nothing is missing between it and the wake-up, and it is never older than one that was given before.
 */
export function createKnownStates(store: Store) {
  const kept = new LRUCache<ConversationId, Conversation>({
    maxSize: KEPT_MEMBERS,
    sizeCalculation: ({ members, lastMessage }) =>
      members.size + BESIDE_MEMBERS + Math.ceil((lastMessage ? textLength(lastMessage) : 0) / TEXT_OF_MEMBER),
  });
  /** Conversations that are being read, with how many wake-ups came since any of them was. */
  const reading = new Map<ConversationId, { readers: number; wakeUps: number }>();

  function after(wakeUp: Exclude<WakeUp, { kind: 'typing' }>): Conversation | null {
    const before = kept.get(wakeUp.conversation);
    if (wakeUp.kind === 'read') return before ? afterRead(before, wakeUp) : null;
    if (wakeUp.kind === 'view' || !wakeUp.write) return null;
    const { write } = wakeUp;
    if (!before) return write.opening && afterWrite(null, write);
    if (before.lastRev >= revAfter(write)) return before;
    return before.lastRev === write.afterRev ? afterWrite(before, write) : null;
  }

  return {
    /** The newest state, if it is known; a wake-up that is still to come may tell of a newer one. */
    known: (id: ConversationId): Conversation | null => kept.get(id) ?? null,

    /** Reads a state, as the port has it, and keeps it. */
    async read(id: ConversationId, reader?: EmailAddress): Promise<Conversation | null> {
      const mine = reading.get(id) ?? { readers: 0, wakeUps: 0 };
      reading.set(id, mine);
      mine.readers++;
      try {
        for (let look = 1; ; look++) {
          const { wakeUps } = mine;
          const conversation = await store.conversation(id, reader);
          if (!conversation) return null;
          // What a wake-up told of meanwhile may be in it or not.
          const whole = mine.wakeUps === wakeUps;
          if (!whole && look < MAX_ATTEMPTS) continue;
          // Another reading that was under way may have brought a newer one.
          const before = kept.get(id);
          const newest = before && isOlder(conversation, before) ? before : conversation;
          if (whole) kept.set(id, newest);
          return newest;
        }
      } finally {
        if (--mine.readers === 0) reading.delete(id);
      }
    },

    /** Takes up what a wake-up says, and gives the state after it; null where it is to be read. */
    wake(wakeUp: Exclude<WakeUp, { kind: 'typing' }>): Conversation | null {
      const { conversation: id } = wakeUp;
      const current = reading.get(id);
      if (current) current.wakeUps++;
      const state = after(wakeUp);
      if (state) kept.set(id, state);
      else kept.delete(id);
      return state;
    },

    /** What is kept may not be the newest, or not be true: it is to be read. */
    forget(id: ConversationId): void {
      kept.delete(id);
      const current = reading.get(id);
      if (current) current.wakeUps++;
    },
    /** Wake-ups were lost: nothing that is kept is relied on. */
    forgetAll(): void {
      kept.clear();
      for (const current of reading.values()) current.wakeUps++;
    },
  };
}

/** Whether the first is a state before the second: between changes of the log read positions move, and only forward. */
function isOlder(first: Conversation, second: Conversation): boolean {
  if (first.lastRev !== second.lastRev) return first.lastRev < second.lastRev;
  return readBy(first) < readBy(second);
}

function readBy({ members }: Conversation): number {
  let sum = 0;
  for (const { readSeq } of members.values()) sum += readSeq;
  return sum;
}
