import { setTimeout } from 'node:timers/promises';
import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type FetchImplementation,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
} from 'jose';
import { ChatError } from '../../chat/rules/errors.ts';
import type { AuthConfig } from '../../config.ts';
import { parseEmail, type Role, type Viewer } from '../../model.ts';
import type { AuditEvent } from '../../observability/audit.ts';

type JwtConfig = Extract<AuthConfig, { mode: 'jwt' }>;

/** An authenticated viewer, until the credential expires. */
export interface Session {
  readonly viewer: Viewer;
  /** When the credential expires, in milliseconds since 1970; infinite if it does not. */
  readonly endsAt: number;
}

/** The audit event when a connection outlives its credential. */
export const TOKEN_ENDED: AuditEvent = { action: 'end', outcome: 'UNAUTHENTICATED', reason: 'token ended' };

/**
 * The session of a credential, the same on every transport; null without a credential. The credential is
 * `Bearer TOKEN` (RFC 6750, section 2.1).
 * @throws ChatError UNAUTHENTICATED if it is not valid, for any reason; UNAVAILABLE if it cannot be verified now
 */
export type Authenticate = (authorization: unknown) => Promise<Session | null>;

const ROLES: readonly Role[] = ['CUSTOMER', 'SELLER', 'BANK'];
/** Asymmetric signature algorithms (RFC 7518, section 3.1, and RFC 8037), which a published key can verify. */
const PUBLIC_KEY_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
];
/** Minimum time between two fetches of a key set, successful or not, in milliseconds. */
const KEY_SET_COOLDOWN_MS = 1000;
/** Maximum characters of a token. */
const MAX_TOKEN = 8192;
/** Maximum age of a fetched key set, in milliseconds: a key removed from the set is accepted this much longer. */
const KEY_SET_AGE_MS = 300_000;
/** Maximum bytes of a key set, decompressed. */
const MAX_KEY_SET = 1_048_576;

/** @param timeoutMs of fetching a key set, in milliseconds */
export function createAuthenticate(auth: AuthConfig, timeoutMs: number): Authenticate {
  const verify = auth.mode === 'dev' ? verifyAddress : createVerifyJwt(auth, timeoutMs);
  return async (authorization) => {
    if (authorization === undefined || authorization === null) return null;
    const token = typeof authorization === 'string' ? /^Bearer +(\S+)$/i.exec(authorization.trim())?.[1] : undefined;
    const session = token && token.length <= MAX_TOKEN ? await verify(token) : null;
    if (!session) throw new ChatError('UNAUTHENTICATED', 'The credential is not valid.');
    return session;
  };
}

/** In development the token is `ADDRESS` or `ADDRESS:ROLE`. */
async function verifyAddress(token: string): Promise<Session | null> {
  const [address = '', role, ...rest] = token.split(':');
  return rest.length === 0 ? session(address, role, Number.POSITIVE_INFINITY) : null;
}

/** Verifies JSON Web Tokens (RFC 7519) as RFC 8725 advises: the kind of key determines the algorithms. */
function createVerifyJwt(
  { key, issuer, audience, emailClaim, roleClaim, leewaySeconds }: JwtConfig,
  timeoutMs: number,
) {
  const options = {
    algorithms: 'secret' in key ? ['HS256'] : PUBLIC_KEY_ALGORITHMS,
    ...(issuer !== null && { issuer }),
    ...(audience !== null && { audience }),
    clockTolerance: leewaySeconds,
  };
  const keyOf: JWTVerifyGetKey = 'secret' in key ? async () => key.secret : keySet(key.jwks, timeoutMs);

  return async (token: string): Promise<Session | null> => {
    let claims: JWTPayload;
    try {
      claims = await verifyByAny(token, keyOf, options);
    } catch (error) {
      if (error instanceof ChatError) throw error;
      return null;
    }
    // An address that the issuer has not verified is not accepted. Some issuers write the boolean as a string.
    const { email_verified: verified = true } = claims;
    if (verified !== true && verified !== 'true') return null;
    const exp = claims.exp === undefined ? Number.POSITIVE_INFINITY : claims.exp * 1000;
    // The leeway applies to admission only: a token that is valid at admission ends at its `exp`.
    const endsAt = exp > Date.now() ? exp : exp + leewaySeconds * 1000;
    return session(claims[emailClaim], claims[roleClaim], endsAt);
  };
}

