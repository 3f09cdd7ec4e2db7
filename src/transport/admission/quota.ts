import type { Limits } from '../../config.ts';

/** A limit on the units that each key may hold at once. */
interface Quota {
  /** Takes one unit; false, and none is taken, if the key is at its limit. */
  take(key: string): boolean;
  /** Returns one unit. */
  give(key: string): void;
}

/** @param limit units per key */
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

/** Quotas of sockets and subscriptions per user (by e-mail address), and of connections per network address. */
export function createQuotas(limits: Pick<Limits, 'socketsPerUser' | 'socketsPerAddress' | 'subscriptionsPerUser'>) {
  return {
    sockets: createQuota(limits.socketsPerUser),
    subscriptions: createQuota(limits.subscriptionsPerUser),
    addresses: createQuota(limits.socketsPerAddress),
  };
}
