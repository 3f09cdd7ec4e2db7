import type { ErrorCode } from './generated/enums.ts';

/**
 * Why an operation failed: a code of the server (`extensions.code`) or of the client. `DISCONNECTED`: the connection
 * was lost before the answer, so that the outcome is unknown. `CLIENT_CLOSED`: the client was closed before the answer.
 */
export type KredichatErrorCode = ErrorCode | 'DISCONNECTED' | 'CLIENT_CLOSED';

/** Codes of failures after which the same operation may succeed. */
const TRANSIENT: ReadonlySet<string> = new Set([
  'RATE_LIMITED',
  'UNAVAILABLE',
  'INTERNAL_SERVER_ERROR',
  'DISCONNECTED',
]);

/** The error of every failed operation. */
export class KredichatError extends Error {
  override readonly name = 'KredichatError';
  /** The cause, for programs; `message` is for people. */
  readonly code: KredichatErrorCode;
  /** The wait that the server asks for, as with `RATE_LIMITED` or when it shuts down, in milliseconds; else null. */
  readonly retryAfterMs: number | null;

  constructor(code: KredichatErrorCode, message: string, retryAfterMs: number | null = null) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same operation may succeed later, unchanged. Repeat a send with the same `clientId`. */
  get transient(): boolean {
    return TRANSIENT.has(this.code);
  }
}

/** An error of a GraphQL response. */
export interface GraphQLFailure {
  readonly message: string;
  readonly extensions?: { readonly code?: string; readonly retryAfterMs?: number };
}

/** The first error of a GraphQL response, as a `KredichatError`. */
export function toError([failure]: readonly GraphQLFailure[]): KredichatError {
  const { code = 'INTERNAL_SERVER_ERROR', retryAfterMs = null } = failure?.extensions ?? {};
  return new KredichatError(
    code as ErrorCode,
    failure?.message ?? 'The server reports an error without a message.',
    retryAfterMs,
  );
}

/** Any thrown value, as a `KredichatError`. */
export function asError(error: unknown): KredichatError {
  if (error instanceof KredichatError) return error;
  return new KredichatError('INTERNAL_SERVER_ERROR', error instanceof Error ? error.message : String(error));
}
