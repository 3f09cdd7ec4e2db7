import { setImmediate } from 'node:timers/promises';
import { ChatError } from '../chat/rules/errors.ts';
import type { Context } from '../graphql/context.ts';
import type { FairScheduler } from './fair-scheduler.ts';

/** How many large results of a user may wait for a slot. */
const MAX_WAITING = 16;
/** When a large answer that was refused may be asked for again, in milliseconds. */
const RETRY_MS = 1000;

/**
 * The share that one operation has of the event loop and of its user's slots, from its begin until its answer is read.
 */
export function createResultSlot(slots: Slots, slice: FairScheduler['slice'], { viewer, drained }: Context) {
  const user = viewer?.email ?? '';
  let ended = false;
  let slot: Slot | null = null;
  let held = false;

  /** Resolves when the operation has a slot. @throws ChatError UNAVAILABLE where it was given up meanwhile */
  async function take(): Promise<void> {
    if (!ended) slot ??= slots.take(user);
    await slot?.had;
    if (ended) throw new ChatError('UNAVAILABLE', 'The operation was given up before it began.');
    held = true;
  }

  return {
    slice: () => slice(user),
    take,
    /**
     * The same for an operation that turned out to be large, and waits with its result.
     * @throws ChatError RATE_LIMITED where too many results of the user wait already
     */
    async takeLate(): Promise<void> {
      if (!held && slots.waiting(user) >= MAX_WAITING)
        throw new ChatError('RATE_LIMITED', 'Too many large answers at once: read those first.', RETRY_MS);
      await take();
    },
    /** To be called when the answer is handed over: the slot is given back once the client has read it. */
    end(): void {
      ended = true;
      if (held) void setImmediate().then(drained).then(slot?.give);
      else slot?.give();
    },
  };
}

/** A place, had or waited for. */
interface Slot {
  /** Resolves once there is one. */
  readonly had: Promise<void>;
  /** Gives it back, or waits for it no longer. */
  give(): void;
}

/** A few places for each user, in which large answers are made and kept until the client has read them. */
export interface Slots {
  /** Asks for a place: they are given in the order of asking. */
  take(user: string): Slot;
  /** How many wait for a place. */
  waiting(user: string): number;
}

/** @param places of each user */
export function createSlots(places: number): Slots {
  const users = new Map<string, { held: number; readonly waiting: Set<() => void> }>();
  return {
    take(user) {
      const known = users.get(user) ?? { held: 0, waiting: new Set() };
      users.set(user, known);
      let begin = (): void => {};
      const had = new Promise<void>((resolve) => {
        begin = resolve;
      });
      if (known.held === places) known.waiting.add(begin);
      else {
        known.held++;
        begin();
      }
      let given = false;
      const give = () => {
        if (given) return;
        given = true;
        if (known.waiting.delete(begin)) return;
        const [next] = known.waiting;
        if (next) {
          known.waiting.delete(next);
          next();
        } else if (--known.held === 0) users.delete(user);
      };
      return { had, give };
    },
    waiting: (user) => users.get(user)?.waiting.size ?? 0,
  };
}
