import type { Connection } from './connection/connection.ts';
import {
  ConversationNameDocument,
  type ConversationNameQuery,
  type MessageFieldsFragment as Message,
  SearchMessagesDocument,
} from './generated/operations.ts';

/** A message that the search found. */
export interface SearchHit {
  readonly message: Message;
  /** The name and members of the message's conversation. */
  readonly conversation: NonNullable<ConversationNameQuery['conversation']>;
}

/** A page of search results: best match first, newest first among equals. */
export interface SearchPage {
  readonly hits: readonly SearchHit[];
  /** Loads the next page; null when this is the last. */
  readonly more: (() => Promise<SearchPage>) | null;
}

export interface SearchOptions {
  /** The `id` of the only conversation to search. Default: all of the viewer's. */
  readonly in?: string;
  /** Messages in a page, 1 to 100. Default: 20. */
  readonly pageSize?: number;
}

/** Searches for messages. The name of each conversation is queried once. */
export function search(connection: Connection, query: string, options: SearchOptions): Promise<SearchPage> {
  const names = new Map<string, Promise<ConversationNameQuery['conversation']>>();
  const { in: conversation = null, pageSize: first = 20 } = options;

  function nameOf(id: string): Promise<ConversationNameQuery['conversation']> {
    const request =
      names.get(id) ?? connection.run(ConversationNameDocument, { id }).then((answer) => answer.conversation);
    names.set(id, request);
    // A failure is not cached, so that the next page queries again.
    request.catch(() => names.delete(id));
    return request;
  }

  async function page(after: string | null): Promise<SearchPage> {
    const answer = await connection.run(SearchMessagesDocument, { query, in: conversation, first, after });
    const { nodes, pageInfo } = answer.searchMessages;
    const { endCursor, hasNextPage } = pageInfo;
    const results = await Promise.all(
      nodes.map(async (message) => ({ message, conversation: await nameOf(message.conversationId) })),
    );
    // Drops hits in conversations that the viewer was removed from in the meantime.
    const hits = results.flatMap(({ message, conversation: of }) => (of ? [{ message, conversation: of }] : []));
    return { hits, more: hasNextPage ? () => page(endCursor) : null };
  }

  return page(null);
}
