import type { ConversationView } from '../chat/message-view.ts';
import type { Conversation, ListedConversation } from '../model.ts';
import { type Context, signedIn } from './context.ts';

type Members = Conversation['members'];

const loaded = new WeakMap<ListedConversation, Promise<Members>>();

/** Calls `use` with all members of a conversation. Those of a listed one are loaded once, when first needed. */
export function withMembers<T>(
  conversation: ConversationView,
  context: Context,
  use: (members: Members) => T,
): T | Promise<T> {
  return 'members' in conversation ? use(conversation.members) : load(conversation, context).then(use);
}

function load(conversation: ListedConversation, context: Context): Promise<Members> {
  const loading = loaded.get(conversation) ?? context.chat.members(conversation, signedIn(context));
  loaded.set(conversation, loading);
  return loading;
}
