import { randomUUID } from 'node:crypto';
import { GraphQLError, type GraphQLErrorExtensions } from 'graphql';
import { ChatError, type ErrorCode } from '../chat/rules/errors.ts';
import type { Logger } from '../observability/logger.ts';
import { StoreUnavailable } from '../store/store.ts';

/** The error for clients: a code of the contract, without details of a fault. Idempotent. */
export type MaskError = (error: unknown) => GraphQLError;

/** Longest message of an error, in UTF-16 units: messages of graphql-js quote the operation. */
const MAX_MESSAGE = 1000;

/** @param logger logs a fault with the id that the client gets in its place */
export function createErrorMask(logger: Logger): MaskError {
  const masked = new WeakSet<GraphQLError>();

  function toMasked(error: unknown): GraphQLError {
    const located = error instanceof GraphQLError ? error : undefined;
    const original = located?.originalError ?? error;
    const masked = (message: string, extensions: { code: ErrorCode; retryAfterMs?: number }) =>
      relabel(located, message, extensions);

    if (original instanceof ChatError) {
      const { code, message, retryAfterMs } = original;
      return masked(message, { code, ...(retryAfterMs !== null && { retryAfterMs }) });
    }
    if (original instanceof StoreUnavailable) {
      // Below a root field only a read for the result failed: the write before it has succeeded.
      const reason = (located?.path?.length ?? 0) > 1 ? '' : `: ${original.message}`;
      return masked(`The store did not answer in time${reason}.`, { code: 'UNAVAILABLE' });
    }
    if (original instanceof GraphQLError) return masked(truncate(original.message), { code: 'BAD_USER_INPUT' });
    const id = randomUUID();
    logger.error({ err: original, id, path: located?.path }, 'operation failed');
    return masked(`Internal server error ${id}.`, { code: 'INTERNAL_SERVER_ERROR' });
  }

  return (error) => {
    if (error instanceof GraphQLError && masked.has(error)) return error;
    const result = toMasked(error);
    masked.add(result);
    return result;
  };
}

function truncate(message: string): string {
  return message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…`.toWellFormed() : message;
}

/** A new error with the location of another: its nodes in the document and its path in the result. */
export function relabel(
  at: GraphQLError | undefined,
  message: string,
  extensions: GraphQLErrorExtensions,
): GraphQLError {
  const { nodes = null, source = null, positions = null, path = null } = at ?? {};
  return new GraphQLError(message, { nodes, source, positions, path, extensions });
}
