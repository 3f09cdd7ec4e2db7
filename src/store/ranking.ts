import type { Message } from '../model.ts';
import type { SearchPage, SearchPosition, SearchSlice } from './store.ts';
import { countMatches, type Term, wordsOf } from './words.ts';

/** Conversations one search looks at. */
export const MAX_SEARCHED = 1000;
/** Matches that are ranked. */
export const MAX_RANKED = 1000;

/** What of a message it is ranked by. */
export type Ranked = Pick<Message, 'conversationId' | 'seq' | 'sentAt' | 'text'>;

/** Puts what a store found in the order of the port, and takes a page of it. What does not match is left out. */
export function rank<M extends Ranked>(
  found: readonly M[],
  terms: readonly Term[],
  { first, after }: SearchSlice,
): SearchPage<M> {
  const hits = found
    .map((message) => ({ message, position: positionOf(message, terms) }))
    .filter(({ position }) => position.score > 0)
    .sort((a, b) => compare(a.position, b.position));
  const from = after ? hits.filter(({ position }) => compare(position, after) <= 0).length : 0;
  return {
    hits: hits.slice(from, from + first),
    hasNextPage: hits.length > from + first,
    hasPreviousPage: from > 0,
  };
}

/** Those of the matches that are ranked, given the place of each one's conversation in the order of activity. */
export function choose<M extends Pick<Message, 'seq'>>(matches: readonly M[], placeOf: (match: M) => number): M[] {
  if (matches.length <= MAX_RANKED) return [...matches];
  return [...matches].sort((a, b) => placeOf(a) - placeOf(b) || b.seq - a.seq).slice(0, MAX_RANKED);
}

function positionOf({ text, sentAt, conversationId, seq }: Ranked, terms: readonly Term[]): SearchPosition {
  return { score: countMatches(wordsOf(text), terms), sentAt, conversationId, seq };
}

function compare(a: SearchPosition, b: SearchPosition): number {
  return b.score - a.score || b.sentAt - a.sentAt || byText(a.conversationId, b.conversationId) || b.seq - a.seq;
}

function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
