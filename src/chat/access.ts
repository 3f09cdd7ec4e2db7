import type { Conversation, Member, Viewer } from '../model.ts';
import { notFound } from './errors.ts';

/** The viewer's membership, or null: present members see everything, everybody else nothing. */
export function membership(conversation: Conversation | null, viewer: Viewer): Member | null {
  const member = conversation?.members.get(viewer.email);
  return member && member.leftAt === null ? member : null;
}

/** The conversation, if the viewer may see it. @throws ChatError NOT_FOUND */
export function visible(conversation: Conversation | null, viewer: Viewer): Conversation {
  if (!conversation || !membership(conversation, viewer)) throw notFound();
  return conversation;
}
