import type { Chat } from '../chat/chat.ts';
import type { Backpressure } from '../chat/live/event-stream.ts';
import { unauthenticated } from '../chat/rules/errors.ts';
import type { Conversation, Viewer } from '../model.ts';
import type { AuditEvent } from '../observability/audit.ts';

/** Told of each decision about a caller. */
export type Audit = (decision: AuditEvent) => void;

/** What an operation runs with, whatever transport brought it; the backpressure is that of the client's socket. */
export interface Context extends Backpressure {
  readonly chat: Chat;
  /** Null for requests without a credential. */
  readonly viewer: Viewer | null;
  readonly audit: Audit;
  /** True where a mutation only reads what its answer would show, so that one too large is refused before the write. */
  readonly rehearsal?: true;
  /** Told which conversation a root field is about that is marked `@oneConversation`. */
  readonly found?: (conversation: Conversation) => void;
}

/** The viewer. @throws ChatError UNAUTHENTICATED when there is none */
export function signedIn({ viewer }: Context): Viewer {
  if (!viewer) throw unauthenticated();
  return viewer;
}
