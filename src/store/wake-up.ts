import type { ConversationId, EmailAddress, Role } from '../model.ts';
import type { MemberChange, Write } from './write.ts';

/** The log of the conversation grew or changed. */
interface Changed {
  readonly kind: 'log';
  readonly conversation: ConversationId;
  /** What was written, now durable; null where that is to be read. What it holds is not to be changed. */
  readonly write: Write | null;
  /** The members who left with this change; absent where none did. */
  readonly left?: readonly EmailAddress[];
}

/** A member's `readSeq` moved, or their role became known, and nothing else. */
export interface ReadMoved {
  readonly kind: 'read';
  readonly conversation: ConversationId;
  readonly member: EmailAddress;
  readonly readSeq: number;
  /** `Member.seen`, in states whose log has had as many `changes`. */
  readonly seen: number;
  /** `changesOf` the state. */
  readonly changes: number;
  /** Null where none became known. */
  readonly role: Role | null;
}

/** "Look again": a member's own view changed, and nothing else. */
interface ViewChanged {
  readonly kind: 'view';
  readonly conversation: ConversationId;
  readonly member: EmailAddress;
}

/** Somebody began to type, still types, or stopped. The one wake-up that is not looked up: it is the news itself. */
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
