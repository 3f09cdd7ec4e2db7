/**
 * The words of a text, the same for both stores, and for the page, which marks them: this file alone decides which
 * texts a search finds. It imports nothing.
 *
 * A word is a run of letters and digits; everything else parts words. Case, accents, compatibility forms (`ﬁ`,
 * full-width letters), the optional vowel signs of Arabic and Hebrew, the script of digits, and invisible characters do
 * not count. Of a longer word the first 64 code points count.
 *
 * Text in scripts without spaces between words, or with particles attached to them (Chinese, Japanese, Korean, Thai …),
 * is not parted by a dictionary, as versions differ: the index holds every pair of neighbouring characters of such a
 * run, and its last character alone. A search asks the index for some pairs of the query, and then compares the texts.
 * So an index never holds more words than the text has characters.
 *
 * A change of the words that this file finds in a text needs a SQLite migration that empties the index (see
 * `schema.ts`), since a message is removed from it by the words of its text, and a new `VERSION` in
 * `mongo/backfill/words.ts`.
 */

/** Code points of a word that count. */
const MAX_WORD = 64;
/** Pairs of characters that one term asks an index for. */
const MAX_PAIRS = 4;

/** Scripts without spaces between words; of Hangul, particles are attached to words. */
const UNSPACED = `${[
  ...['Han', 'Hiragana', 'Katakana', 'Bopomofo', 'Yi', 'Hangul', 'Thai', 'Lao', 'Khmer', 'Myanmar'],
  ...['Tai_Le', 'New_Tai_Lue', 'Tai_Tham', 'Tai_Viet', 'Ahom', 'Javanese', 'Balinese'],
]
  .map((script) => `\\p{Script=${script}}`)
  .join('')}\\u3031-\\u3035\\u3099\\u309a\\u30fc`;
const BEGINS_UNSPACED = new RegExp(`^[${UNSPACED}]`, 'u');
const HAS_UNSPACED = new RegExp(`[${UNSPACED}]`, 'u');
/**
 * The stretches of a token, by whether its script has spaces. Marks continue a word, as Indic vowels do, but begin
 * none.
 */
const STRETCH = new RegExp(`(?=[\\p{L}\\p{N}])(?:[${UNSPACED}]+|[^${UNSPACED}]+)`, 'gu');

const TOKEN = /[\p{L}\p{N}][\p{L}\p{N}\p{M}]*/gu;
const STARRED_TOKEN = new RegExp(`${TOKEN.source}\\*?`, 'gu');
const ASCII = /^[\0-\x7f]*$/;
const ASCII_WORD = /[a-z0-9]+/g;

/**
 * Characters of a decomposed text that are ignored: accents, the marks of scripts in which they are optional, the
 * Arabic tatweel, and invisible characters, soft hyphens and zero-width spaces among them. The voicing marks of kana
 * count.
 */
const IGNORED =
  /(?![\u3099\u309a])(?=\p{M})[\p{Script=Inherited}\p{Script=Cyrillic}\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}]|[\p{Default_Ignorable_Code_Point}\u0640]/gu;
const FOREIGN_DIGIT = /(?![0-9])\p{Nd}/gu;
const DIGIT = /\p{Nd}/u;
/** Letters with a stroke, ligature or final form that Unicode does not decompose. */
const LETTERS: Readonly<Record<string, string>> = {
  ...{ ς: 'σ', đ: 'd', ħ: 'h', ł: 'l', ø: 'o', ŧ: 't', æ: 'ae', œ: 'oe' },
};
const LETTER = new RegExp(`[${Object.keys(LETTERS).join('')}]`, 'g');

/**
 * A character with all that may combine with it when folded: marks, invisible characters, half-width voicing marks, and
 * the vowels and final consonants of Hangul. Folding a text is folding its segments.
 */
const SEGMENT =
  /.[\p{M}\p{Default_Ignorable_Code_Point}\uff9e\uff9f\u1160-\u11ff\u314f-\u3163\u3187-\u318e\ud7b0-\ud7fb\uffc2-\uffdc]*/gsu;

/** One word of a query: a whole word, the beginning of one, or a part of a run in a script without spaces. */
export interface Term {
  readonly word: string;
  readonly match: 'word' | 'prefix' | 'part';
}

/** A word to look up in an index, or with `prefix` all words that begin with it. */
export interface IndexKey {
  readonly word: string;
  readonly prefix: boolean;
}

/** A part of a text, in UTF-16 units. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** The index entries of a text, without repeats. */
export function wordsOf(text: string): string[] {
  const words = new Set<string>();
  for (const token of tokensOf(fold(text))) {
    if (isUnspaced(token)) for (const pair of pairsOf(token)) words.add(pair);
    else words.add(cut(token));
  }
  return [...words];
}

/** The words of a query, without repeats; a word that `*` follows at once is a prefix. Empty if there are none. */
export function termsOf(query: string): Term[] {
  const terms = new Map<string, Term>();
  for (const starred of fold(query).match(STARRED_TOKEN) ?? []) {
    const tokens = tokensOf(starred);
    for (const [i, token] of tokens.entries()) {
      const prefix = starred.endsWith('*') && i === tokens.length - 1;
      const term: Term = isUnspaced(token)
        ? { word: token, match: 'part' }
        : { word: cut(token), match: prefix ? 'prefix' : 'word' };
      terms.set(`${term.match} ${term.word}`, term);
    }
  }
  return [...terms.values()];
}

