import type { ConversationId, EmailAddress, ListedConversation, Viewer } from '../model.ts';
import type { SearchPosition, SearchSlice, Store } from '../store/store.ts';
import { keysOf, type Term, termsOf } from '../store/tokenizer.ts';
import { type MessageView, viewIn } from './message-view.ts';
import { may } from './rules/access.ts';
import { badInput } from './rules/errors.ts';
import { checkText } from './rules/validation.ts';

/** Different words of one query; a run in a script without spaces is one. */
const MAX_TERMS = 20;

/** What a search came to, and where each of it stands among all that was found. */
export interface Found {
  readonly hits: readonly { readonly message: MessageView<ListedConversation>; readonly position: SearchPosition }[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

/** The terms of a query. @throws ChatError where they are too many */
export function searchTerms(query: string): Term[] {
  const terms = termsOf(checkText('query', query, 0, 1000));
  if (terms.length > MAX_TERMS) throw badInput(`query is to hold at most ${MAX_TERMS} different words.`);
  return terms;
}

/** What a search counts as for the rate limit: prefixes look up many words each. */
export function weightOfSearch(terms: readonly Term[]): number {
  return Math.max(1, terms.flatMap(keysOf).filter(({ prefix }) => prefix).length);
}

/**
 * Searches what the viewer may see, with the state of each conversation that something was found in. Searches of one
 * viewer run one after the other, so that many at once cost the others no more than one does.
 */
export function createSearch(store: Store) {
  /** The newest search of each viewer. */
  const newest = new Map<EmailAddress, Promise<unknown>>();

  async function run(
    viewer: Viewer,
    terms: readonly Term[],
    conversation: ConversationId | null,
    page: SearchSlice,
  ): Promise<Found> {
    const { hits, ...rest } = await store.search(viewer.email, { terms, conversation }, page);
    const ids = [...new Set(hits.map(({ message }) => message.conversationId))];
    const conversations = new Map<ConversationId, ListedConversation>();
    for (const found of await store.listed(viewer.email, ids)) {
      // The viewer may have left meanwhile.
      if (may('searchMessages', viewer, found)) conversations.set(found.id, found);
    }
    const visible = hits.flatMap(({ message, position }) => {
      const found = conversations.get(message.conversationId);
      return found ? [{ message: viewIn(found)(message), position }] : [];
    });
    return { hits: visible, ...rest };
  }

  return async (
    viewer: Viewer,
    terms: readonly Term[],
    conversation: ConversationId | null,
    page: SearchSlice,
  ): Promise<Found> => {
    // What has no word in it is found nowhere.
    if (terms.length === 0) return { hits: [], hasNextPage: false, hasPreviousPage: false };
    const before = newest.get(viewer.email) ?? Promise.resolve();
    const result = before.then(() => run(viewer, terms, conversation, page));
    const done = result.then(
      () => {},
      () => {},
    );
    newest.set(viewer.email, done);
    try {
      return await result;
    } finally {
      if (newest.get(viewer.email) === done) newest.delete(viewer.email);
    }
  };
}
