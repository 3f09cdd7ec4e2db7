import type { Connection } from '../connection/connection.ts';
import { follow } from '../connection/follow.ts';
import type { KredichatError } from '../errors.ts';
import { ConversationEventsDocument, type ConversationEventsSubscription } from '../generated/operations.ts';

/** An event of a conversation. */
export type ConversationEvent = ConversationEventsSubscription['conversationEvents'];

/** Receives the events of a conversation. */
export interface ConversationObserver {
  /** The stream starts, or starts again after an interruption: earlier typing events are void. */
  started(): void;
  typing(member: string, typing: boolean): void;
  /** All other events, those that arrive in one turn of the event loop together. */
  next(events: readonly ConversationEvent[]): void;
  end(error: KredichatError): void;
}

/**
 * Follows all events of a conversation: first the present state of each message that changed after `afterRev`, then
 * live events. An event may repeat after an interruption, so the observer has to apply events idempotently. Returns a
 * function that stops it.
 */
export function followEvents(
  connection: Connection,
  conversationId: string,
  afterRev: number,
  observer: ConversationObserver,
): () => void {
  let position = afterRev;
  let batch: ConversationEvent[] = [];
  return follow(connection, ConversationEventsDocument, () => ({ conversationId, afterRev: position }), {
    starting: observer.started,
    next({ conversationEvents: event }) {
      if ('rev' in event) position = Math.max(position, event.rev);
      if (event.__typename === 'Typing') return observer.typing(event.member, event.typing);
      if (batch.push(event) > 1) return;
      setTimeout(() => {
        const events = batch;
        batch = [];
        observer.next(events);
      });
    },
    end: observer.end,
  });
}
