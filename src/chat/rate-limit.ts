import type { EmailAddress } from '../model.ts';
import { ChatError } from './rules/errors.ts';

export type RateLimits = ReturnType<typeof createRateLimits>;

/**
 * The rate limits of each user.
 * @param messagesPerMinute 0 for no limit on messages, searches and views
 */
export function createRateLimits(messagesPerMinute: number, messageBurst: number) {
  const clock = () => performance.now();
  return {
    messages: createRateLimit(messagesPerMinute, messageBurst, clock),
    searches: createRateLimit(messagesPerMinute && 60, 20, clock),
    /** Changes of the viewer's own view. */
    views: createRateLimit(messagesPerMinute && 120, 20, clock),
    /** Hints that repeat or end one are not counted. */
    typingHints: createRateLimit(120, 20, clock),
  };
}

/**
 * A token bucket for each user: `perMinute` tokens are added evenly, up to `burst` are kept. A batch larger than the
 * burst passes on a full bucket and leaves a debt.
 * @param perMinute tokens a minute; 0 for no limit
 * @param clock milliseconds, for measuring time spans
 */
function createRateLimit(perMinute: number, burst: number, clock: () => number) {
  const buckets = new Map<EmailAddress, { tokens: number; at: number }>();
  const perMs = perMinute / 60_000;
  let sweepAt = 1024;

  /** Consumes `count` tokens. @throws ChatError RATE_LIMITED with `retryAfterMs`, and consumes nothing */
  return (user: EmailAddress, count: number): void => {
    if (perMinute === 0) return;
    const now = clock();
    const bucket = buckets.get(user) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, bucket.tokens + (now - bucket.at) * perMs);
    const needed = Math.min(count, burst);
    if (tokens < needed) {
      const wait = Math.ceil((needed - tokens) / perMs);
      throw new ChatError('RATE_LIMITED', `Rate limit exceeded; retry in ${wait} ms.`, wait);
    }
    buckets.set(user, { tokens: tokens - count, at: now });
    // A full bucket equals none: drop full ones whenever the map has doubled.
    if (buckets.size > sweepAt) {
      for (const [key, { tokens, at }] of buckets) if (tokens + (now - at) * perMs >= burst) buckets.delete(key);
      sweepAt = Math.max(1024, buckets.size * 2);
    }
  };
}
