import type { MessageFieldsFragment as Message } from '../generated/operations.ts';

/** At least one message, ascending by `seq` without gaps. */
export type MessageRange = readonly Message[];

/** The loaded parts of a log: ascending ranges with unloaded messages between them. */
export type Ranges = readonly MessageRange[];

const first = (range: MessageRange) => range[0]?.seq ?? 0;
const last = (range: MessageRange) => range.at(-1)?.seq ?? 0;

/**
 * Adds a range from a page or from live events. Ranges that touch or overlap are merged; of two states of the same
 * message the one with the higher `rev` stays.
 */
export function addRange(ranges: Ranges, added: MessageRange): Ranges {
  if (added.length === 0) return ranges;
  const adjacent = ranges.filter((range) => last(range) >= first(added) - 1 && first(range) <= last(added) + 1);
  const before = ranges.filter((range) => last(range) < first(added) - 1);
  const after = ranges.filter((range) => first(range) > last(added) + 1);
  return [...before, adjacent.reduce(join, added), ...after];
}

/** Merges two ranges that touch or overlap. */
function join(a: MessageRange, b: MessageRange): MessageRange {
  const [low, high] = first(a) <= first(b) ? [a, b] : [b, a];
  const overlap = last(low) - first(high) + 1;
  // The usual case, which has to be fast: a page or a live message at the end of a range.
  if (overlap <= 0) return [...low, ...high];
  const joined = [...low, ...high.slice(overlap)];
  for (const message of high.slice(0, overlap)) {
    const at = message.seq - first(low);
    const present = joined[at];
    if (!present || message.rev > present.rev) joined[at] = message;
  }
  return joined;
}

/** The range that holds a message; empty for none. */
export function rangeWith(ranges: Ranges, seq: number): MessageRange {
  return ranges.find((range) => first(range) <= seq && seq <= last(range)) ?? [];
}

/** Splits messages, ascending by `seq`, at the gaps between them. */
export function consecutive(messages: readonly Message[]): MessageRange[] {
  const ranges: Message[][] = [];
  for (const message of messages) {
    const range = ranges.at(-1);
    if (range && message.seq === last(range) + 1) range.push(message);
    else ranges.push([message]);
  }
  return ranges;
}
