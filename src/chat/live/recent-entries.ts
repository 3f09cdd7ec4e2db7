import { type MessageView, textLength } from '../message-view.ts';
import type { ConversationEvent } from './events.ts';

/** Entries that are kept for those who keep up; whoever is further behind reads the store. */
const MOST = 256;
/** UTF-16 units of text that they hold at most, earlier texts of messages included, but for the newest. */
const MOST_TEXT = 500_000;

/**
 * The newest of a sequence of messages or events: never more than twice what is to be kept, so that what is added costs
 * the same however many there are.
 */
export class RecentEntries<T extends MessageView | ConversationEvent> {
  /** How many entries came before those that are kept. */
  before = 0;
  #entries: T[] = [];
  #text = 0;

  get length(): number {
    return this.#entries.length;
  }

  /** An entry by its place among those that are kept. */
  at(index: number): T | undefined {
    return this.#entries[index];
  }

  push(entries: readonly T[]): void {
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#text += lengthOf(entry);
      if (this.#entries.length > 2 * MOST || this.#text > 2 * MOST_TEXT) this.#shorten();
    }
  }

  /** Puts another entry in the place of each. */
  replace(by: (entry: T) => T): void {
    this.#entries = this.#entries.map(by);
    this.#text = this.#entries.reduce((text, entry) => text + lengthOf(entry), 0);
  }

  /** Keeps none of them; `more` are counted that were never kept. */
  clear(more = 0): void {
    this.before += this.#entries.length + more;
    this.#entries = [];
    this.#text = 0;
  }

  #shorten(): void {
    let from = this.#entries.length;
    let text = 0;
    for (; from > Math.max(0, this.#entries.length - MOST); from--) {
      const more = lengthOf(this.#entries[from - 1]);
      if (text + more > MOST_TEXT && from < this.#entries.length) break;
      text += more;
    }
    this.before += from;
    this.#entries = this.#entries.slice(from);
    this.#text = text;
  }
}

function lengthOf(entry: MessageView | ConversationEvent | undefined): number {
  if (!entry) return 0;
  if ('__typename' in entry) return 'message' in entry ? textLength(entry.message) : 0;
  return textLength(entry);
}
