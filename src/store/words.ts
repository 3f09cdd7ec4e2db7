/**
 * The words of a text, the same for every store: what is looked for is found by this file alone.
 *
 * A word is a run of letters and digits; everything else parts words. Case and accents do not count (`Zürich` is
 * `zurich`), nor do compatibility forms (`ﬁ` is `fi`). Of a longer word the first 64 code points count.
 *
 * Whoever changes what the words of a text are adds a migration that empties the index of a SQLite file (see `schema.ts`):
 * from it a message is removed by the words of its text.
 */

/** Code points of a word that count. */
const MAX_WORD = 64;

/** Marks go on with a word, as vowels of other scripts do, but make none. */
const WORD = /[\p{L}\p{N}][\p{L}\p{N}\p{M}]*/gu;
const TERM = new RegExp(`${WORD.source}\\*?`, 'gu');
const ASCII = /^[\0-\x7f]*$/;
const ASCII_WORD = /[a-z0-9]+/g;
/**
 * Accents as they stand apart after decomposition, and what chooses between looks of a character; the marks that other
 * scripts write vowels with are kept.
 */
const ACCENT =
  /[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]|[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/gu;

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

/** What a query looks for: its words, where one that `*` follows at once is a prefix. Without repeats; empty where there is no word in it. */
export function termsOf(query: string): Term[] {
  const terms = new Map<string, Term>();
  for (const token of fold(query).match(TERM) ?? []) {
    const prefix = token.endsWith('*');
    const word = cut(prefix ? token.slice(0, -1) : token);
    terms.set(`${word}${prefix ? '*' : ''}`, { word, prefix });
  }
  return [...terms.values()];
}

/** Gives how many of a text's words the terms match; 0 where one of the terms matches none. */
export function createScorer(terms: readonly Term[]): (text: string) => number {
  /** What was found out about a word: most words come again, and each is compared with the terms once. */
  const known = new Map<string, readonly Term[]>();
  function matching(word: string): readonly Term[] {
    let found = known.get(word);
    if (!found) {
      found = terms.filter((term) => (term.prefix ? word.startsWith(term.word) : word === term.word));
      known.set(word, found);
    }
    return found;
  }
  return (text) => {
    const missing = new Set(terms);
    let count = 0;
    for (const word of wordsOf(text)) {
      const found = matching(word);
      if (found.length === 0) continue;
      count++;
      if (missing.size > 0) for (const term of found) missing.delete(term);
    }
    return missing.size === 0 ? count : 0;
  };
}

function fold(text: string): string {
  // Upper case first, so that letters which differ in it only by their place (ς, ſ) or number (ß) become one.
  return text.normalize('NFKD').replace(ACCENT, '').toUpperCase().toLowerCase().replaceAll('ς', 'σ');
}

function cut(word: string): string {
  return word.length <= MAX_WORD ? word : [...word].slice(0, MAX_WORD).join('');
}
