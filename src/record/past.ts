import type {
  Conversation,
  ConversationState,
  ConversationStatus,
  EmailAddress,
  FieldChange,
  Instant,
  Member,
  Message,
  Rev,
} from '../model.ts';

/** The part of a conversation's state that SYSTEM messages tell. */
export interface PastState extends ConversationState {
  /** The present members, in the order of `Conversation.members`. */
  readonly members: readonly Member[];
}

/** The changes that a SYSTEM message tells. */
export interface Told extends Pick<Message, 'addedRev'> {
  readonly changes: readonly FieldChange[];
}

/** The state before some SYSTEM messages, the last ones of this state's log; ascending. Newer ones are ignored. */
export function stateAsOf(present: Conversation, later: readonly Told[]): PastState {
  let { status, assignee } = present;
  const labels = new Set(present.labels);
  const members = new Set(
    [...present.members.values()].filter(({ leftAt }) => leftAt === null).map(({ email }) => email),
  );
  const undoIn = <T extends string>(values: Set<T>, { from, to }: FieldChange) => {
    if (to !== null) values.delete(to as T);
    if (from !== null) values.add(from as T);
  };
  for (const { addedRev, changes } of later.toReversed()) {
    if (addedRev > present.lastRev) continue;
    for (const change of changes.toReversed()) {
      if (change.field === 'status') status = change.from as ConversationStatus;
      else if (change.field === 'assignee') assignee = change.from as EmailAddress | null;
      else if (change.field === 'labels') undoIn(labels, change);
      else undoIn<EmailAddress>(members, change);
    }
  }
  return {
    ...{ status, assignee, labels: [...labels].sort() },
    members: [...present.members.values()].filter(({ email }) => members.has(email)),
  };
}

/** The known changes of a message, in any order; the same one may be there twice. */
export function changesOf(message: Message): { readonly rev: Rev; readonly at: Instant }[] {
  const { addedRev, rev, sentAt, editedAt, redactedAt } = message;
  const texts = textsOf(message).map(({ rev, at }) => ({ rev, at }));
  return [{ rev: addedRev, at: sentAt }, ...texts, { rev, at: redactedAt ?? editedAt ?? sentAt }];
}

/** A text of a message. */
interface Text {
  /** Where it began to stand; where that is not known, where the message was added. */
  readonly rev: Rev;
  /** When it began to stand. */
  readonly at: Instant;
  /** Empty once redacted. */
  readonly text: string;
}

/** The texts of a message, oldest first, as far as they are known; of a redacted message the erased ones. */
function textsOf(message: Message): Text[] {
  const { addedRev, sentAt, revisions, redactedAt, record } = message;
  if (redactedAt !== null) return (record?.erased ?? []).map(({ rev, at }) => ({ rev, at, text: '' }));
  return [...revisions, message].map(({ rev, text }, index) => ({
    ...{ rev: rev || addedRev, text },
    at: revisions[index - 1]?.at ?? sentAt,
  }));
}

/**
 * A message as it stood after a change, which is not before its addition, as far as it may be told today: texts that
 * were redacted since are empty.
 */
export function messageAsOf(
  message: Message,
  rev: Rev,
): Pick<Message, 'rev' | 'text' | 'editedAt' | 'redactedAt' | 'redactionReason' | 'revisions'> {
  if (message.rev <= rev) return message;
  const texts = textsOf(message);
  /** The text that stood; of those that began at the same `rev`, as nothing more is known, the first. */
  const stood = texts.reduce(
    (best, text, index) => (text.rev <= rev && text.rev > (texts[best]?.rev ?? 0) ? index : best),
    -1,
  );
  const { rev: began, text, at } = texts[stood] ?? { rev: message.addedRev, text: '', at: message.sentAt };
  return {
    rev: began,
    text,
    editedAt: began > message.addedRev ? at : null,
    redactedAt: null,
    redactionReason: null,
    // Only the sender edits.
    revisions: texts.slice(0, Math.max(stood, 0)).map((one, index) => ({
      ...{ rev: one.rev, text: one.text, salt: null, editor: message.sender, at: texts[index + 1]?.at ?? one.at },
    })),
  };
}
