import type { ConversationId, EmailAddress, ListedConversation, Viewer } from '../model.ts';
import type { SearchPosition, SearchSlice, Store } from '../store/store.ts';
import { keysOf, type Term, termsOf } from '../store/tokenizer.ts';
import { type MessageView, viewIn } from './message-view.ts';
import type { RateLimits } from './rate-limit.ts';
import { may, requireAccess } from './rules/access.ts';
import { badInput } from './rules/errors.ts';
import { checkText, requireId } from './rules/validation.ts';
import type { Visibility } from './visibility.ts';

/** Distinct words of a query, at most; a run in a script without spaces is one. */
const MAX_TERMS = 20;

/** A page of hits, each with its position in the order of all hits. */
interface SearchPage {
  readonly hits: readonly { readonly message: MessageView<ListedConversation>; readonly position: SearchPosition }[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

function searchTerms(query: string): Term[] {
  const terms = termsOf(checkText('query', query, 0, 1000));
  if (terms.length > MAX_TERMS)
    throw badInput(`\`query\` must hold at most ${MAX_TERMS} distinct words; got ${terms.length}.`);
  return terms;
}

/** Tokens that a search takes from the rate limit: each prefix looks up many words. */
function weightOf(terms: readonly Term[]): number {
  return Math.max(1, terms.flatMap(keysOf).filter(({ prefix }) => prefix).length);
}

/**
 * Searches the messages that the viewer may see; hits carry the state of their conversation. Searches of one viewer run
 * one after the other, so that many at once cost other viewers no more than one does.
 */
export function createSearch(store: Store, visibility: Visibility, limits: RateLimits) {
  /** The newest search of each viewer. */
  const newest = new Map<EmailAddress, Promise<unknown>>();

  async function run(
    viewer: Viewer,
    terms: readonly Term[],
    conversation: ConversationId | null,
    page: SearchSlice,
  ): Promise<SearchPage> {
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

  /** A page of the messages that hold all words of the query, in one of the viewer's conversations or (null) in all. */
  return async (
    viewer: Viewer,
    query: string,
    conversationId: string | null,
    page: SearchSlice,
  ): Promise<SearchPage> => {
    const conversation = conversationId === null ? null : requireId(conversationId);
    const terms = searchTerms(query);
    limits.searches(viewer.email, weightOf(terms));
    if (conversation)
      requireAccess('searchMessages', viewer, await visibility.read('searchMessages', conversation, viewer));
    // A query without words finds nothing.
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
