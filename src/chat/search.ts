import type { Conversation, ConversationId, Viewer } from '../model.ts';
import type { SearchPosition, SearchSlice, Store } from '../store/store.ts';
import { termsOf } from '../store/words.ts';
import { may } from './access.ts';
import { badInput } from './errors.ts';
import { checkText } from './values.ts';
import { type MessageView, viewIn } from './view.ts';

/** Different words of one query. */
const MAX_TERMS = 20;

/** What a search came to, and where each of it stands among all that was found. */
export interface Found {
  readonly hits: readonly { readonly message: MessageView; readonly position: SearchPosition }[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

/** Searches what the viewer may see, with the state of each conversation that something was found in. */
export function createSearch(store: Store) {
  return async (
    viewer: Viewer,
    query: string,
    conversation: ConversationId | null,
    page: SearchSlice,
  ): Promise<Found> => {
    const terms = termsOf(checkText('query', query, 0, 1000));
    if (terms.length > MAX_TERMS) throw badInput(`query is to hold at most ${MAX_TERMS} different words.`);
    // What has no word in it is found nowhere.
    if (terms.length === 0) return { hits: [], hasNextPage: false, hasPreviousPage: false };
    const { hits, ...rest } = await store.search(viewer.email, { terms, conversation }, page);
    const ids = [...new Set(hits.map(({ message }) => message.conversationId))];
    const conversations = new Map<ConversationId, Conversation>();
    for (const found of await Promise.all(ids.map((id) => store.conversation(id)))) {
      // The viewer may have left meanwhile.
      if (found && may('searchMessages', viewer, found)) conversations.set(found.id, found);
    }
    const visible = hits.flatMap(({ message, position }) => {
      const found = conversations.get(message.conversationId);
      return found ? [{ message: viewIn(found)(message), position }] : [];
    });
    return { hits: visible, ...rest };
  };
}
