import { type MessageView, textUnits } from '../message-view.ts';
import type { ConversationEvent } from './events.ts';

/** Entries kept for subscribers that keep up; one that is further behind reads the store. */
const MAX_ENTRIES = 256;
/** UTF-16 units of text that the entries hold at most, revisions included, but for the newest entry. */
const MAX_TEXT = 500_000;

/**
 * The newest entries of a sequence of messages or events. It grows to twice the limit before it is cut back, so that
 * the cost of adding an entry does not depend on their number.
 */
export class RecentEntries<T extends MessageView | ConversationEvent> {
  /** Number of entries before those kept. */
  before = 0;
  #entries: T[] = [];
  #text = 0;

  get length(): number {
    return this.#entries.length;
  }

  /** An entry by its index among those kept. */
  at(index: number): T | undefined {
    return this.#entries[index];
  }

  push(entries: readonly T[]): void {
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#text += lengthOf(entry);
      if (this.#entries.length > 2 * MAX_ENTRIES || this.#text > 2 * MAX_TEXT) this.#shorten();
    }
  }

  /** Replaces each entry. */
  replace(by: (entry: T) => T): void {
    this.#entries = this.#entries.map(by);
    this.#text = this.#entries.reduce((text, entry) => text + lengthOf(entry), 0);
  }

  /** Drops all entries, and counts `more` that were never kept. */
  clear(more = 0): void {
    this.before += this.#entries.length + more;
    this.#entries = [];
    this.#text = 0;
  }

  #shorten(): void {
    let from = this.#entries.length;
    let text = 0;
    for (; from > Math.max(0, this.#entries.length - MAX_ENTRIES); from--) {
      const more = lengthOf(this.#entries[from - 1]);
      if (text + more > MAX_TEXT && from < this.#entries.length) break;
      text += more;
    }
    this.before += from;
    this.#entries = this.#entries.slice(from);
    this.#text = text;
  }
}

function lengthOf(entry: MessageView | ConversationEvent | undefined): number {
  if (!entry) return 0;
  if ('__typename' in entry) return 'message' in entry ? textUnits(entry.message) : 0;
  return textUnits(entry);
}
