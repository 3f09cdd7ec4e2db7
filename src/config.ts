import { isIP } from 'node:net';
import { z } from 'zod';
import { isOrigin } from './record/keys.ts';
import { parseStoreUrl, type StoreConfig } from './store-url.ts';

export type { StoreConfig };

/** The configuration: checked and frozen. docs/CONFIGURATION.md lists the variables. */
export interface Config {
  /** TCP port; 0 picks a free one. */
  readonly port: number;
  readonly host: string;
  /** Prefix of all paths, such as `/chat`, or empty. Paths without the prefix are served as well. */
  readonly basePath: string;
  readonly store: StoreConfig;
  readonly auth: AuthConfig;
  /** Browser origins allowed beside the server's own, normalized by `normalizeOrigin`. */
  readonly allowedOrigins: readonly string[];
  /** Whether every loopback origin is allowed. */
  readonly loopbackOrigins: boolean;
  /** Addresses and networks of trusted proxies: their `X-Forwarded-For` gives the address of the client. */
  readonly trustedProxies: readonly string[];
  /** Addresses and networks of trusted gateways, which assert the e-mail address of a legacy client. */
  readonly legacyGateways: readonly string[];
  /** Whether GraphiQL and introspection are served. */
  readonly introspection: boolean;
  /** Messages in a page of the legacy `RECEIVE`, 1 to 100. */
  readonly legacyPageSize: number;
  /** A legacy socket without a frame for this long is closed, in milliseconds. */
  readonly legacyIdleMs: number;
  /** A connection without a request is kept open for this long, in milliseconds. */
  readonly keepAliveMs: number;
  /** From a signal to stop until sockets are closed, in milliseconds: `/readyz` is 503, and everything is served. */
  readonly drainDelayMs: number;
  /** Time over which the closes of sockets are then spread, in milliseconds. */
  readonly drainSpreadMs: number;
  readonly logLevel: string;
  readonly record: RecordConfig;
  readonly limits: Limits;
}

/** How the record is signed and published: see docs/RECORD.md. */
interface RecordConfig {
  /** Name of the register, and of the keys that sign it. */
  readonly origin: string;
  /** Files with private keys, at most two: the first signs, and during a rotation the other one beside it. */
  readonly keyFiles: readonly string[];
  /** Folder to which checkpoints are published; null for none. */
  readonly publish: string | null;
}

/** How a credential is checked. In `dev` the token is the e-mail address of the user. */
export type AuthConfig =
  | { readonly mode: 'dev' }
  | {
      readonly mode: 'jwt';
      /** The secret for HS256, or the URL of the key set. */
      readonly key: { readonly secret: Uint8Array } | { readonly jwks: URL };
      /** Null accepts any. */
      readonly issuer: string | null;
      readonly audience: string | null;
      readonly emailClaim: string;
      readonly roleClaim: string;
      /** Largest difference allowed between the clocks of issuer and server, in seconds. */
      readonly leewaySeconds: number;
    };

/** Limits, the same on every transport. */
export interface Limits {
  /** Largest WebSocket frame or HTTP body, in bytes. */
  readonly frameBytes: number;
  /** Largest JSON of an answer or of one event, in bytes. */
  readonly responseBytes: number;
  /** Largest send buffer of a socket, in bytes; a socket beyond it is closed with 4413. */
  readonly unsentBytes: number;
  /** Interval of pings, in milliseconds; a socket that did not answer the last ping is dropped. */
  readonly heartbeatMs: number;
  /** Time limit from the upgrade to a checked credential, in milliseconds. */
  readonly authenticationMs: number;
  readonly subscriptionsPerSocket: number;
  readonly subscriptionsPerUser: number;
  readonly socketsPerUser: number;
  /** Connections. Loopback addresses are exempt: behind a proxy on the same machine all clients share one. */
  readonly socketsPerAddress: number;
  /** Deepest nesting of fields in an operation. */
  readonly depth: number;
  /** Aliases of an operation. */
  readonly aliases: number;
  /** Directives of an operation. */
  readonly directives: number;
  /** Highest cost of an operation, in values. */
  readonly cost: number;
  /** Lexical tokens of an operation's text. */
  readonly tokens: number;
  /** Messages a user may send in a minute; 0 is no limit. */
  readonly messagesPerMinute: number;
  /** Messages a user may send without a pause. */
  readonly messageBurst: number;
}

