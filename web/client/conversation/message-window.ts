import type { MessageFieldsFragment as Message, PageFieldsFragment as Page } from '../generated/operations.ts';
import { addRange, type Ranges, rangeWith } from './ranges.ts';

/** The loaded messages of a conversation, in ranges without gaps, one of which is shown. */
export function createMessageWindow() {
  let ranges: Ranges = [];
  /** Position of a message in the shown range. */
  let anchor = 0;
  /** Server cursors of the messages at the ends of pages, by `seq`. */
  const cursors = new Map<number, string>();
  /** Changed messages that are not loaded, kept while a page is loading that may hold an older state of them. */
  const changes = new Map<number, Message>();
  let loads = 0;

  const holds = (seq: number) => rangeWith(ranges, seq).length > 0;

  return {
    /** The shown range. */
    shown: () => rangeWith(ranges, anchor),
    /** Position of the newest loaded message; 0 for none. */
    lastSeq: () => ranges.at(-1)?.at(-1)?.seq ?? 0,
    holds,
    /** Shows the range around a message. */
    show(seq: number): void {
      anchor = seq;
    },
    /** Adds messages with consecutive positions. */
    add(messages: readonly Message[]): void {
      ranges = addRange(ranges, messages);
    },
    /** Replaces a loaded message by its new state. */
    change(message: Message): void {
      if (holds(message.seq)) ranges = addRange(ranges, [message]);
      else if (loads > 0) changes.set(message.seq, message);
    },
    addPage({ nodes, pageInfo }: Page): void {
      const [oldest, newest] = [nodes[0], nodes.at(-1)];
      if (oldest && pageInfo.startCursor) cursors.set(oldest.seq, pageInfo.startCursor);
      if (newest && pageInfo.endCursor) cursors.set(newest.seq, pageInfo.endCursor);
      const present = nodes.map((message) => {
        const changed = changes.get(message.seq);
        return changed && changed.rev > message.rev ? changed : message;
      });
      ranges = addRange(ranges, present);
    },
    /** The server cursor at one end of the shown range, to load the next page from. */
    cursorAt: (end: 'older' | 'newer') => cursors.get(rangeWith(ranges, anchor).at(end === 'older' ? 0 : -1)?.seq ?? 0),
    /** Runs `work`, which fetches a page and adds it, and keeps changes that arrive during it. */
    async load<T>(work: () => Promise<T>): Promise<T> {
      loads++;
      try {
        return await work();
      } finally {
        if (--loads === 0) changes.clear();
      }
    },
    clear(): void {
      ranges = [];
      cursors.clear();
    },
  };
}
