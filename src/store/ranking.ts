import { setImmediate } from 'node:timers/promises';
import type { Message } from '../model.ts';
import type { SearchPage, SearchPosition, SearchSlice } from './store.ts';
import { createScorer, type Term } from './tokenizer.ts';

/** Conversations that one search covers. */
export const MAX_SEARCHED = 1000;
/** Matches that are ranked, and the length of all their texts together, in UTF-16 units. */
export const MAX_RANKED = 1000;
const MAX_CHARACTERS = 1_000_000;
/** How long texts are compared before the event loop runs other work, in milliseconds. */
const SLICE_MS = 10;

/** The fields a message is ranked by. */
export type Ranked = Pick<Message, 'conversationId' | 'seq' | 'sentAt' | 'text'>;

/**
 * Sorts candidates by the order of the port and takes a page. `found` yields them in batches, the most recently active
 * conversation first, and in it the newest message. Candidates that do not match are left out, and no more batches are
 * taken than are ranked. Other work runs between batches.
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

/** The matches that are ranked, unsorted. */
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

/**
 * The hits that still match in their current state. @param find the current message; undefined where it does not count
 */
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

/** Awaited between pieces of work: lets other work run once the pieces have taken `SLICE_MS` together. */
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
