import { createHash, randomFillSync } from 'node:crypto';

const SALT_BYTES = 16;
const PREFIX = 'kredichat/1\0';

/** Random bytes for many salts: one call of the generator for each salt would cost more than storing it. */
const pool = Buffer.alloc(256 * SALT_BYTES);
let used = pool.length;

/** 16 random bytes in lower-case hex. */
export function newSalt(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const salt = pool.toString('hex', used, used + SALT_BYTES);
  pool.fill(0, used, used + SALT_BYTES);
  used += SALT_BYTES;
  return salt;
}

/**
 * Commitment to a value: lower-case hex of SHA-256 over `kredichat/1`, a zero byte, the salt and the value in UTF-8.
 * Without the salt, it says nothing about the value.
 */
export function commitment(salt: Buffer, value: string): string {
  return createHash('sha256').update(PREFIX).update(salt).update(value).digest('hex');
}
