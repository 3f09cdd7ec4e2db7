import { setImmediate } from 'node:timers/promises';
import type { ConversationView } from '../chat/view.ts';
import type { Conversation, ListedConversation } from '../model.ts';
import { type Context, signedIn } from './context.ts';

type Members = Conversation['members'];

const loaded = new WeakMap<ListedConversation, Promise<Members>>();
const lastLoads = new WeakMap<Context, Promise<unknown>>();

/**
 * What `use` makes of all members of a conversation. Those of a listed one are loaded once, when a field first needs
 * them; an operation loads one conversation at a time and lets other work run in between.
 */
export function withMembers<T>(
  conversation: ConversationView,
  context: Context,
  use: (members: Members) => T,
): T | Promise<T> {
  return 'members' in conversation ? use(conversation.members) : load(conversation, context).then(use);
}

function load(conversation: ListedConversation, context: Context): Promise<Members> {
  const known = loaded.get(conversation);
  if (known) return known;
  const next = async (): Promise<Members> => {
    await setImmediate();
    return context.chat.members(conversation, signedIn(context));
  };
  const loading = (lastLoads.get(context) ?? Promise.resolve()).then(next, next);
  loaded.set(conversation, loading);
  lastLoads.set(context, loading);
  return loading;
}
