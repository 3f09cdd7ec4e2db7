import type { Conversation, ConversationId, Message } from '../model.ts';
import type { Store } from './store.ts';

/** The reads by which a whole store is walked, beside a running server. */
export type WholeStore = Pick<Store, 'conversationIds' | 'conversation' | 'messages'>;

/** Conversations and messages in a page. */
const [IDS, MESSAGES] = [1000, 200];
/** How often a conversation that changes meanwhile is read. */
export const MAX_READS = 20;

/** The ids of all conversations, ascending. */
export async function* allConversations(store: WholeStore): AsyncGenerator<ConversationId> {
  let page: ConversationId[] = [];
  do {
    page = await store.conversationIds(page.at(-1) ?? null, IDS);
    yield* page;
  } while (page.length === IDS);
}

/** The messages of a conversation up to the `lastSeq` of this state, in pages, each in its present state. */
export async function* pagesOf(store: WholeStore, { id, lastSeq }: Conversation): AsyncGenerator<Message[]> {
  for (let from = 1; from <= lastSeq; from += MESSAGES)
    yield await store.messages(id, from, Math.min(from + MESSAGES - 1, lastSeq));
}
