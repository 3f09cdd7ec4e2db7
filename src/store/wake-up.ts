import type { ConversationId, EmailAddress, Instant, Role, Seq } from '../model.ts';
import type { MemberChange, Write } from './write.ts';

/** The log of the conversation grew or changed. */
interface Changed {
  readonly kind: 'log';
  readonly conversation: ConversationId;
  /** The durable write; null where it must be read. Not to be mutated. */
  readonly write: Write | null;
  /** The members that left with this change; absent where none did. */
  readonly left?: readonly EmailAddress[];
}

/** A member's `readSeq` moved, or their role became known, and nothing else. */
export interface ReadMoved {
  readonly kind: 'read';
  readonly conversation: ConversationId;
  readonly member: EmailAddress;
  readonly readSeq: Seq;
  /** When the position was reached; null where not known. */
  readonly readAt: Instant | null;
  /** `Member.seen` in states with the same number of `changes`. */
  readonly seen: number;
  /** `changesOf` the state. */
  readonly changes: number;
  /** Null where none became known. */
  readonly role: Role | null;
}

/** A member's own view changed, and nothing else; the view must be read. */
interface ViewChanged {
  readonly kind: 'view';
  readonly conversation: ConversationId;
  readonly member: EmailAddress;
}

/** A member started typing, still types, or stopped. Carries the state itself: there is nothing to read. */
export interface Typing {
  readonly kind: 'typing';
  readonly conversation: ConversationId;
  readonly member: EmailAddress;
  readonly typing: boolean;
}

export type WakeUp = Changed | ReadMoved | ViewChanged | Typing;

/** The wake-up for a change of a log; the members are known even where the whole write is not. */
export function logChanged(
  conversation: ConversationId,
  write: Write | null,
  members: readonly MemberChange[] = write?.members ?? [],
): WakeUp {
  const left = members.filter(({ leftAt }) => leftAt !== null).map(({ email }) => email);
  return { kind: 'log', conversation, write, ...(left.length > 0 && { left }) };
}
