/** Every code an error may carry to a client, with the HTTP status of a request that as a whole ends in it. */
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

/** A refusal the client is told about: its message is written for the client and safe to show. */
export class ChatError extends Error {
  readonly code: ErrorCode;
  /** How long to wait before trying again, in milliseconds; with RATE_LIMITED only. */
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

/** The one answer for what is missing, foreign or malformed, so that they cannot be told apart. */
export function notFound(): ChatError {
  return new ChatError('NOT_FOUND', 'No such conversation, or you are not a member of it.');
}

/** The answer to a caller without an identity. */
export function unauthenticated(): ChatError {
  return new ChatError(
    'UNAUTHENTICATED',
    'This needs an identity: send an Authorization header or connection parameter.',
  );
}

/** What contradicts what is stored. */
export function conflict(message: string): ChatError {
  return new ChatError('CONFLICT', message);
}

/** A conversation that is read and no longer written. */
export function closed(): ChatError {
  return new ChatError('CONVERSATION_CLOSED', 'The conversation is closed.');
}

/** What a member may see, but not do. */
export function forbidden(deed: string): ChatError {
  return new ChatError('FORBIDDEN', `You may not ${deed} this.`);
}

/** A write of which nobody knows what became of it. */
export function outcomeUnknown(): ChatError {
  return new ChatError(
    'UNAVAILABLE',
    'The store did not answer in time: outcome unknown, repeat with the same clientId.',
  );
}
