import type { KredichatError } from '../errors.ts';
import { MessageAddedDocument, type MessageFieldsFragment } from '../generated/operations.ts';
import type { Connection, Operation } from './connection.ts';
import { createRetryTimer } from './retry.ts';
import type { Socket } from './socket.ts';

/** Receives the results of a subscription across reconnects. */
export interface SubscriptionObserver<Result> {
  next(result: Result): void;
  /** The last call: the server ended the subscription with a permanent error such as `NOT_FOUND` or `FORBIDDEN`. */
  end?(error: KredichatError): void;
  /** The subscription was sent over this socket. Operations sent from here on run once it is registered. */
  starting?(socket: Socket): void;
}

/**
 * Subscribes, and subscribes again after every interruption. `variables` is called each time, so that it can give the
 * present position to resume from. Returns a function that stops it.
 */
export function follow<Result, Variables>(
  connection: Connection,
  operation: Operation<Result, Variables>,
  variables: () => Variables,
  observer: SubscriptionObserver<Result>,
): () => void {
  let stopOperation = () => {};
  const retry = createRetryTimer();

  function start(socket: Socket): void {
    retry.cancel();
    stopOperation = socket.start(operation.toString(), variables(), {
      next(result) {
        retry.reset();
        observer.next(result as Result);
      },
      end(error) {
        // The next connection starts the subscription again. After UNAUTHENTICATED the server closes this one.
        if (error?.code === 'DISCONNECTED' || error?.code === 'UNAUTHENTICATED') return;
        if (error && !error.transient) {
          stop();
          return observer.end?.(error);
        }
        retry.schedule(() => start(socket), error);
      },
    });
    observer.starting?.(socket);
  }

  const stopListening = connection.eachSocket(start);
  function stop(): void {
    stopListening();
    retry.cancel();
    stopOperation();
  }
  return stop;
}

/**
 * Follows the messages of a conversation after a position, each once and in order across reconnects.
 * Returns a function that stops it.
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
      // A duplicate from an earlier connection.
      if (message.seq <= position) return;
      position = message.seq;
      observer.next(message);
    },
  });
}
