import { backoffMs, delay } from '../connection/backoff.ts';
import type { Connection } from '../connection/connection.ts';
import { asError } from '../errors.ts';
import { MarkReadDocument } from '../generated/operations.ts';

/** Tells the server how far the viewer has read: the newest position only, one request at a time, until it is known there. */
export function createReadMarker(connection: Connection, conversation: () => string | undefined) {
  let wanted = 0;
  let known = 0;
  let sending = false;
  let stopped = false;

  async function send(): Promise<void> {
    sending = true;
    for (let failures = 0; !stopped && wanted > known; ) {
      const [conversationId, seq] = [conversation(), wanted];
      if (conversationId === undefined) break;
      try {
        await connection.run(MarkReadDocument, { input: { conversationId, seq } });
        known = seq;
      } catch (error) {
        // Anything else would fail for ever.
        if (!asError(error).transient) known = seq;
        else await delay(backoffMs(failures++));
      }
    }
    sending = false;
  }

  return {
    /** Everything up to here was read. Going back changes nothing. */
    upTo(seq: number): void {
      wanted = Math.max(wanted, seq);
      if (!sending) void send();
    },
    stop(): void {
      stopped = true;
    },
  };
}
