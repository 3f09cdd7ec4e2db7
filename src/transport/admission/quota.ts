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
