import type { KredichatError } from '../errors.ts';
import { MessageAddedDocument, type MessageFieldsFragment } from '../generated/operations.ts';
import { backoffMs } from './backoff.ts';
import type { Connection, Operation } from './connection.ts';
import type { Socket } from './socket.ts';

/** Receives what a subscription brings, over all the connections it lives through. */
export interface SubscriptionObserver<Result> {
  next(result: Result): void;
  /** The server will not go on with it: `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT` and the like. The last call. */
  end?(error: KredichatError): void;
  /** It is about to be sent over this connection; what is sent after this runs when it is registered. */
  starting?(socket: Socket): void;
}

/**
 * Subscribes, and again after every interruption. `variables` is called each time, so that the position in them can be the
 * present one: this is all that resuming takes. Returns how to stop.
 */
export function follow<Result, Variables>(
  connection: Connection,
  operation: Operation<Result, Variables>,
  variables: () => Variables,
  observer: SubscriptionObserver<Result>,
): () => void {
  let stopOperation = () => {};
  let retry: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;

  function start(socket: Socket): void {
    clearTimeout(retry);
    stopOperation = socket.start(operation.toString(), variables(), {
      next(result) {
        failures = 0;
        observer.next(result as Result);
      },
      end(error) {
        // The next connection starts it anew; where the token ended, the server is about to close this one.
        if (error?.code === 'DISCONNECTED' || error?.code === 'UNAUTHENTICATED') return;
        if (error && !error.transient) {
          stop();
          return observer.end?.(error);
        }
        retry = setTimeout(() => start(socket), error?.retryAfterMs ?? backoffMs(failures++));
      },
    });
    observer.starting?.(socket);
  }

  const stopListening = connection.eachSocket(start);
  function stop(): void {
    stopListening();
    clearTimeout(retry);
    stopOperation();
  }
  return stop;
}

/**
 * Follows a conversation's messages from a position: each once, in order, whatever happens to connections and servers.
 * Returns how to stop.
 */
export function followMessages(
  connection: Connection,
  conversationId: string,
  afterSeq: number,
  observer: Pick<SubscriptionObserver<MessageFieldsFragment>, 'next' | 'end'>,
): () => void {
  let position = afterSeq;
  return follow(connection, MessageAddedDocument, () => ({ conversationId, afterSeq: position }), {
    ...observer,
    next({ messageAdded: message }) {
      // What an earlier connection still brings.
      if (message.seq <= position) return;
      position = message.seq;
      observer.next(message);
    },
  });
}
