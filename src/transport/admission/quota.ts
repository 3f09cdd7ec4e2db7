import type { Limits } from '../../config.ts';

/** How many of something each key holds at once. */
interface Quota {
  /** Takes one more; false, and nothing is taken, where the key holds as many as it may. */
  take(key: string): boolean;
  /** Gives back what was taken. */
  give(key: string): void;
}

/** @param limit what one key may hold */
function createQuota(limit: number): Quota {
  const held = new Map<string, number>();
  return {
    take(key) {
      const count = held.get(key) ?? 0;
      if (count >= limit) return false;
      held.set(key, count + 1);
      return true;
    },
    give(key) {
      const left = (held.get(key) ?? 0) - 1;
      if (left > 0) held.set(key, left);
      else held.delete(key);
    },
  };
}

export type Quotas = ReturnType<typeof createQuotas>;

/** What is counted of each user, by address, and of each network address. */
export function createQuotas(limits: Pick<Limits, 'socketsPerUser' | 'socketsPerAddress' | 'subscriptionsPerUser'>) {
  return {
    sockets: createQuota(limits.socketsPerUser),
    subscriptions: createQuota(limits.subscriptionsPerUser),
    addresses: createQuota(limits.socketsPerAddress),
  };
}

/** A place, had or waited for. */
export interface Slot {
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
