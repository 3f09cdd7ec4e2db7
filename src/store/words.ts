/**
 * The words of a text, the same for every store: what is looked for is found by this file alone.
 *
 * A word is a run of letters and digits; everything else parts words. Case and accents do not count (`Zürich` is
 * `zurich`), nor do compatibility forms (`ﬁ` is `fi`). Of a longer word the first 64 code points count.
 */

/** Code points of a word that count. */
const MAX_WORD = 64;

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const ASCII = /^[\0-\x7f]*$/;
const ASCII_WORD = /[a-z0-9]+/g;
/** Accents as they stand apart after decomposition; the marks that other scripts write vowels with are kept. */
const ACCENT = /[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]/g;

/** What is looked for: a word, or with `prefix` every word that begins with it. */
export interface Term {
  readonly word: string;
  readonly prefix: boolean;
}

/** The words of a text, folded, in their order, repeats included. */
export function wordsOf(text: string): string[] {
  // Most texts need no folding but that of case.
  if (ASCII.test(text)) return (text.toLowerCase().match(ASCII_WORD) ?? []).map(cut);
  return (fold(text).match(WORD) ?? []).map(cut);
}

/** What a query looks for: its words, where one that `*` follows at the end is a prefix. Without repeats; empty where there is no word in it. */
export function termsOf(query: string): Term[] {
  const terms = new Map<string, Term>();
  for (const piece of query.split(/\s+/)) {
    const words = wordsOf(piece);
    for (const [index, word] of words.entries()) {
      const prefix = index === words.length - 1 && /[\p{L}\p{N}\p{M}]\*$/u.test(piece);
      terms.set(`${word}${prefix ? '*' : ''}`, { word, prefix });
    }
  }
  return [...terms.values()];
}

/** How many of the words the terms match; 0 where one of the terms matches none. */
export function countMatches(words: readonly string[], terms: readonly Term[]): number {
  const found = new Set<Term>();
  let count = 0;
  for (const candidate of words) {
    let matches = false;
    for (const term of terms) {
      if (term.prefix ? !candidate.startsWith(term.word) : candidate !== term.word) continue;
      found.add(term);
      matches = true;
    }
    if (matches) count++;
  }
  return found.size === terms.length ? count : 0;
}

function fold(text: string): string {
  // Upper case first, so that letters which differ in it only by their place (ς, ſ) or number (ß) become one.
  return text.normalize('NFKD').replace(ACCENT, '').toUpperCase().toLowerCase().replaceAll('ς', 'σ');
}

function cut(word: string): string {
  return word.length <= MAX_WORD ? word : [...word].slice(0, MAX_WORD).join('');
}
