import type { Connection } from '../connection/connection.ts';
import { follow } from '../connection/follow.ts';
import type { KredichatError } from '../errors.ts';
import { ConversationEventsDocument, type ConversationEventsSubscription } from '../generated/operations.ts';

/** Something that happened in a conversation. */
export type ConversationEvent = ConversationEventsSubscription['conversationEvents'];

/**
 * Follows everything in a conversation from a position: what changed after it in its present state, then live. An event may
 * come again after an interruption; what it says is to be put in its place each time. Returns how to stop.
 */
export function followEvents(
  connection: Connection,
  conversationId: string,
  afterRev: number,
  observer: {
    /** `interrupted` is called before what comes after an interruption: hints about typing that came before it are void. */
    interrupted(): void;
    next(event: ConversationEvent): void;
    end(error: KredichatError): void;
  },
): () => void {
  let position = afterRev;
  return follow(connection, ConversationEventsDocument, () => ({ conversationId, afterRev: position }), {
    starting: observer.interrupted,
    next({ conversationEvents: event }) {
      if ('rev' in event) position = Math.max(position, event.rev);
      observer.next(event);
    },
    end: observer.end,
  });
}
