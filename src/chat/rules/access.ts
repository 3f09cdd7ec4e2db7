import type { Conversation, EmailAddress, Message, Viewer } from '../../model.ts';
import { type ConversationView, memberOf } from '../message-view.ts';
import { forbidden, notFound } from './errors.ts';
import { mayClose, mayEdit, mayRedact, mayRemove } from './rights.ts';

/** What has to hold of a viewer and a conversation. */
type Requirement = (viewer: Viewer, conversation: ConversationView) => boolean;

/** Present members see everything; for everybody else the conversation does not exist. */
const member: Requirement = ({ email }, conversation) => memberOf(conversation, email)?.leftAt === null;

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
  editMessage: [member],
  redactMessage: [member],
  updateConversation: [member],
  updateView: [member],
  setTyping: [member],
  /** Of each conversation that is searched, and of the one that is named. */
  searchMessages: [member],
  messageAdded: [member],
  conversationEvents: [member],
  /** Of each conversation that is told of; to a viewer who left one only that is told. */
  chatListChanged: [member],
} satisfies Record<string, readonly Requirement[]>;

export type Operation = keyof typeof ACCESS;

/** Whether the viewer may do this to the conversation. */
export function may(operation: Operation, viewer: Viewer, conversation: ConversationView): boolean {
  return ACCESS[operation].every((holds: Requirement) => holds(viewer, conversation));
}

/** The conversation, if the viewer may do this to it. @throws ChatError NOT_FOUND */
export function requireAccess(operation: Operation, viewer: Viewer, conversation: Conversation | null): Conversation {
  if (!conversation || !may(operation, viewer, conversation)) throw notFound();
  return conversation;
}

/** What an operation that a viewer may run does to something in particular. */
interface Rights {
  readonly edit: Message;
  readonly redact: Message;
  /** To close a conversation, and to open one that is closed. */
  readonly close: Conversation;
  /** To remove somebody from a conversation. */
  readonly remove: EmailAddress;
}

const RIGHTS: { readonly [D in keyof Rights]: (viewer: Viewer, subject: Rights[D]) => boolean } = {
  edit: mayEdit,
  redact: mayRedact,
  close: (viewer, { members }) => mayClose(viewer, members.values()),
  remove: mayRemove,
};

/** Makes sure that the viewer may do this. @throws ChatError FORBIDDEN */
export function requireRight<D extends keyof Rights>(deed: D, viewer: Viewer, subject: Rights[D]): void {
  if (!RIGHTS[deed](viewer, subject)) throw forbidden(deed);
}
