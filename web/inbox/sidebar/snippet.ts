import { matchesIn, type Range, termsOf } from '../../../src/store/tokenizer.ts';

/** A part of a text, which matches the query or does not. */
interface Part {
  readonly text: string;
  readonly found: boolean;
  /** Offset of the part in the text. */
  readonly at: number;
}

/** Length of a snippet, and of the text before the first match in it, in UTF-16 units. */
const LENGTH = 140;
const BEFORE = 30;
/** A code unit that continues a character: the second half of a pair, a mark, or an invisible joiner. */
const CONTINUES = /^[\p{M}\p{Default_Ignorable_Code_Point}\udc00-\udfff]/u;

/** The part of a text around the first match of a query, with all matches marked by the server's search rules. */
export function snippet(text: string, query: string): Part[] {
  const matches = matchesIn(text, termsOf(query));
  const start = startFor(text, matches[0]?.from ?? 0);
  const end = wholeCharacter(text, start + LENGTH);
  const parts: Part[] = start > 0 ? [{ text: '… ', found: false, at: -1 }] : [];
  const add = ({ from, to }: Range, found: boolean) => {
    if (from < to) parts.push({ text: text.slice(from, to), found, at: from });
  };
  let done = start;
  for (const { from, to } of matches) {
    if (from >= end) break;
    add({ from: done, to: from }, false);
    done = Math.min(to, end);
    add({ from, to: done }, true);
  }
  add({ from: done, to: end }, false);
  return parts;
}

/** The start of a snippet that shows the first match: at a word or, in scripts without spaces, at a character. */
function startFor(text: string, first: number): number {
  if (first <= BEFORE) return 0;
  const from = first - BEFORE;
  const space = text.indexOf(' ', from);
  return space >= 0 && space < first ? space + 1 : wholeCharacter(text, from);
}

/** The start of the character at an offset. */
function wholeCharacter(text: string, at: number): number {
  while (at > 0 && CONTINUES.test(text.slice(at, at + 2))) at--;
  return at;
}
