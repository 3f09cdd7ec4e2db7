import type { ListedConversationFieldsFragment as Conversation } from './generated/operations.ts';
import { notifyAll } from './observable.ts';

/** Receives changes that other views of the same client learn of. */
interface ViewListener {
  /** The server sent a newer state of a conversation, with its first members only. */
  changed(conversation: Conversation): void;
  /** The viewer is no longer a member of a conversation. */
  removed(id: string): void;
}

/** Broadcasts the changes that one view of a client learns of to all of its views. */
export interface ViewEvents extends ViewListener {
  /** Returns a function that stops listening. */
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
