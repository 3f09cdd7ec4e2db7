import type { Instant } from '../../model.ts';
import type { ChangeSet, CommandResult } from './change-set.ts';
import { decideEdit, decideRedaction, type Edit, MAX_REVISIONS_TEXT, type Redact } from './edit.ts';
import { decideSend, type Send } from './send.ts';
import { decideUpdate, type Update } from './update.ts';

/** A requested change of the log of a conversation. */
export type Command = Send | Edit | Redact | Update;

/** Decides a command on top of the change set, and adds its changes. @throws ChatError, and adds nothing */
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

/** Messages, and UTF-16 units of text, that a command adds to a write at most. An edit writes the revisions again. */
export function weightOf(command: Command): { readonly messages: number; readonly text: number } {
  if (command.kind !== 'send')
    return { messages: 1, text: command.kind === 'edit' ? command.text.length + MAX_REVISIONS_TEXT : 0 };
  return {
    messages: command.drafts.length,
    text: command.drafts.reduce((sum, { text }) => sum + text.length, 0),
  };
}