/** The claims of a token, verified by any of the matching keys: without a key id, several may match. */
async function verifyByAny(token: string, keyOf: JWTVerifyGetKey, options: JWTVerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keyOf, options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    for await (const key of error) {
      const result = await jwtVerify(token, key, options).catch((failure: unknown) => {
        if (!(failure instanceof errors.JWSSignatureVerificationFailed)) throw failure;
      });
      if (result) return result.payload;
    }
    throw error;
  }
}

/**
 * Keys by id (RFC 7517). The set is fetched on first use, when it is older than `KEY_SET_AGE_MS`, and when it lacks a
 * key. While the set cannot be fetched, known keys stay valid, and tokens with other keys cannot be verified.
 */
function keySet(url: URL, timeoutDuration: number): JWTVerifyGetKey {
  // The functions below decide when to fetch.
  const never = { cacheMaxAge: Number.POSITIVE_INFINITY, cooldownDuration: Number.POSITIVE_INFINITY };
  const keys = createRemoteJWKSet(url, { timeoutDuration, ...never, [customFetch]: boundedFetch });
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let attemptedAt = Number.NEGATIVE_INFINITY;
  let unreachable = false;
  let fetching: Promise<void> | null = null;

  /** Fetches the set, unless the last attempt is within the cooldown; resolves when the attempt is over. */
  async function refresh(): Promise<void> {
    if (performance.now() - attemptedAt >= KEY_SET_COOLDOWN_MS) fetching ??= fetchKeys();
    await fetching;
  }

  async function fetchKeys(): Promise<void> {
    try {
      await keys.reload();
      fetchedAt = performance.now();
      unreachable = false;
    } catch {
      unreachable = true;
    } finally {
      attemptedAt = performance.now();
      fetching = null;
    }
  }

  return async (header, token) => {
    if (performance.now() - fetchedAt > KEY_SET_AGE_MS) {
      const refreshed = refresh();
      if (fetchedAt === Number.NEGATIVE_INFINITY) await refreshed;
      else if (!unreachable) await Promise.race([refreshed, setTimeout(timeoutDuration / 2)]);
      if (fetchedAt === Number.NEGATIVE_INFINITY) throw unverifiable();
    }
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    await refresh();
    return keys(header, token).catch((error: unknown) => {
      throw unreachable && error instanceof errors.JWKSNoMatchingKey ? unverifiable() : error;
    });
  };
}

function unverifiable(): ChatError {
  return new ChatError('UNAVAILABLE', 'The credential cannot be verified now: the key set cannot be fetched.');
}

/** Fetches a key set; fails if it is longer than `MAX_KEY_SET`. */
const boundedFetch: FetchImplementation = async (url, options) => {
  const { status, body } = await fetch(url, options);
  if (status !== 200 || !body) {
    await body?.cancel();
    return new Response(null, { status });
  }
  let size = 0;
  const limiter = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.byteLength;
      if (size > MAX_KEY_SET) controller.error(new Error(`The key set must have at most ${MAX_KEY_SET} bytes.`));
      else controller.enqueue(chunk);
    },
  });
  return new Response(body.pipeThrough(limiter));
};

function session(address: unknown, role: unknown, endsAt: number): Session | null {
  const email = typeof address === 'string' ? parseEmail(address) : null;
  const known = role === undefined || role === null ? null : ROLES.find((candidate) => candidate === role);
  return email && known !== undefined ? { viewer: { email, role: known }, endsAt } : null;
}
