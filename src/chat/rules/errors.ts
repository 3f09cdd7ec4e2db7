/** Every error code, with the HTTP status of a request that fails as a whole with it. */
export const ERROR_CODES = {
  BAD_USER_INPUT: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  CONVERSATION_CLOSED: 409,
  TOO_LARGE: 413,
  RATE_LIMITED: 429,
  UNAVAILABLE: 503,
  INTERNAL_SERVER_ERROR: 500,
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error for the client: its message is safe to show. */
export class ChatError extends Error {
  readonly code: ErrorCode;
  /** Time to wait before a retry, in milliseconds; for RATE_LIMITED only. */
  readonly retryAfterMs: number | null;

  constructor(code: ErrorCode, message: string, retryAfterMs: number | null = null) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

export function badInput(message: string): ChatError {
  return new ChatError('BAD_USER_INPUT', message);
}

/** The one error for missing, foreign and malformed ids, so that they are indistinguishable. */
export function notFound(): ChatError {
  return new ChatError('NOT_FOUND', 'There is no such conversation, or you are not a member of it.');
}

/** The error for a caller without an identity. */
export function unauthenticated(): ChatError {
  return new ChatError(
    'UNAUTHENTICATED',
    'An identity is required: send an `Authorization` header or connection parameter.',
  );
}

/** The request contradicts the stored state. */
export function conflict(message: string): ChatError {
  return new ChatError('CONFLICT', message);
}

/** The conversation is read-only. */
export function closed(): ChatError {
  return new ChatError('CONVERSATION_CLOSED', 'The conversation is closed; it can only be reopened or left.');
}

/** The member lacks the right to an action. */
export function forbidden(action: string): ChatError {
  return new ChatError('FORBIDDEN', `You lack the right to ${action} this.`);
}

/** A write may have happened or not. */
export function outcomeUnknown(): ChatError {
  return new ChatError(
    'UNAVAILABLE',
    'The store did not answer in time: outcome unknown, repeat with the same clientId.',
  );
}
