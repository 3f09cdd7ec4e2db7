import { type ConversationId, parseId } from '../../model.ts';
import { notFound } from './errors.ts';

/** Reads the id of a conversation; null for anything else. */
export function conversationOf(id: string): ConversationId | null {
  const parsed = parseId(id);
  return parsed && parsed.seq === null ? parsed.conversationId : null;
}

/** The id of a conversation, whether or not there is one. @throws ChatError NOT_FOUND for anything else */
export function requireId(id: string): ConversationId {
  const parsed = conversationOf(id);
  if (!parsed) throw notFound();
  return parsed;
}
