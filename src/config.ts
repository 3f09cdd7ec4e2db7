import { isIP } from 'node:net';
import { z } from 'zod';

/** Everything that can be set, checked and frozen. README.md lists the variables. */
export interface Config {
  /** TCP port; 0 picks a free one. */
  readonly port: number;
  readonly host: string;
  readonly store: StoreConfig;
  /** Browser origins let in beside the server's own. */
  readonly allowedOrigins: readonly string[];
  /** Whether GraphiQL and introspection are served. */
  readonly introspection: boolean;
  /** Messages in a page of the legacy `RECEIVE`, 1 to 100. */
  readonly legacyPageSize: number;
  /** Close a legacy socket after this long without a frame. */
  readonly legacyIdleMs: number;
  readonly logLevel: string;
  readonly limits: Limits;
}

/** Where conversations are kept: a file of the embedded store or `:memory:`, or the connection string of a replica set. */
export type StoreConfig =
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'mongodb'; readonly url: string };

/** The same on every transport. */
export interface Limits {
  /** Bytes of a WebSocket frame or an HTTP body. */
  readonly frameBytes: number;
  /** Bytes a socket may owe its client before it is closed with 4413. */
  readonly unsentBytes: number;
  /** Between two pings; a socket that did not answer the last one is dropped. */
  readonly heartbeatMs: number;
  /** From the upgrade to `connection_init`. */
  readonly authenticationMs: number;
  readonly subscriptionsPerSocket: number;
  /** Nested fields of an operation. */
  readonly depth: number;
  /** Aliases of an operation. */
  readonly aliases: number;
  /** Lexical tokens of an operation's text. */
  readonly tokens: number;
  /** Messages a user may send in a minute; 0 is no limit. */
  readonly messagesPerMinute: number;
  /** Messages a user may send at once. */
  readonly messageBurst: number;
}

const whole = (fallback: number, min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,12}$/, 'is to be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `is to be ${min} to ${max}`)
    .prefault(String(fallback));

const origins = z
  .string()
  .transform((list) => list.split(',').map((entry) => entry.trim()))
  .refine((list) => list.every(isOrigin), 'is to be a comma-separated list of origins such as https://app.example.com');

const VARIABLES = z.object({
  PORT: whole(4000, 0, 65_535),
  HOST: z.string().default('127.0.0.1'),
  STORE_URL: z
    .string()
    .regex(/^(memory:|sqlite:.+|mongodb(\+srv)?:\/\/.+)$/, 'is to be memory:, sqlite:FILE or mongodb://…')
    .default('sqlite:data/kredichat.db'),
  AUTH_MODE: z.literal('dev', 'is to be dev').default('dev'),
  ALLOW_INSECURE_DEV_AUTH: z.enum(['0', '1'], 'is to be 0 or 1').default('0'),
  ALLOWED_ORIGINS: origins.optional(),
  INTROSPECTION: z.enum(['on', 'off'], 'is to be on or off').default('on'),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], 'is to be a pino level')
    .default('info'),
  RATE_LIMIT_MESSAGES: whole(600, 0, 1_000_000),
  RATE_LIMIT_BURST: whole(60, 1, 1_000_000),
  LEGACY_PAGE_SIZE: whole(20, 1, 100),
  LEGACY_IDLE_SECONDS: whole(300, 1, 86_400),
  MAX_FRAME_BYTES: whole(262_144, 1024, 16_777_216),
  MAX_UNSENT_BYTES: whole(1_048_576, 65_536, 1_073_741_824),
  MAX_SUBSCRIPTIONS: whole(100, 1, 10_000),
  MAX_DEPTH: whole(10, 1, 100),
  MAX_ALIASES: whole(15, 0, 1000),
  MAX_TOKENS: whole(1000, 100, 100_000),
  HEARTBEAT_SECONDS: whole(12, 1, 3600),
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
  if (!isLoopback(env.HOST) && env.ALLOW_INSECURE_DEV_AUTH !== '1') {
    throw new Error(
      'HOST is not a loopback address, and AUTH_MODE=dev lets anybody be anybody; ALLOW_INSECURE_DEV_AUTH=1 allows it',
    );
  }
  return Object.freeze({
    port: env.PORT,
    host: env.HOST.replace(/^\[(.*)\]$/, '$1'),
    store: storeConfig(env.STORE_URL),
    allowedOrigins: env.ALLOWED_ORIGINS ?? [],
    introspection: env.INTROSPECTION === 'on',
    legacyPageSize: env.LEGACY_PAGE_SIZE,
    legacyIdleMs: env.LEGACY_IDLE_SECONDS * 1000,
    logLevel: env.LOG_LEVEL,
    limits: Object.freeze({
      frameBytes: env.MAX_FRAME_BYTES,
      unsentBytes: env.MAX_UNSENT_BYTES,
      heartbeatMs: env.HEARTBEAT_SECONDS * 1000,
      authenticationMs: env.AUTH_TIMEOUT_SECONDS * 1000,
      subscriptionsPerSocket: env.MAX_SUBSCRIPTIONS,
      depth: env.MAX_DEPTH,
      aliases: env.MAX_ALIASES,
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

function storeConfig(url: string): StoreConfig {
  if (url.startsWith('mongodb')) return { kind: 'mongodb', url };
  return { kind: 'sqlite', path: url === 'memory:' ? ':memory:' : url.slice('sqlite:'.length) };
}

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text;
}
