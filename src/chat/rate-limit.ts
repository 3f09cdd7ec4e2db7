import type { EmailAddress } from '../model.ts';
import { ChatError } from './rules/errors.ts';

/**
 * A token bucket a user: `perMinute` tokens flow in evenly, up to `burst` are kept.
 * A batch larger than the burst passes on a full bucket and leaves a debt to be waited for.
 * @param perMinute tokens a minute; 0 is no limit
 * @param clock milliseconds, for measuring time spans
 */
export function createRateLimit(perMinute: number, burst: number, clock: () => number) {
  const buckets = new Map<EmailAddress, { tokens: number; at: number }>();
  const perMs = perMinute / 60_000;
  let sweepAt = 1024;

  /** Takes `count` messages. @throws ChatError RATE_LIMITED with `retryAfterMs`, and takes nothing */
  return function take(user: EmailAddress, count: number): void {
    if (perMinute === 0) return;
    const now = clock();
    const bucket = buckets.get(user) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, bucket.tokens + (now - bucket.at) * perMs);
    const needed = Math.min(count, burst);
    if (tokens < needed) {
      const wait = Math.ceil((needed - tokens) / perMs);
      throw new ChatError('RATE_LIMITED', `Too much for now; try again in ${wait} ms.`, wait);
    }
    buckets.set(user, { tokens: tokens - count, at: now });
    // A bucket that is full again says nothing: forget those whenever the map has doubled.
    if (buckets.size > sweepAt) {
      for (const [key, { tokens, at }] of buckets) if (tokens + (now - at) * perMs >= burst) buckets.delete(key);
      sweepAt = Math.max(1024, buckets.size * 2);
    }
  };
}