const whole = (fallback: number, min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,12}$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be ${min} to ${max}`)
    .prefault(String(fallback));

const origins = z
  .string()
  .transform((list) => list.split(',').map((entry) => normalizeOrigin(entry.trim())))
  .refine(
    (list): list is string[] => !list.includes(null),
    'must be a comma-separated list of origins such as https://app.example.com',
  );

const origin = z.string().refine(isOrigin, 'must be 1 to 100 printable ASCII characters without spaces and +');

const networks = z
  .string()
  .transform((list) => list.split(',').map((entry) => entry.trim()))
  .refine(
    (list) => list.every(isNetwork),
    'must be a comma-separated list of addresses and networks such as 10.0.0.0/8',
  )
  .default([]);

const VARIABLES = z.object({
  PORT: whole(4000, 0, 65_535),
  HOST: z.string().default('127.0.0.1'),
  BASE_PATH: z
    .string()
    .regex(/^(\/(?!\.\.?(\/|$))[\w.~-]+)+$/, 'must be a path such as /chat, without a slash at its end')
    .default(''),
  STORE_URL: z
    .string()
    .regex(/^(memory:|sqlite:.+|mongodb(\+srv)?:\/\/.+)$/, 'must be memory:, sqlite:FILE or mongodb://…')
    .default('sqlite:data/kredichat.db'),
  AUTH_MODE: z.enum(['dev', 'jwt'], 'must be dev or jwt').default('dev'),
  ALLOW_INSECURE_DEV_AUTH: z.enum(['0', '1'], 'must be 0 or 1').default('0'),
  JWT_SECRET: z
    .string()
    .transform((secret) => new TextEncoder().encode(secret))
    .refine(({ length }) => length >= 32, 'must be at least 32 bytes')
    .optional(),
  JWKS_URL: z
    .string()
    .refine(isKeySetUrl, 'must be an https:// URL, or http:// on a loopback address')
    .transform((url) => new URL(url))
    .optional(),
  JWT_ISSUER: z.string().optional(),
  JWT_AUDIENCE: z.string().optional(),
  JWT_EMAIL_CLAIM: z.string().default('email'),
  JWT_ROLE_CLAIM: z.string().default('role'),
  JWT_LEEWAY_SECONDS: whole(1, 0, 300),
  ALLOWED_ORIGINS: origins.optional(),
  TRUSTED_PROXIES: networks,
  LEGACY_GATEWAYS: networks,
  INTROSPECTION: z.enum(['on', 'off'], 'must be on or off').optional(),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], 'must be a pino level')
    .default('info'),
  RECORD_ORIGIN: origin.default('kredichat'),
  RECORD_KEY_FILE: z
    .string()
    .transform((list) => list.split(',').map((file) => file.trim()))
    .refine((files) => files.length <= 2 && !files.includes(''), 'must be one file, or two separated by a comma')
    .default([]),
  RECORD_PUBLISH: z.string().optional(),
  RATE_LIMIT_MESSAGES: whole(600, 0, 1_000_000),
  RATE_LIMIT_BURST: whole(60, 1, 1_000_000),
  LEGACY_PAGE_SIZE: whole(20, 1, 100),
  LEGACY_IDLE_SECONDS: whole(300, 1, 86_400),
  MAX_FRAME_BYTES: whole(262_144, 1024, 16_777_216),
  MAX_RESPONSE_BYTES: whole(8_388_608, 65_536, 268_435_456),
  MAX_UNSENT_BYTES: whole(1_048_576, 65_536, 1_073_741_824),
  MAX_SUBSCRIPTIONS: whole(100, 1, 10_000),
  MAX_SUBSCRIPTIONS_PER_USER: whole(20_000, 1, 1_000_000),
  MAX_SOCKETS_PER_USER: whole(10_000, 1, 1_000_000),
  MAX_SOCKETS_PER_ADDRESS: whole(2000, 1, 1_000_000),
  MAX_DEPTH: whole(10, 1, 100),
  MAX_ALIASES: whole(15, 0, 1000),
  MAX_DIRECTIVES: whole(20, 0, 1000),
  MAX_COST: whole(50_000, 100, 10_000_000),
  MAX_TOKENS: whole(1000, 100, 100_000),
  HEARTBEAT_SECONDS: whole(12, 1, 3600),
  KEEP_ALIVE_SECONDS: whole(75, 1, 3600),
  DRAIN_DELAY_SECONDS: whole(0, 0, 300),
  DRAIN_SPREAD_SECONDS: whole(2, 0, 300),
  AUTH_TIMEOUT_SECONDS: whole(3, 1, 60),
});

/**
 * Reads the configuration from the environment; empty variables count as unset.
 * @throws Error with one line that names the variable
 */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const result = VARIABLES.safeParse(set);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new Error(`${String(issue?.path[0])} ${issue?.message}`);
  }
  const env = result.data;
  const auth = authConfig(env);
  if (auth.mode === 'dev' && !isLoopback(env.HOST) && env.ALLOW_INSECURE_DEV_AUTH !== '1') {
    throw new Error(
      'HOST is not a loopback address, and AUTH_MODE=dev checks no credential; ALLOW_INSECURE_DEV_AUTH=1 allows it',
    );
  }
  return Object.freeze({
    port: env.PORT,
    host: env.HOST.replace(/^\[(.*)\]$/, '$1'),
    basePath: env.BASE_PATH,
    store: parseStoreUrl(env.STORE_URL),
    auth,
    allowedOrigins: env.ALLOWED_ORIGINS ?? [],
    loopbackOrigins: auth.mode === 'dev',
    trustedProxies: env.TRUSTED_PROXIES,
    legacyGateways: env.LEGACY_GATEWAYS,
    introspection: (env.INTROSPECTION ?? (auth.mode === 'dev' ? 'on' : 'off')) === 'on',
    legacyPageSize: env.LEGACY_PAGE_SIZE,
    legacyIdleMs: env.LEGACY_IDLE_SECONDS * 1000,
    keepAliveMs: env.KEEP_ALIVE_SECONDS * 1000,
    drainDelayMs: env.DRAIN_DELAY_SECONDS * 1000,
    drainSpreadMs: env.DRAIN_SPREAD_SECONDS * 1000,
    logLevel: env.LOG_LEVEL,
    record: { origin: env.RECORD_ORIGIN, keyFiles: env.RECORD_KEY_FILE, publish: env.RECORD_PUBLISH ?? null },
    limits: Object.freeze({
      frameBytes: env.MAX_FRAME_BYTES,
      responseBytes: env.MAX_RESPONSE_BYTES,
      unsentBytes: env.MAX_UNSENT_BYTES,
      heartbeatMs: env.HEARTBEAT_SECONDS * 1000,
      authenticationMs: env.AUTH_TIMEOUT_SECONDS * 1000,
      subscriptionsPerSocket: env.MAX_SUBSCRIPTIONS,
      subscriptionsPerUser: env.MAX_SUBSCRIPTIONS_PER_USER,
      socketsPerUser: env.MAX_SOCKETS_PER_USER,
      socketsPerAddress: env.MAX_SOCKETS_PER_ADDRESS,
      depth: env.MAX_DEPTH,
      aliases: env.MAX_ALIASES,
      directives: env.MAX_DIRECTIVES,
      cost: env.MAX_COST,
      tokens: env.MAX_TOKENS,
      messagesPerMinute: env.RATE_LIMIT_MESSAGES,
      messageBurst: env.RATE_LIMIT_BURST,
    }),
  });
}

/** True for `localhost` and the addresses 127.0.0.0/8 and ::1 (RFC 6890), with or without brackets. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, '$1');
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'));
}

/**
 * Normalizes an origin (RFC 6454, section 6.2) for comparison: scheme and host in lower case, no default port. Any
 * scheme is allowed, as applications have their own. Null for other texts, including `null`.
 */
export function normalizeOrigin(text: string): string | null {
  if (!/^[a-z][a-z\d+.-]*:\/\/[^\s/\\?#@*]+$/i.test(text) || !URL.canParse(text)) return null;
  const { protocol, host } = new URL(text);
  return `${protocol}//${host.toLowerCase()}`;
}

function authConfig(env: z.infer<typeof VARIABLES>): AuthConfig {
  const { JWT_SECRET: secret, JWKS_URL: jwks } = env;
  if (env.AUTH_MODE === 'dev') {
    if (secret || jwks)
      throw new Error('AUTH_MODE is dev, which checks no tokens; with JWT_SECRET or JWKS_URL it must be jwt');
    return { mode: 'dev' };
  }
  const key = secret ? { secret } : jwks && { jwks };
  if (!key) throw new Error('AUTH_MODE is jwt: JWT_SECRET or JWKS_URL must be set');
  if (secret && jwks) throw new Error('JWT_SECRET and JWKS_URL are both set; only one is allowed');
  return {
    mode: 'jwt',
    key,
    issuer: env.JWT_ISSUER ?? null,
    audience: env.JWT_AUDIENCE ?? null,
    emailClaim: env.JWT_EMAIL_CLAIM,
    roleClaim: env.JWT_ROLE_CLAIM,
    leewaySeconds: env.JWT_LEEWAY_SECONDS,
  };
}

function isKeySetUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  // An attacker that changes the keys in transit can forge any identity.
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname));
}

/** An IP address, or a network in CIDR notation (RFC 4632, RFC 4291). */
function isNetwork(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}
