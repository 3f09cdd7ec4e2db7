import type { Conversation, EmailAddress, Message, Viewer } from '../../model.ts';
import { type ConversationView, memberOf } from '../message-view.ts';
import { forbidden, notFound } from './errors.ts';
import { mayClose, mayEdit, mayRedact, mayRemove } from './rights.ts';

/** A condition on a viewer and a conversation. */
type Requirement = (viewer: Viewer, conversation: ConversationView) => boolean;

/** Present members see everything; for other viewers the conversation does not exist. */
const member: Requirement = ({ email }, conversation) => memberOf(conversation, email)?.leftAt === null;

/**
 * The access table: a row for each operation, with the requirements on its conversation. All operations need an
 * identity, and a root field without a row is not served. A row without requirements concerns the viewer alone.
 *
 * Nested fields are reached only through a root field that passed its row, and never lead out of that conversation. A
 * stream checks its row again whenever the conversation has changed.
 */
export const ACCESS = {
  viewer: [],
  node: [member],
  conversation: [member],
  conversationAsOf: [member],
  /** The record is one for all: its checkpoint and keys say nothing of what it holds. */
  recordCheckpoint: [],
  recordKeys: [],
  /** Of each listed conversation: the store lists no others. */
  chatList: [member],
  /** A conversation that does not exist may be opened by the members that its key names. */
  sendMessage: [member],
  sendMessages: [member],
  markRead: [member],
  editMessage: [member],
  redactMessage: [member],
  updateConversation: [member],
  updateView: [member],
  setTyping: [member],
  /** Of each conversation searched, and of the one named. */
  searchMessages: [member],
  messageAdded: [member],
  conversationEvents: [member],
  /** Of each conversation delivered; a viewer that left gets a tombstone alone. */
  chatListChanged: [member],
} satisfies Record<string, readonly Requirement[]>;

export type Operation = keyof typeof ACCESS;

/** Whether the viewer may run the operation on the conversation. */
export function may(operation: Operation, viewer: Viewer, conversation: ConversationView): boolean {
  return ACCESS[operation].every((holds: Requirement) => holds(viewer, conversation));
}

/** The conversation, if the viewer may run the operation on it. @throws ChatError NOT_FOUND */
export function requireAccess(operation: Operation, viewer: Viewer, conversation: Conversation | null): Conversation {
  if (!conversation || !may(operation, viewer, conversation)) throw notFound();
  return conversation;
}

/** Actions that need a right beside access, with the type of their subject. */
interface Rights {
  readonly edit: Message;
  readonly redact: Message;
  /** To close a conversation, or to reopen a closed one. */
  readonly close: Conversation;
  /** To remove a member from a conversation. */
  readonly remove: EmailAddress;
}

const RIGHTS: { readonly [A in keyof Rights]: (viewer: Viewer, subject: Rights[A]) => boolean } = {
  edit: mayEdit,
  redact: mayRedact,
  close: (viewer, { members }) => mayClose(viewer, members.values()),
  remove: mayRemove,
};

/** Checks a right of the viewer. @throws ChatError FORBIDDEN */
export function requireRight<A extends keyof Rights>(action: A, viewer: Viewer, subject: Rights[A]): void {
  if (!RIGHTS[action](viewer, subject)) throw forbidden(action);
}
