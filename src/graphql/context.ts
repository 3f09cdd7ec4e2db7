import type { Chat } from '../chat/chat.ts';
import type { Backpressure } from '../chat/live/event-stream.ts';
import { unauthenticated } from '../chat/rules/errors.ts';
import type { Conversation, Viewer } from '../model.ts';
import type { AuditEvent } from '../observability/audit.ts';

/** Writes the audit line of a decision for the caller of the operation. */
export type RecordDecision = (decision: AuditEvent) => void;

/** The context of an operation, over any transport; the backpressure is that of the client's socket. */
export interface Context extends Backpressure {
  readonly chat: Chat;
  /** Null for requests without a credential. */
  readonly viewer: Viewer | null;
  readonly audit: RecordDecision;
  /** True if a mutation only reads its payload, so that a result that is too large is refused before the write. */
  readonly rehearsal?: true;
  /** Called with the conversation of a root field that is marked `@oneConversation`. */
  readonly found?: (conversation: Conversation) => void;
}

/** The viewer. @throws ChatError UNAUTHENTICATED when there is none */
export function signedIn({ viewer }: Context): Viewer {
  if (!viewer) throw unauthenticated();
  return viewer;
}
