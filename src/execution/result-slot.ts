import { setImmediate } from 'node:timers/promises';
import { ChatError } from '../chat/rules/errors.ts';
import type { Context } from '../graphql/context.ts';
import type { Slot, Slots } from '../transport/admission/quota.ts';
import type { FairScheduler } from './fair-scheduler.ts';

/** How many large results of a user may wait for a slot. */
const MAX_WAITING = 16;
/** When a large answer that was refused may be asked for again, in milliseconds. */
const RETRY_MS = 1000;

/**
 * The share that one operation has of the event loop and of its user's slots, from its begin until its answer is read.
 */
export function createHold(slots: Slots, slice: FairScheduler['slice'], { viewer, drained }: Context) {
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
