import { RIGHT_TO_LEFT } from '../shared/bidi.tsx';

const CJK_PUNCTUATION = String.raw`\u3000-\u303F\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65`;
/** A link ends at white space, invisible characters, quotes, emoji or CJK punctuation. */
const END = String.raw`\s\p{C}<>"\x60\\\p{Pi}\p{Pf}\p{Extended_Pictographic}${CJK_PUNCTUATION}`;
const CANDIDATE = new RegExp(`(?<![a-z0-9+.-])(?:https?://|mailto:)[^${END}]+`, 'giu');

/** Longer links, and further links of one text, stay plain text. */
const MAX_LENGTH = 2048;
const MAX_HOST = 255;
const MAX_LINKS = 100;

/** Punctuation that, at the end of a link, belongs to the sentence. */
const TRAILING = new Set(".,;:!?'*_~|…·)]}");
const OPENING: Readonly<Record<string, string>> = { ')': '(', ']': '[', '}': '{' };

function withoutTrailing(candidate: string): string {
  /** For each closing bracket, its surplus over the opening one. */
  const surplus = new Map(
    Object.entries(OPENING).map(([close, open]) => [
      close,
      candidate.split(close).length - candidate.split(open).length,
    ]),
  );
  let end = candidate.length;
  for (; end > 0; end--) {
    const last = candidate[end - 1] ?? '';
    if (!TRAILING.has(last)) break;
    const more = surplus.get(last);
    if (more === undefined) continue;
    // A bracket opened inside the link belongs to it.
    if (more <= 0) break;
    surplus.set(last, more - 1);
  }
  return candidate.slice(0, end);
}

/** Signs that resemble the slash or colon after a host, and labels that mix Latin letters with lookalikes. */
const FOREIGN_SIGN = /[^\p{L}\p{M}\p{N}._:[\]-]/u;
const BESIDE_LATIN = '\\p{scx=Latin}\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}';
const MIXED_LABEL = new RegExp(`(?=[^.]*[a-z])[^.]*(?![${BESIDE_LATIN}])\\p{L}`, 'iu');

/** Whether a link leads where it appears to: without user info before an @, and without a lookalike host. */
function isTrustworthy(href: string): boolean {
  if (href.length > MAX_LENGTH || !URL.canParse(href)) return false;
  const { protocol, hostname, pathname } = new URL(href);
  // In `pathname`, non-ASCII characters are percent-encoded.
  if (protocol === 'mailto:') return /^[^%]+@[^%]+$/.test(pathname);
  const host = href.split(/[/?#]/, 3)[2] ?? '';
  if (hostname.length > MAX_HOST || host === '') return false;
  return !RIGHT_TO_LEFT.test(host) && !FOREIGN_SIGN.test(host) && !MIXED_LABEL.test(host);
}

/** The links in a text, with their positions. */
function linksIn(text: string): { readonly href: string; readonly at: number }[] {
  const links: { readonly href: string; readonly at: number }[] = [];
  for (const { 0: candidate, index } of text.matchAll(CANDIDATE)) {
    const href = withoutTrailing(candidate);
    if (isTrustworthy(href) && links.push({ href, at: index }) === MAX_LINKS) break;
  }
  return links;
}

/** A text with web and mail addresses as links. */
export function LinkedText({ text }: { readonly text: string }) {
  let done = 0;
  return [
    ...linksIn(text).map(({ href, at }) => {
      const before = text.slice(done, at);
      done = at + href.length;
      return [
        before,
        // Always left to right, so that the host stands where readers expect it.
        <a key={at} href={href} dir="ltr" target="_blank" rel="noopener noreferrer">
          {href}
        </a>,
      ];
    }),
    text.slice(done),
  ];
}
