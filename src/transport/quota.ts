import type { Limits } from '../config.ts';

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

/** A few places for each user, in which large answers are made and kept until the client has read them. */
export interface Slots {
  /** Resolves to what gives the place back, once there is one; in the order of asking. */
  take(user: string): Promise<() => void>;
  /** How many wait for a place. */
  waiting(user: string): number;
}

/** @param places of each user */
export function createSlots(places: number): Slots {
  const users = new Map<string, { held: number; readonly waiting: (() => void)[] }>();
  return {
    async take(user) {
      const known = users.get(user) ?? { held: 0, waiting: [] };
      users.set(user, known);
      if (known.held === places) await new Promise<void>((resolve) => known.waiting.push(resolve));
      else known.held++;
      let given = false;
      return () => {
        if (given) return;
        given = true;
        const next = known.waiting.shift();
        if (next) next();
        else if (--known.held === 0) users.delete(user);
      };
    },
    waiting: (user) => users.get(user)?.waiting.length ?? 0,
  };
}
