import type { Instant } from '../../model.ts';
import type { Decided, Plan } from './change-set.ts';
import { decideEdit, decideRedaction, type Edit, MAX_REVISIONS_TEXT, type Redact } from './edit.ts';
import { decideSend, type Send } from './send.ts';
import { decideUpdate, type Update } from './update.ts';

/** What somebody wants to do to a conversation. */
export type Intent = Send | Edit | Redact | Update;

/** Decides an intent on top of the plan so far, and adds what comes of it to the plan. @throws ChatError, and adds nothing */
export function decide(plan: Plan, intent: Intent, now: Instant): Decided {
  switch (intent.kind) {
    case 'send':
      return decideSend(plan, intent, now);
    case 'edit':
      return decideEdit(plan, intent, now);
    case 'redact':
      return decideRedaction(plan, intent, now);
    case 'update':
      return decideUpdate(plan, intent, now);
  }
}

/** What an intent adds to a write at most: messages, and UTF-16 units of text. A message that is edited comes with its earlier texts. */
export function weightOf(intent: Intent): { readonly messages: number; readonly text: number } {
  if (intent.kind !== 'send')
    return { messages: 1, text: intent.kind === 'edit' ? intent.text.length + MAX_REVISIONS_TEXT : 0 };
  return {
    messages: intent.drafts.length,
    text: intent.drafts.reduce((sum, { text }) => sum + text.length, 0),
  };
}
