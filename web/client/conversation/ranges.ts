import type { MessageFieldsFragment as Message } from '../generated/operations.ts';

/** Messages without a hole between them, ascending by `seq`, at least one. */
export type Run = readonly Message[];

/** What is known of a conversation's log: runs with unknown messages between them, ascending. */
export type Runs = readonly Run[];

const first = (run: Run) => run[0]?.seq ?? 0;
const last = (run: Run) => run.at(-1)?.seq ?? 0;

/**
 * Adds messages that follow each other without a hole, as pages and live events bring them. Where they meet or overlap what
 * is known the runs become one; of two states of the same message the one with the higher `rev` stays.
 */
export function addRun(runs: Runs, added: Run): Runs {
  if (added.length === 0) return runs;
  const touching = runs.filter((run) => last(run) >= first(added) - 1 && first(run) <= last(added) + 1);
  const before = runs.filter((run) => last(run) < first(added) - 1);
  const after = runs.filter((run) => first(run) > last(added) + 1);
  return [...before, touching.reduce(join, added), ...after];
}

/** Joins two runs that meet or overlap. */
function join(a: Run, b: Run): Run {
  const [low, high] = first(a) <= first(b) ? [a, b] : [b, a];
  const overlap = last(low) - first(high) + 1;
  // The usual case, and the one that has to be fast: a page or a live message at the end of what is known.
  if (overlap <= 0) return [...low, ...high];
  const joined = [...low, ...high.slice(overlap)];
  for (const message of high.slice(0, overlap)) {
    const at = message.seq - first(low);
    const present = joined[at];
    if (!present || message.rev > present.rev) joined[at] = message;
  }
  return joined;
}

/** The run that holds a message. */
export function runWith(runs: Runs, seq: number): Run {
  return runs.find((run) => first(run) <= seq && seq <= last(run)) ?? [];
}

/** Parts messages, ascending by `seq`, where there are holes between them. */
export function consecutive(messages: readonly Message[]): Run[] {
  const runs: Message[][] = [];
  for (const message of messages) {
    const run = runs.at(-1);
    if (run && message.seq === last(run) + 1) run.push(message);
    else runs.push([message]);
  }
  return runs;
}
