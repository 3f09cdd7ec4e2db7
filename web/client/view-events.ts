import type { ListedConversationFieldsFragment as Conversation } from './generated/operations.ts';
import { notifyAll } from './observable.ts';

/** Hears what other views of the same client learned. */
interface ViewListener {
  /** The state of a conversation, from the server. Of its members it has the first alone. */
  changed(conversation: Conversation): void;
  /** The viewer is not in this conversation any more. */
  removed(id: string): void;
}

/** Between the views of a client: what one learns of a conversation, all know. */
export interface ViewEvents extends ViewListener {
  /** Returns how to stop listening. */
  listen(listener: ViewListener): () => void;
}

export function createViewEvents(): ViewEvents {
  const listeners = new Set<ViewListener>();
  return {
    changed: (conversation) => notifyAll([...listeners].map((listener) => () => listener.changed(conversation))),
    removed: (id) => notifyAll([...listeners].map((listener) => () => listener.removed(id))),
    listen(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
