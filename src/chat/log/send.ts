import {
  type ConversationId,
  type EmailAddress,
  type Instant,
  type Message,
  type MessageOptions,
  messageId,
  type Viewer,
} from '../../model.ts';
import type { Opening } from '../../store/store.ts';
import { requireAccess } from '../rules/access.ts';
import { badInput, closed, conflict, notFound } from '../rules/errors.ts';
import { checkOpening } from '../rules/validation.ts';
import {
  append,
  type ChangeSet,
  type CommandResult,
  clientKey,
  monotonicTime,
  newMessage,
  recordRole,
} from './change-set.ts';
import { opened } from './next-state.ts';
import { setStatus } from './update.ts';

/** Messages of one sender, to be stored contiguously, all or none. Their values are checked. */
export interface Send {
  readonly kind: 'send';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  /** How to open the conversation if it does not exist; null where it must exist. */
  readonly opening: Opening | null;
  /** At least one. */
  readonly drafts: readonly Draft[];
}

export interface Draft extends MessageOptions {
  readonly text: string;
}

/** Decides a send on top of the change set, and adds it. It reopens a pending or resolved conversation. */
export function decideSend(
  changeSet: ChangeSet,
  { viewer, opening, drafts, conversation: id }: Send,
  now: Instant,
): CommandResult {
  if (changeSet.head) requireAccess('sendMessage', viewer, changeSet.head);
  else if (!opening) throw notFound();
  else checkOpening(opening);

  const repeated = repeats(changeSet, viewer.email, drafts);
  if (repeated && changeSet.head) return { messages: repeated, conversation: changeSet.head, deduplicated: true };

  if (changeSet.head?.status === 'CLOSED') throw closed();
  const { lastSeq } = changeSet.head ?? { lastSeq: 0 };
  for (const { replyToSeq } of drafts) {
    if (replyToSeq !== null && (replyToSeq < 1 || replyToSeq > lastSeq))
      throw badInput(
        `\`replyToSeq\` must be the \`seq\` of an earlier message of the conversation; got ${replyToSeq}.`,
      );
  }
  let head = changeSet.head ?? (opening && opened(id, opening, now));
  if (!head) throw notFound();
  if (!changeSet.head) changeSet.opening = opening;
  head = recordRole(changeSet, head, viewer);
  // The system message comes first, so that the newest message is a text.
  if (head.status !== 'OPEN') head = setStatus(changeSet, head, viewer, 'OPEN', now);
  const base = head;
  const sentAt = monotonicTime(base, now);
  const messages = drafts.map((draft, index) =>
    newMessage(base, index, { kind: 'TEXT', sender: viewer.email, sentAt, ...draft }),
  );
  return { messages, conversation: append(changeSet, base, messages), deduplicated: false };
}

/** The stored messages if all drafts are repeats; null if none is. @throws ChatError CONFLICT if only some are */
function repeats(changeSet: ChangeSet, sender: EmailAddress, drafts: readonly Draft[]): Message[] | null {
  const stored = drafts.map(({ clientId }) =>
    clientId === null ? undefined : changeSet.byClientId.get(clientKey(sender, clientId)),
  );
  if (stored.every((message) => message === undefined)) return null;
  return stored.map((message, index) => {
    if (!message) throw conflict('The messages of a repeated batch must all be stored; only some are.');
    if (!isFirstText(changeSet, message, drafts[index]?.text ?? ''))
      throw conflict('A repeated `clientId` must have the text that it was first sent with.');
    if (message.seq !== (stored[0]?.seq ?? 0) + index)
      throw conflict('The messages of a repeated batch must be stored in this order, without others between.');
    return message;
  });
}

/** Whether this is the text that the message was sent with, before edits and redaction; true where it is not known. */
function isFirstText({ firstTexts }: ChangeSet, message: Message, text: string): boolean {
  const { redactedAt, firstTextHash } = message;
  if (redactedAt !== null)
    return firstTextHash === null || firstTexts.isFirstText(firstTextHash, messageId(message), text);
  return text === (message.revisions[0]?.text ?? message.text);
}
