import type { ListedConversationFieldsFragment as Conversation } from './generated/operations.ts';
import { tell } from './observable.ts';

/** Hears what other views of the same client learned. */
interface Listener {
  /** The state of a conversation, from the server. Of its members it has the first alone. */
  changed(conversation: Conversation): void;
  /** The viewer is not in this conversation any more. */
  gone(id: string): void;
}

/** Between the views of a client: what one learns of a conversation, all know. */
export interface News extends Listener {
  /** Returns how to stop listening. */
  listen(listener: Listener): () => void;
}

export function createNews(): News {
  const listeners = new Set<Listener>();
  return {
    changed: (conversation) => tell([...listeners].map((listener) => () => listener.changed(conversation))),
    gone: (id) => tell([...listeners].map((listener) => () => listener.gone(id))),
    listen(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
