import type { KredichatErrorCode } from '../errors.ts';
import type {
  ConversationFieldsFragment as Conversation,
  MessageFieldsFragment as Message,
} from '../generated/operations.ts';
import type { ConversationState } from './conversation-state.ts';

/** Addresses of the members, except the sender, that have read a message. */
export function readersOf({ members }: Conversation, { seq, sender }: Pick<Message, 'seq' | 'sender'>): string[] {
  return members.filter(({ email, readSeq }) => email !== sender && readSeq >= seq).map(({ email }) => email);
}

/** Delivery state of a message of the viewer. */
export type Delivery =
  | { readonly state: 'queued' }
  | { readonly state: 'failed'; readonly code: KredichatErrorCode; readonly retry: boolean }
  | { readonly state: 'sent'; readonly seq: number }
  | { readonly state: 'read'; readonly seq: number; readonly by: readonly string[] };

/** Delivery state of the message with this `clientId`; null if it is neither in the outbox nor loaded. */
export function deliveryOf({ conversation, messages, outgoing }: ConversationState, clientId: string): Delivery | null {
  const item = outgoing.find((one) => one.clientId === clientId);
  if (item?.failure) return { state: 'failed', code: item.failure.code, retry: item.failure.retry };
  if (item) return { state: 'queued' };
  const message = messages.findLast((one) => one.clientId === clientId);
  if (!message || !conversation) return null;
  const by = readersOf(conversation, message);
  return by.length > 0 ? { state: 'read', seq: message.seq, by } : { state: 'sent', seq: message.seq };
}
