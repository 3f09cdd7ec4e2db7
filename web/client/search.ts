import type { Connection } from './connection/connection.ts';
import {
  ConversationNameDocument,
  type ConversationNameQuery,
  type MessageFieldsFragment as Message,
  SearchMessagesDocument,
} from './generated/operations.ts';

/** A message that was found. */
export interface SearchHit {
  readonly message: Message;
  /** What its conversation is called and who is in it. */
  readonly conversation: NonNullable<ConversationNameQuery['conversation']>;
}

/** A page of what was found: best match first, the newest first among equals. */
export interface SearchPage {
  readonly hits: readonly SearchHit[];
  /** Loads the next page; null when this is the last. */
  readonly more: (() => Promise<SearchPage>) | null;
}

export interface SearchOptions {
  /** The `id` of the one conversation to look in. Default: all of the viewer's. */
  readonly in?: string;
  /** Messages in a page, 1 to 100. Default: 20. */
  readonly pageSize?: number;
}

/** Looks for messages. What they are part of is asked for once a conversation. */
export function search(connection: Connection, query: string, options: SearchOptions): Promise<SearchPage> {
  const names = new Map<string, Promise<ConversationNameQuery['conversation']>>();
  const { in: conversation = null, pageSize: first = 20 } = options;

  function nameOf(id: string): Promise<ConversationNameQuery['conversation']> {
    const request =
      names.get(id) ?? connection.run(ConversationNameDocument, { id }).then((answer) => answer.conversation);
    names.set(id, request);
    // A failure is not kept: the next page, or the same one again, asks anew.
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
    // The viewer may have been removed meanwhile.
    const hits = results.flatMap(({ message, conversation: of }) => (of ? [{ message, conversation: of }] : []));
    return { hits, more: hasNextPage ? () => page(endCursor) : null };
  }

  return page(null);
}
