import * as rights from '../../../src/chat/rules/rights.ts';
import type { ConversationFieldsFragment, MessageFieldsFragment as Message, Viewer } from '../../client/index.ts';

type Conversation = Pick<ConversationFieldsFragment, 'members' | 'status'>;

export { mayRemove } from '../../../src/chat/rules/rights.ts';

/** Whether the viewer may close the conversation, and reopen it when it is closed. */
export const mayClose = (viewer: Viewer, { members }: Conversation): boolean => rights.mayClose(viewer, members);

/** Whether the viewer may edit the message in its present state. */
export const mayEdit = (viewer: Viewer, { status }: Conversation, message: Message): boolean =>
  status !== 'CLOSED' && message.redactedAt === null && rights.mayEdit(viewer, message);

/** Whether the viewer may redact the message in its present state. */
export const mayRedact = (viewer: Viewer, message: Message): boolean =>
  message.redactedAt === null && rights.mayRedact(viewer, message);
