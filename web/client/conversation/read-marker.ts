import type { Connection } from '../connection/connection.ts';
import { coalesceWithRetry } from '../connection/retry.ts';
import { asError } from '../errors.ts';
import { MarkReadDocument } from '../generated/operations.ts';

/** Sends the viewer's newest read position, one request at a time, until the server has it. */
export function createReadMarker(connection: Connection, conversation: () => string | undefined) {
  let wanted = 0;
  let sent = 0;
  let stopped = false;

  const send = coalesceWithRetry(
    async () => {
      const [conversationId, seq] = [conversation(), wanted];
      if (conversationId === undefined || seq <= sent) return;
      try {
        await connection.run(MarkReadDocument, { input: { conversationId, seq } });
        sent = seq;
      } catch (error) {
        // A repeat would fail in the same way.
        if (!asError(error).transient) sent = seq;
        throw error;
      }
    },
    () => stopped,
  );

  return {
    /** Marks everything up to `seq` as read. A lower position changes nothing. */
    upTo(seq: number): void {
      wanted = Math.max(wanted, seq);
      send();
    },
    stop(): void {
      stopped = true;
    },
  };
}
