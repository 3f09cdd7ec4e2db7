import type { ConversationRef, MessageFieldsFragment as Message } from '../generated/operations.ts';
import type { Outbox } from '../outbox.ts';
import { type Outgoing, queueKeyOf } from '../outbox-items.ts';

/** Tracks the viewer's outgoing messages in one conversation until the loaded messages include them. */
export function createOutgoingTracker(outbox: Outbox, ref: ConversationRef) {
  /** Client ids of the viewer's messages that are known to be stored. */
  const storedIds = new Set<string>();
  /** Stored messages that the loaded messages do not reach yet. */
  let unloaded: readonly { outgoing: Outgoing; seq: number }[] = [];

  return {
    hasUnloaded: () => unloaded.length > 0,
    /** Records a message that the outbox reports as stored. */
    recordStored(outgoing: Outgoing, seq: number): void {
      storedIds.add(outgoing.clientId);
      unloaded = [...unloaded, { outgoing, seq }];
    },
    /** Records which loaded messages are the viewer's. */
    recordLoaded(messages: readonly Message[], viewer: string): void {
      for (const { sender, clientId } of messages) if (clientId !== null && sender === viewer) storedIds.add(clientId);
    },
    /** The outgoing messages to show after the loaded message `newest`, in a conversation with this id. */
    after(newest: number, id: string | undefined): Outgoing[] {
      unloaded = unloaded.filter(({ seq }) => seq > newest);
      const queueKeys = new Set([queueKeyOf(ref), id]);
      const pending = outbox
        .get()
        .filter(({ to, clientId }) => queueKeys.has(queueKeyOf(to)) && !storedIds.has(clientId));
      return [...unloaded.map(({ outgoing }) => outgoing), ...pending];
    },
  };
}
