import { clientKey } from '../../chat/log/change-set.ts';
import type { ConversationId, EmailAddress, Seq } from '../../model.ts';
import type { Store } from '../../store/store.ts';

/** Messages read at once. */
const PAGE = 1000;

/** A message of the store with the `clientId` of an imported one. */
interface StoredMessage {
  readonly seq: Seq;
  readonly sender: EmailAddress;
  /** As the source spells it; null for a message that was sent here, by a client that chose such a `clientId`. */
  readonly time: string | null;
}

export interface StoredMessages {
  /** Reads on up to a number; what this import wrote itself is left out. */
  readTo(lastSeq: Seq): Promise<void>;
  /** Says that this import wrote all messages up to a number. */
  wrote(lastSeq: Seq): void;
  /** The imported message with this `clientId` of any sender, or the one that this sender sent here. */
  get(sender: EmailAddress, clientId: string): StoredMessage | undefined;
}

/** What earlier imports left in a conversation. A trial run has no store, and finds nothing. */
export function createStoredMessages(store: Store | null, id: ConversationId): StoredMessages {
  const found = new Map<string, StoredMessage>();
  let last = 0;
  return {
    async readTo(lastSeq) {
      for (; store && last < lastSeq; last = Math.min(last + PAGE, lastSeq)) {
        for (const message of await store.messages(id, last + 1, Math.min(last + PAGE, lastSeq))) {
          const { seq, sender, clientId, origin } = message;
          if (!clientId?.startsWith('import:')) continue;
          found.set(origin ? clientId : clientKey(sender, clientId), { seq, sender, time: origin?.time ?? null });
        }
      }
    },
    wrote(lastSeq) {
      last = lastSeq;
    },
    get: (sender, clientId) => found.get(clientId) ?? found.get(clientKey(sender, clientId)),
  };
}
