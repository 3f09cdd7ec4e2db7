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

/** Somebody who was let in, and for how long. */
export interface Session {
  readonly viewer: Viewer;
  /** When the credential ends, in milliseconds since 1970; infinite where it does not. */
  readonly endsAt: number;
}

/** What is decided about somebody who stays on when the credential has ended. */
export const TOKEN_ENDED: AuditEvent = { action: 'end', outcome: 'UNAUTHENTICATED', reason: 'token ended' };

/**
 * Who a credential stands for, the same on every transport; null where there is none. The credential is
 * `Bearer TOKEN` (RFC 6750, section 2.1).
 * @throws ChatError UNAUTHENTICATED when it is not valid, whatever is wrong with it; UNAVAILABLE when it cannot be checked now
 */
export type Authenticate = (authorization: unknown) => Promise<Session | null>;

const ROLES: readonly Role[] = ['CUSTOMER', 'SELLER', 'BANK'];
/** Signatures by private keys (RFC 7518, section 3.1, and RFC 8037): what a published key can check. */
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
/** After a key set was fetched, or could not be, in milliseconds: it is asked for again only then. */
const KEY_SET_COOLDOWN_MS = 1000;
/** The longest token that is looked at, in characters. */
const LONGEST_TOKEN = 8192;
/** A key that was taken out of a set that answers is believed this much longer at most, in milliseconds. */
const KEY_SET_AGE_MS = 300_000;
/** Bytes of a key set, decompressed. */
const MAX_KEY_SET = 1_048_576;

/** @param withinMs how long a key set may take to be fetched, in milliseconds */
export function createAuthenticate(auth: AuthConfig, withinMs: number): Authenticate {
  const verify = auth.mode === 'dev' ? verifyAddress : createVerifyJwt(auth, withinMs);
  return async (authorization) => {
    if (authorization === undefined || authorization === null) return null;
    const token = typeof authorization === 'string' ? /^Bearer +(\S+)$/i.exec(authorization.trim())?.[1] : undefined;
    const session = token && token.length <= LONGEST_TOKEN ? await verify(token) : null;
    if (!session) throw new ChatError('UNAUTHENTICATED', 'The credential is not valid.');
    return session;
  };
}

/** In development the token is `ADDRESS` or `ADDRESS:ROLE`. */
async function verifyAddress(token: string): Promise<Session | null> {
  const [address = '', role, ...rest] = token.split(':');
  return rest.length === 0 ? session(address, role, Number.POSITIVE_INFINITY) : null;
}

/** Checks JSON Web Tokens (RFC 7519, with the advice of RFC 8725): the kind of key fixes the algorithms. */
function createVerifyJwt({ key, issuer, audience, emailClaim, roleClaim, leewaySeconds }: JwtConfig, withinMs: number) {
  const options = {
    algorithms: 'secret' in key ? ['HS256'] : PUBLIC_KEY_ALGORITHMS,
    ...(issuer !== null && { issuer }),
    ...(audience !== null && { audience }),
    clockTolerance: leewaySeconds,
  };
  const keyOf: JWTVerifyGetKey = 'secret' in key ? async () => key.secret : keySet(key.jwks, withinMs);

  return async (token: string): Promise<Session | null> => {
    let claims: JWTPayload;
    try {
      claims = await verifyByAny(token, keyOf, options);
    } catch (error) {
      if (error instanceof ChatError) throw error;
      return null;
    }
    // An address that the issuer does not vouch for identifies nobody. Some issuers write the boolean as a string.
    const { email_verified: verified = true } = claims;
    if (verified !== true && verified !== 'true') return null;
    const exp = claims.exp === undefined ? Number.POSITIVE_INFINITY : claims.exp * 1000;
    // The leeway is for letting in: who was in time is not let stay longer.
    const endsAt = exp > Date.now() ? exp : exp + leewaySeconds * 1000;
    return session(claims[emailClaim], claims[roleClaim], endsAt);
  };
}

/** The claims of a token that one of the keys has signed: without a key id, more than one may have. */
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
 * Keys by their id (RFC 7517), fetched when needed: at first, when the set is old, and when a key is not in it. Keys
 * that are known stay good while the set cannot be fetched, and only tokens with other keys depend on it then.
 */
function keySet(url: URL, timeoutDuration: number): JWTVerifyGetKey {
  // When it is fetched is decided here.
  const never = { cacheMaxAge: Number.POSITIVE_INFINITY, cooldownDuration: Number.POSITIVE_INFINITY };
  const keys = createRemoteJWKSet(url, { timeoutDuration, ...never, [customFetch]: boundedFetch });
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let triedAt = Number.NEGATIVE_INFINITY;
  let away = false;
  let fetching: Promise<void> | null = null;

  /** Fetches the set, unless that was tried just now; resolves when it is fetched, or cannot be. */
  async function refresh(): Promise<void> {
    if (performance.now() - triedAt >= KEY_SET_COOLDOWN_MS) fetching ??= fetchKeys();
    await fetching;
  }

  async function fetchKeys(): Promise<void> {
    try {
      await keys.reload();
      fetchedAt = performance.now();
      away = false;
    } catch {
      away = true;
    } finally {
      triedAt = performance.now();
      fetching = null;
    }
  }

  return async (header, token) => {
    if (performance.now() - fetchedAt > KEY_SET_AGE_MS) {
      const refreshed = refresh();
      if (fetchedAt === Number.NEGATIVE_INFINITY) await refreshed;
      else if (!away) await Promise.race([refreshed, setTimeout(timeoutDuration / 2)]);
      if (fetchedAt === Number.NEGATIVE_INFINITY) throw unchecked();
    }
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    await refresh();
    return keys(header, token).catch((error: unknown) => {
      throw away && error instanceof errors.JWKSNoMatchingKey ? unchecked() : error;
    });
  };
}

function unchecked(): ChatError {
  return new ChatError('UNAVAILABLE', 'The credential cannot be checked now: the key set does not answer.');
}

/** Fetches a key set, and breaks off when it is longer than `MAX_KEY_SET`. */
const boundedFetch: FetchImplementation = async (url, options) => {
  const { status, body } = await fetch(url, options);
  if (status !== 200 || !body) {
    await body?.cancel();
    return new Response(null, { status });
  }
  let size = 0;
  const bound = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.byteLength;
      if (size > MAX_KEY_SET) controller.error(new Error(`The key set is longer than ${MAX_KEY_SET} bytes.`));
      else controller.enqueue(chunk);
    },
  });
  return new Response(body.pipeThrough(bound));
};

function session(address: unknown, role: unknown, endsAt: number): Session | null {
  const email = typeof address === 'string' ? parseEmail(address) : null;
  const known = role === undefined || role === null ? null : ROLES.find((candidate) => candidate === role);
  return email && known !== undefined ? { viewer: { email, role: known }, endsAt } : null;
}
