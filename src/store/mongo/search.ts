import type { ClientSession, Filter } from 'mongodb';
import type { ConversationId, EmailAddress } from '../../model.ts';
import { choose, MAX_RANKED, rank } from '../ranking.ts';
import type { Store } from '../store.ts';
import { countMatches, type Term, wordsOf } from '../words.ts';
import { type Collections, type ConversationDocument, type MessageDocument, toMessage } from './documents.ts';

/**
 * Searches as the port has it: in `messages` by an index of each conversation's words, and in the conversations' documents
 * for what is not moved there yet. `searched` gives the conversations to look at, most recently active first.
 */
export function createSearch(
  messages: Collections['messages'],
  session: ClientSession,
  searched: (reader: EmailAddress, id: ConversationId | null) => Promise<ConversationDocument[]>,
): Store['search'] {
  /** What is found in `messages`; in the order of the conversations, the newest first, once there is more than is ranked. */
  async function look(ids: readonly ConversationId[], terms: readonly Term[]): Promise<MessageDocument[]> {
    const $and = terms.map(condition);
    const together = { conversation: { $in: [...ids] }, $and };
    const found = await messages
      .find(together, { session })
      .limit(MAX_RANKED + 1)
      .toArray();
    if (found.length <= MAX_RANKED) return found;
    const newest: MessageDocument[] = [];
    for (const conversation of ids) {
      const room = MAX_RANKED - newest.length;
      if (room <= 0) break;
      newest.push(
        ...(await messages.find({ conversation, $and }, { session }).sort({ seq: -1 }).limit(room).toArray()),
      );
    }
    return newest;
  }

  return async (reader, { terms, conversation }, page) => {
    // In this order, what leaves a conversation's document meanwhile is found in `messages`.
    const where = await searched(reader, conversation);
    if (where.length === 0) return { hits: [], hasNextPage: false, hasPreviousPage: false };
    const ids = where.map(({ _id }) => _id);
    const newest = new Map((await look(ids, terms)).map((document) => [document._id, document]));
    for (const document of where.flatMap(({ tail, changed = [] }) => [...tail, ...changed])) {
      if (document.rev > (newest.get(document._id)?.rev ?? 0)) newest.set(document._id, document);
    }
    const matching = [...newest.values()].filter(
      ({ counts, text }) => counts && countMatches(wordsOf(text), terms) > 0,
    );
    const places = new Map(ids.map((id, place) => [id, place]));
    const chosen = choose(matching, (document) => places.get(document.conversation) ?? 0);
    return rank(chosen.map(toMessage), terms, page);
  };
}

function condition({ word, prefix }: Term): Filter<MessageDocument> {
  // A word is of letters, digits and marks: nothing in it means something to a regular expression.
  return { words: prefix ? { $regex: `^${word}` } : word };
}
