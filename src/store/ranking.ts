import { setImmediate } from 'node:timers/promises';
import type { Message } from '../model.ts';
import type { SearchPage, SearchPosition, SearchSlice } from './store.ts';
import { createScorer, type Term } from './tokenizer.ts';

/** Conversations one search looks at. */
export const MAX_SEARCHED = 1000;
/** Matches that are ranked, and what they may hold together, in UTF-16 units. */
export const MAX_RANKED = 1000;
const MAX_CHARACTERS = 1_000_000;
/** For how long texts are compared before others have their turn, in milliseconds. */
const SLICE_MS = 10;

/** What of a message it is ranked by. */
export type Ranked = Pick<Message, 'conversationId' | 'seq' | 'sentAt' | 'text'>;

/**
 * Puts what a store found in the order of the port, and takes a page of it. `found` gives it some at a time, in the order in
 * which it is chosen what is ranked: the most recently active conversation first, and in it the newest. What does not match is
 * left out, and no more is taken of `found` than is ranked. Between those times others have their turn.
 */
export async function rank<M extends Ranked>(
  found: Iterable<readonly M[]> | AsyncIterable<readonly M[]>,
  terms: readonly Term[],
  { first, after }: SearchSlice,
): Promise<SearchPage<M>> {
  const hits = (await score(found, terms)).sort((a, b) => compare(a.position, b.position));
  const from = after ? hits.filter(({ position }) => compare(position, after) <= 0).length : 0;
  return {
    hits: hits.slice(from, from + first),
    hasNextPage: hits.length > from + first,
    hasPreviousPage: from > 0,
  };
}

/** Those of the matches that are ranked. */
async function score<M extends Ranked>(
  found: Iterable<readonly M[]> | AsyncIterable<readonly M[]>,
  terms: readonly Term[],
) {
  const scoreOf = createScorer(terms);
  const hits: { message: M; position: SearchPosition }[] = [];
  let characters = 0;
  const pause = createPause();
  for await (const some of found) {
    for (const message of some) {
      await pause();
      const { text, sentAt, conversationId, seq } = message;
      const score = scoreOf(text);
      if (score === 0) continue;
      characters += text.length;
      if (characters > MAX_CHARACTERS) return hits;
      hits.push({ message, position: { score, sentAt, conversationId, seq } });
      if (hits.length === MAX_RANKED) return hits;
    }
    await setImmediate();
  }
  return hits;
}

/** The hits whose messages, as they are now, still match. @param find the message now; undefined where it does not count */
export async function stillMatching<M>(
  hits: SearchPage<M>['hits'],
  terms: readonly Term[],
  find: (message: M) => Message | undefined,
): Promise<SearchPage['hits']> {
  const scoreOf = createScorer(terms);
  const pause = createPause();
  const matching: SearchPage['hits'][number][] = [];
  for (const { message: found, position } of hits) {
    await pause();
    const message = find(found);
    if (message && scoreOf(message.text) > 0) matching.push({ message, position });
  }
  return matching;
}

/** To be awaited between pieces of work: others have their turn once these have taken long together. */
function createPause(): () => Promise<void> | null {
  let since = performance.now();
  return () => {
    if (performance.now() - since < SLICE_MS) return null;
    return setImmediate().then(() => {
      since = performance.now();
    });
  };
}

function compare(a: SearchPosition, b: SearchPosition): number {
  return b.score - a.score || b.sentAt - a.sentAt || byText(a.conversationId, b.conversationId) || b.seq - a.seq;
}

function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
