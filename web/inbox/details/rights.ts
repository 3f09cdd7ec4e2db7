import type { ConversationFieldsFragment, MessageFieldsFragment as Message, Viewer } from '../../client/index.ts';

type Conversation = Pick<ConversationFieldsFragment, 'members' | 'status'>;

/** Whether the viewer may close the conversation, and open it when it is closed. */
export const mayClose = ({ role }: Viewer, { members }: Conversation): boolean =>
  role === 'BANK' || !members.some((member) => member.leftAt === null && member.role === 'BANK');

export const mayEdit = ({ email }: Viewer, { status }: Conversation, message: Message): boolean =>
  status !== 'CLOSED' && message.kind === 'TEXT' && message.sender === email && message.redactedAt === null;

export const mayRedact = ({ email, role }: Viewer, message: Message): boolean =>
  message.kind === 'TEXT' && message.redactedAt === null && (message.sender === email || role === 'BANK');

export const mayRemove = ({ email, role }: Viewer, member: string): boolean => member === email || role === 'BANK';
