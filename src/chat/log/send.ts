import {
  type ConversationId,
  type EmailAddress,
  hashText,
  type Instant,
  type Message,
  type Viewer,
} from '../../model.ts';
import type { Opening } from '../../store/store.ts';
import { permit } from '../rules/access.ts';
import { badInput, closed, conflict, notFound } from '../rules/errors.ts';
import { checkOpening } from '../rules/validation.ts';
import { append, clientKey, type Decided, learnRole, momentIn, newMessage, type Plan } from './change-set.ts';
import { opened } from './next-state.ts';
import { setStatus } from './update.ts';

/** Messages of one sender for one conversation, to be stored contiguously, all or none. Their values are checked. */
export interface Send {
  readonly kind: 'send';
  readonly conversation: ConversationId;
  readonly viewer: Viewer;
  /** What to open the conversation with where it does not exist; null where it must. */
  readonly opening: Opening | null;
  /** At least one. */
  readonly drafts: readonly Draft[];
}

export interface Draft {
  readonly text: string;
  readonly clientId: string | null;
  readonly replyToSeq: number | null;
}

/** Decides a send on top of the plan so far, and adds it to the plan. A text reopens what is pending or resolved. */
export function decideSend(plan: Plan, { viewer, opening, drafts, conversation: id }: Send, now: Instant): Decided {
  if (plan.head) permit('sendMessage', viewer, plan.head);
  else if (!opening) throw notFound();
  else checkOpening(opening);

  const repeated = repeats(plan, viewer.email, drafts);
  if (repeated && plan.head) return { messages: repeated, conversation: plan.head, deduplicated: true };

  if (plan.head?.status === 'CLOSED') throw closed();
  const { lastSeq } = plan.head ?? { lastSeq: 0 };
  for (const { replyToSeq } of drafts) {
    if (replyToSeq !== null && (replyToSeq < 1 || replyToSeq > lastSeq))
      throw badInput('replyToSeq names no message of this conversation.');
  }
  let head = plan.head ?? (opening && opened(id, opening, now));
  if (!head) throw notFound();
  if (!plan.head) plan.opening = opening;
  head = learnRole(plan, head, viewer);
  // Said before the texts, so that the newest message is what somebody said.
  if (head.status !== 'OPEN') head = setStatus(plan, head, viewer, 'OPEN', now);
  const base = head;
  const sentAt = momentIn(base, now);
  const messages = drafts.map((draft, index) =>
    newMessage(base, index, { kind: 'TEXT', sender: viewer.email, sentAt, ...draft }),
  );
  return { messages, conversation: append(plan, base, messages), deduplicated: false };
}

/** The stored messages where all of the drafts are a repeat; null where none is. @throws ChatError CONFLICT in between */
function repeats(plan: Plan, sender: EmailAddress, drafts: readonly Draft[]): Message[] | null {
  const stored = drafts.map(({ clientId }) =>
    clientId === null ? undefined : plan.byClientId.get(clientKey(sender, clientId)),
  );
  if (stored.every((message) => message === undefined)) return null;
  return stored.map((message, index) => {
    if (!message) throw conflict('A part of this batch was stored before.');
    if (!isFirstText(message, drafts[index]?.text ?? ''))
      throw conflict('The clientId was used before, with another text.');
    if (message.seq !== (stored[0]?.seq ?? 0) + index) throw conflict('The messages of this batch were stored apart.');
    return message;
  });
}

/** Whether the message was sent with this text, whatever became of it. */
function isFirstText(message: Message, text: string): boolean {
  if (message.firstTextHash !== null) return message.firstTextHash === hashText(message, text);
  return text === (message.revisions[0]?.text ?? message.text);
}
