/** A part of a text, which is what was looked for or is not. */
interface Part {
  readonly text: string;
  readonly found: boolean;
  /** Where it begins. */
  readonly at: number;
}

const WORD = /[\p{L}\p{N}\p{M}]+/gu;

/** Case and accents do not count. */
const fold = (text: string) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();

/** How much of a text is shown, and how much of that before what was found. */
const LENGTH = 140;
const BEFORE = 30;

/** The part of a text around the first word that a query asks for, with all such words marked. */
export function snippet(text: string, query: string): Part[] {
  const wanted = [...query.matchAll(/([\p{L}\p{N}\p{M}]+)(\*?)/gu)].map(([, word = '', star]) => ({
    word: fold(word),
    prefix: star === '*',
  }));
  const asked = (word: string) => {
    const folded = fold(word);
    return wanted.some((one) => (one.prefix ? folded.startsWith(one.word) : folded === one.word));
  };
  const first = [...text.matchAll(WORD)].find(([word]) => asked(word))?.index ?? 0;
  // From the beginning of a word on.
  const from = first <= BEFORE ? 0 : text.indexOf(' ', first - BEFORE) + 1 || first;
  const start = from > first ? first : from;
  const shown = text.slice(start, start + LENGTH);
  const parts: Part[] = start > 0 ? [{ text: '… ', found: false, at: -1 }] : [];
  let done = 0;
  for (const { 0: word, index } of shown.matchAll(WORD)) {
    if (!asked(word)) continue;
    parts.push({ text: shown.slice(done, index), found: false, at: done });
    parts.push({ text: word, found: true, at: index });
    done = index + word.length;
  }
  return [...parts, { text: shown.slice(done), found: false, at: done }];
}
