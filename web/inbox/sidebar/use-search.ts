import { useEffect, useRef, useState } from 'react';
import type { Client, KredichatError, SearchHit, SearchPage } from '../../client/index.ts';

/** A search waits this long for more input, in milliseconds. */
const DEBOUNCE_MS = 250;

/** Minimum time between the starts of two searches, in milliseconds: the server allows 60 a minute. */
const MIN_INTERVAL_MS = 1000;

/** The wait doubles with each failure in a row, at most this often: to 16 seconds. */
const MAX_DOUBLINGS = 4;

/** The outcome of one search. */
export interface Outcome {
  readonly query: string;
  readonly within: string | undefined;
  readonly hits: readonly SearchHit[];
  readonly more: SearchPage['more'];
  readonly error: KredichatError | null;
}

/** Searches for the newest query, one search at a time, and repeats a search after a transient failure. */
export function useSearch(client: Client, query: string, within: string | undefined) {
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const running = useRef<Promise<void>>(Promise.resolve());
  /** When the next search may start, in milliseconds of the monotonic clock. */
  const earliest = useRef(0);
  const current = outcome?.query === query && outcome.within === within ? outcome : null;

  useEffect(() => {
    let active = true;
    let failures = 0;
    let timer = later(DEBOUNCE_MS);

    function later(leastMs: number) {
      return setTimeout(start, Math.max(leastMs, earliest.current - performance.now()));
    }

    async function start(): Promise<void> {
      await running.current;
      if (!active) return;
      // The previous search may have failed and moved `earliest`.
      if (performance.now() < earliest.current) timer = later(0);
      else running.current = run();
    }

    async function run(): Promise<void> {
      earliest.current = performance.now() + MIN_INTERVAL_MS;
      const request = { query, within };
      try {
        const { hits, more } = await client.search(query, within === undefined ? {} : { in: within });
        if (active) setOutcome({ ...request, hits, more, error: null });
      } catch (thrown) {
        const error = thrown as KredichatError;
        const wait = error.retryAfterMs ?? MIN_INTERVAL_MS * 2 ** Math.min(failures++, MAX_DOUBLINGS);
        if (error.transient) earliest.current = performance.now() + wait;
        if (!active) return;
        setOutcome({ ...request, hits: [], more: null, error });
        if (error.transient) timer = later(0);
      }
    }

    return () => {
      active = false;
      clearTimeout(timer);
    };
  }, [client, query, within]);

  useEffect(
    () =>
      client.onGone((id) =>
        setOutcome((now) => now && { ...now, hits: now.hits.filter(({ message }) => message.conversationId !== id) }),
      ),
    [client],
  );

  /** Loads the next page of the shown outcome. */
  async function loadMore(): Promise<void> {
    if (!current?.more) return;
    setOutcome({ ...current, more: null, error: null });
    const next = await current.more().then(
      ({ hits, more }) => ({ hits, more, error: null }),
      (error: KredichatError) => ({ hits: [], more: current.more, error }),
    );
    // `now` lacks the hits of conversations that the viewer left in the meantime.
    setOutcome((now) =>
      now?.query === query && now.within === within ? { ...now, ...next, hits: [...now.hits, ...next.hits] } : now,
    );
  }

  return { outcome: current, loadMore };
}
