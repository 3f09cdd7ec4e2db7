import type { ErrorCode } from './generated/enums.ts';

/**
 * Why an operation failed: a code of the server's (`extensions.code`), or one of the client's own:
 * `DISCONNECTED` when the connection was lost before the answer came, so that the outcome is unknown, and
 * `CLIENT_CLOSED` when this client was closed first.
 */
export type KredichatErrorCode = ErrorCode | 'DISCONNECTED' | 'CLIENT_CLOSED';

/** Codes of failures that may pass by themselves. */
const TRANSIENT: ReadonlySet<string> = new Set([
  'RATE_LIMITED',
  'UNAVAILABLE',
  'INTERNAL_SERVER_ERROR',
  'DISCONNECTED',
]);

/** The only error the client throws for what goes wrong between it and the server. */
export class KredichatError extends Error {
  override readonly name = 'KredichatError';
  /** What went wrong; messages are for people, codes for programs. */
  readonly code: KredichatErrorCode;
  /** With `RATE_LIMITED`: how long to wait, in milliseconds, where the server said so. */
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

/** What a GraphQL answer says went wrong. */
export interface GraphQLFailure {
  readonly message: string;
  readonly extensions?: { readonly code?: string; readonly retryAfterMs?: number };
}

/** The first failure of an answer as an error of ours. */
export function toError([failure]: readonly GraphQLFailure[]): KredichatError {
  const { code = 'INTERNAL_SERVER_ERROR', retryAfterMs = null } = failure?.extensions ?? {};
  return new KredichatError(code as ErrorCode, failure?.message ?? 'The server gave no reason.', retryAfterMs);
}

/** Anything that was thrown, as an error of ours. */
export function asError(error: unknown): KredichatError {
  if (error instanceof KredichatError) return error;
  return new KredichatError('INTERNAL_SERVER_ERROR', error instanceof Error ? error.message : String(error));
}
