import type { MessageFieldsFragment as Message, PageFieldsFragment as Page } from '../generated/operations.ts';
import { addRange, type Ranges, rangeWith } from './ranges.ts';

/** What is known of a conversation's messages, of which one run without a hole is shown. */
export function createMessageWindow() {
  let ranges: Ranges = [];
  /** A message in the run that is shown. */
  let anchor = 0;
  /** The server's cursors of the messages at the ends of pages. */
  const cursors = new Map<number, string>();
  /** Changes of messages that are not known, while pages are under way that may bring them in an earlier state. */
  const changes = new Map<number, Message>();
  let loads = 0;

  const holds = (seq: number) => rangeWith(ranges, seq).length > 0;

  return {
    /** What is shown. */
    shown: () => rangeWith(ranges, anchor),
    /** The newest message that is known, 0 for none. */
    lastSeq: () => ranges.at(-1)?.at(-1)?.seq ?? 0,
    holds,
    /** Shows what is around a message. */
    show(seq: number): void {
      anchor = seq;
    },
    /** Takes in messages that follow each other. */
    add(messages: readonly Message[]): void {
      ranges = addRange(ranges, messages);
    },
    /** Takes in the new state of a message, where the message is known. */
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
    /** Where a page goes on that is loaded at one end of what is shown. */
    cursorAt: (end: 'older' | 'newer') => cursors.get(rangeWith(ranges, anchor).at(end === 'older' ? 0 : -1)?.seq ?? 0),
    /** Loads a page: `work` asks for it and takes it in. */
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
