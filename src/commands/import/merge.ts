import { documentIdOf, messageOf, type Reading, type SourceMessage, timeOf } from './shapes.ts';
import type { Messages } from './source.ts';

/** A message of the source on its way. */
export interface Entry {
  readonly document: string;
  readonly index: number;
  /** With the microseconds of the source. */
  readonly at: number;
  readonly digest: string;
  readonly message: SourceMessage;
}

/** The result of a function, or null where it throws. */
export function attempt<T>(get: () => T, failed: (error: Error) => void = () => {}): T | null {
  try {
    return get();
  } catch (error) {
    failed(error as Error);
    return null;
  }
}

/**
 * The messages of documents by time, then document, then index. A message that its document dates before the one above
 * it takes the time of that one, so that each document keeps its order.
 */
export function* entriesOf(
  ids: readonly unknown[],
  lists: readonly (Messages | null)[],
  reading: Reading,
  refuse: (entry: Pick<Entry, 'document' | 'index'>, error: Error) => void,
): Generator<Entry> {
  const rows = lists.map((list, position) => entriesOfOne(documentIdOf(ids[position]), list, reading, refuse));
  const heads = rows.map((row) => row.next().value as Entry | undefined);
  for (;;) {
    let first = -1;
    for (const [position, head] of heads.entries())
      if (head && (first < 0 || head.at < (heads[first]?.at ?? 0))) first = position;
    const next = heads[first];
    if (!next) return;
    yield next;
    heads[first] = rows[first]?.next().value as Entry | undefined;
  }
}

function* entriesOfOne(
  document: string,
  list: Messages | null,
  reading: Reading,
  refuse: (entry: Pick<Entry, 'document' | 'index'>, error: Error) => void,
): Generator<Entry> {
  let newest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < (list?.count ?? 0); index++) {
    const entry = attempt(
      () => {
        const fields = list?.at(index) ?? {};
        return { at: timeOf(fields.time, reading).at, message: messageOf(fields, reading) };
      },
      (error) => refuse({ document, index }, error),
    );
    if (!entry) continue;
    newest = Math.max(newest, entry.at);
    yield { document, index, digest: list?.digest ?? '', message: entry.message, at: newest };
  }
}
