import type { Message } from '../model.ts';
import type { SearchPage, SearchPosition, SearchSlice } from './store.ts';
import { countMatches, type Term, wordsOf } from './words.ts';

/** Conversations one search looks at. */
export const MAX_SEARCHED = 1000;
/** Matches that are ranked. */
export const MAX_RANKED = 1000;

/** Puts what a store found in the order of the port, and takes a page of it. What does not match is left out. */
export function rank(found: readonly Message[], terms: readonly Term[], { first, after }: SearchSlice): SearchPage {
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

function positionOf({ text, sentAt, conversationId, seq }: Message, terms: readonly Term[]): SearchPosition {
  return { score: countMatches(wordsOf(text), terms), sentAt, conversationId, seq };
}

function compare(a: SearchPosition, b: SearchPosition): number {
  return b.score - a.score || b.sentAt - a.sentAt || byText(a.conversationId, b.conversationId) || b.seq - a.seq;
}

function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
