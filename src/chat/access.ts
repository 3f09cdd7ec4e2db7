import type { Conversation, Viewer } from '../model.ts';
import { notFound } from './errors.ts';

/** What has to hold of a viewer and a conversation. */
type Requirement = (viewer: Viewer, conversation: Conversation) => boolean;

/** Present members see everything; for everybody else the conversation does not exist. */
const member: Requirement = ({ email }, { members }) => members.get(email)?.leftAt === null;

/**
 * Who may do what: a row for each operation, with what has to hold of the conversation it is about. All of them need an
 * identity, and what has no row is not served. One without requirements is about the viewer alone.
 *
 * What is below a root field is reached only through what its row let through, and never leads out of that
 * conversation. A stream asks again whenever the conversation has changed.
 */
export const ACCESS = {
  viewer: [],
  node: [member],
  conversation: [member],
  /** Of each conversation that is listed: the store lists no others. */
  chatList: [member],
  /** Where there is no conversation yet: whoever is named in its key may open it. */
  sendMessage: [member],
  sendMessages: [member],
  markRead: [member],
  messageAdded: [member],
  /** Of each conversation that is told of. */
  chatListChanged: [member],
} satisfies Record<string, readonly Requirement[]>;

export type Operation = keyof typeof ACCESS;

/** Whether the viewer may do this to the conversation. */
export function may(operation: Operation, viewer: Viewer, conversation: Conversation): boolean {
  return ACCESS[operation].every((holds: Requirement) => holds(viewer, conversation));
}

/** The conversation, if the viewer may do this to it. @throws ChatError NOT_FOUND */
export function permit(operation: Operation, viewer: Viewer, conversation: Conversation | null): Conversation {
  if (!conversation || !may(operation, viewer, conversation)) throw notFound();
  return conversation;
}
