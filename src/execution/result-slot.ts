import { setImmediate } from 'node:timers/promises';
import { ChatError } from '../chat/rules/errors.ts';
import type { Context } from '../graphql/context.ts';
import type { FairScheduler } from './fair-scheduler.ts';

/** Large results of a user that may wait for a slot. */
const MAX_WAITING = 16;
/** Delay before a refused large answer may be requested again, in milliseconds. */
const RETRY_MS = 1000;

/**
 * The share of one operation in the event loop and in its user's slots, from its start until its answer is read.
 */
export function createResultSlot(slots: Slots, slice: FairScheduler['slice'], { viewer, drained }: Context) {
  const user = viewer?.email ?? '';
  let ended = false;
  let slot: Slot | null = null;
  let held = false;

  /** Resolves when the operation has a slot. @throws ChatError UNAVAILABLE if it was given up meanwhile */
  async function take(): Promise<void> {
    if (!ended) slot ??= slots.take(user);
    await slot?.acquired;
    if (ended) throw new ChatError('UNAVAILABLE', 'The operation was given up before it began.');
    held = true;
  }

  return {
    slice: () => slice(user),
    take,
    /**
     * Acquires a slot for an operation with a large result, after its execution.
     * @throws ChatError RATE_LIMITED if too many results of the user wait already
     */
    async takeLate(): Promise<void> {
      if (!held && slots.waiting(user) >= MAX_WAITING)
        throw new ChatError('RATE_LIMITED', 'Too many large answers at once: read those first.', RETRY_MS);
      await take();
    },
    /** Called when the answer is sent: the slot is released after the client has read it. */
    end(): void {
      ended = true;
      if (held) void setImmediate().then(drained).then(slot?.give);
      else slot?.give();
    },
  };
}

/** A slot, acquired or waited for. */
interface Slot {
  /** Resolves when the slot is acquired. */
  readonly acquired: Promise<void>;
  /** Releases the slot, or stops waiting for it. */
  give(): void;
}

/** Slots of each user; a large answer holds one until the client has read it. */
export interface Slots {
  /** Acquires a slot; first come, first served. */
  take(user: string): Slot;
  /** Operations of the user that wait for a slot. */
  waiting(user: string): number;
}

/** @param limit slots of each user */
export function createSlots(limit: number): Slots {
  const users = new Map<string, { held: number; readonly waiting: Set<() => void> }>();
  return {
    take(user) {
      const known = users.get(user) ?? { held: 0, waiting: new Set() };
      users.set(user, known);
      let begin = (): void => {};
      const acquired = new Promise<void>((resolve) => {
        begin = resolve;
      });
      if (known.held === limit) known.waiting.add(begin);
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
      return { acquired, give };
    },
    waiting: (user) => users.get(user)?.waiting.size ?? 0,
  };
}
