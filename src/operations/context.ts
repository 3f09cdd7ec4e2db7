import type { Chat } from '../chat/chat.ts';
import { ChatError } from '../chat/errors.ts';
import type { Drained } from '../chat/feed.ts';
import type { Conversation, Viewer } from '../model.ts';
import type { Decision } from '../observe.ts';

/** What an operation runs with, whatever transport brought it. */
export interface Context {
  readonly chat: Chat;
  /** Null for requests without a credential. */
  readonly viewer: Viewer | null;
  /** Resolves when the client's socket has room for more. */
  readonly drained: Drained;
  /** Told of each decision about the viewer. */
  readonly audit: (decision: Decision) => void;
  /** Told of values that an operation comes to beyond what it asks for. @throws ChatError where they are too many */
  readonly spend?: (values: number) => void;
  /** Told which conversation a root field is about that is marked `@oneConversation`. */
  readonly found?: (conversation: Conversation) => void;
}

/** The viewer. @throws ChatError UNAUTHENTICATED when there is none */
export function signedIn({ viewer }: Context): Viewer {
  if (!viewer)
    throw new ChatError(
      'UNAUTHENTICATED',
      'This needs an identity: send an Authorization header or connection parameter.',
    );
  return viewer;
}