/** Keys that every text with the term has in the index. Other texts may have them too: `createScorer` decides. */
export function keysOf({ word, match }: Term): IndexKey[] {
  if (match !== 'part') return [{ word, prefix: match === 'prefix' }];
  const pairs = pairsOf(word).slice(0, -1);
  if (pairs.length === 0) return [{ word, prefix: true }];
  const step = Math.max(1, (pairs.length - 1) / (MAX_PAIRS - 1));
  const spread = pairs.filter((_, i) => Math.floor(i / step) > Math.floor((i - 1) / step));
  return [...new Set(spread)].map((pair) => ({ word: pair, prefix: false }));
}

/** Counts the words of a text, or parts of its runs, that the terms match; 0 where one of the terms matches none. */
export function createScorer(terms: readonly Term[]): (text: string) => number {
  const { parts, matching } = createMatcher(terms);
  return (text) => {
    const missing = new Set(terms);
    let count = 0;
    for (const token of tokensOf(fold(text))) {
      if (isUnspaced(token)) {
        for (const term of parts) {
          const places = placesOf(term.word, token).length;
          count += places;
          if (places > 0) missing.delete(term);
        }
        continue;
      }
      const found = matching(token);
      if (found.length === 0) continue;
      count++;
      if (missing.size > 0) for (const term of found) missing.delete(term);
    }
    return missing.size === 0 ? count : 0;
  };
}

/** The parts of a text that one of the terms matches, ascending and apart. */
export function matchesIn(text: string, terms: readonly Term[]): Range[] {
  const { parts, matching } = createMatcher(terms);
  const { folded, origin } = foldWithOrigin(text);
  const ranges: Range[] = [];
  let from = 0;
  for (const token of tokensOf(folded)) {
    // Between two tokens there is no letter or digit, which every token begins with.
    const at = folded.indexOf(token, from);
    from = at + token.length;
    if (!isUnspaced(token)) {
      if (matching(token).length > 0) ranges.push(origin(at, from));
      continue;
    }
    for (const { word } of parts) {
      for (const place of placesOf(word, token)) ranges.push(origin(at + place, at + place + word.length));
    }
  }
  return merged(ranges);
}

/** Compares words with terms. Most words come again: each is compared once. */
function createMatcher(terms: readonly Term[]) {
  const known = new Map<string, readonly Term[]>();
  return {
    parts: terms.filter(({ match }) => match === 'part'),
    matching(token: string): readonly Term[] {
      const word = cut(token);
      let found = known.get(word);
      if (!found) {
        found = terms.filter((term) =>
          term.match === 'prefix' ? word.startsWith(term.word) : term.match === 'word' && word === term.word,
        );
        known.set(word, found);
      }
      return found;
    },
  };
}

/** The words and the runs without spaces of a folded text, in their order, repeats included. */
function tokensOf(folded: string): string[] {
  if (ASCII.test(folded)) return folded.match(ASCII_WORD) ?? [];
  return (folded.match(TOKEN) ?? []).flatMap((token) =>
    HAS_UNSPACED.test(token) ? (token.match(STRETCH) ?? []) : [token],
  );
}

function isUnspaced(token: string): boolean {
  return token.charCodeAt(0) > 0x7f && BEGINS_UNSPACED.test(token);
}

/** Each character of a run with the one after it; the last is alone. */
function pairsOf(run: string): string[] {
  const characters = [...run];
  return characters.map((character, i) => character + (characters[i + 1] ?? ''));
}

/** Where a part stands in a run; where it overlaps itself, the first. */
function placesOf(part: string, run: string): number[] {
  const places: number[] = [];
  for (let at = run.indexOf(part); at >= 0; at = run.indexOf(part, at + part.length)) places.push(at);
  return places;
}

function fold(text: string): string {
  // Most texts need no folding but that of case.
  if (ASCII.test(text)) return text.toLowerCase();
  return (
    text
      .normalize('NFKD')
      .replace(IGNORED, '')
      .replace(FOREIGN_DIGIT, toAsciiDigit)
      // Each of the three makes equal what the others leave apart: ẞ and ß, ß and ss, ſ and s.
      .toLowerCase()
      .toUpperCase()
      .toLowerCase()
      .replace(LETTER, (letter) => LETTERS[letter] ?? letter)
      // Syllables of Hangul and voiced kana are characters of their own.
      .normalize('NFC')
  );
}

/** Unicode assigns the ten decimal digits of a script in one run, from zero. */
function toAsciiDigit(digit: string): string {
  const code = digit.codePointAt(0) ?? 0;
  let zero = code;
  while (DIGIT.test(String.fromCodePoint(zero - 1))) zero--;
  return String((code - zero) % 10);
}

/** The folded text, and a function that gives the place in the text of a part of the folded one. */
function foldWithOrigin(text: string): { folded: string; origin(from: number, to: number): Range } {
  if (ASCII.test(text)) return { folded: fold(text), origin: (from, to) => ({ from, to }) };
  const known = new Map<string, string>();
  /** For each unit of the folded text, its segment. */
  const segments: Range[] = [];
  let folded = '';
  let at = 0;
  for (const segment of text.match(SEGMENT) ?? []) {
    const to = at + segment.length;
    const part = known.get(segment) ?? fold(segment);
    known.set(segment, part);
    for (let i = 0; i < part.length; i++) segments.push({ from: at, to });
    folded += part;
    at = to;
  }
  return {
    folded,
    origin: (from, to) => ({ from: segments[from]?.from ?? 0, to: segments[to - 1]?.to ?? text.length }),
  };
}

function merged(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last && range.from < last.to) result[result.length - 1] = { from: last.from, to: Math.max(last.to, range.to) };
    else result.push(range);
  }
  return result;
}

function cut(word: string): string {
  return word.length <= MAX_WORD ? word : [...word].slice(0, MAX_WORD).join('');
}
