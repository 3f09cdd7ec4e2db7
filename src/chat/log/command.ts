import type { Instant } from '../../model.ts';
import type { ChangeSet, CommandResult } from './change-set.ts';
import { decideEdit, decideRedaction, type Edit, MAX_REVISIONS_TEXT, type Redact } from './edit.ts';
import { decideSend, type Send } from './send.ts';
import { decideUpdate, type Update } from './update.ts';

/** What somebody wants to do to a conversation. */
export type Command = Send | Edit | Redact | Update;

/** Decides an intent on top of the plan so far, and adds what comes of it to the plan. @throws ChatError, and adds nothing */
export function decide(changeSet: ChangeSet, command: Command, now: Instant): CommandResult {
  switch (command.kind) {
    case 'send':
      return decideSend(changeSet, command, now);
    case 'edit':
      return decideEdit(changeSet, command, now);
    case 'redact':
      return decideRedaction(changeSet, command, now);
    case 'update':
      return decideUpdate(changeSet, command, now);
  }
}

/** What an intent adds to a write at most: messages, and UTF-16 units of text. A message that is edited comes with its earlier texts. */
export function weightOf(command: Command): { readonly messages: number; readonly text: number } {
  if (command.kind !== 'send')
    return { messages: 1, text: command.kind === 'edit' ? command.text.length + MAX_REVISIONS_TEXT : 0 };
  return {
    messages: command.drafts.length,
    text: command.drafts.reduce((sum, { text }) => sum + text.length, 0),
  };
}
