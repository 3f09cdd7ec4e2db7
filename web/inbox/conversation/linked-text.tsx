import { RIGHT_TO_LEFT } from '../shared/bidi.tsx';

/** A link begins at a scheme, and ends at white space, invisible characters, quotes, emoji or CJK punctuation. */
const CJK_PUNCTUATION = String.raw`\u3000-\u303F\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65`;
const END = String.raw`\s\p{C}<>"\x60\\\p{Pi}\p{Pf}\p{Extended_Pictographic}${CJK_PUNCTUATION}`;
const CANDIDATE = new RegExp(`(?<![a-z0-9+.-])(?:https?://|mailto:)[^${END}]+`, 'giu');

/** Longer ones, and more in one text, are left as text. */
const MAX_LENGTH = 2048;
const MAX_HOST = 255;
const MAX_LINKS = 100;

/** Punctuation that belongs to the sentence and not to the link where it stands at the end. */
const TRAILING = new Set(".,;:!?'*_~|…·)]}");
const OPENING: Readonly<Record<string, string>> = { ')': '(', ']': '[', '}': '{' };

function withoutTrailing(candidate: string): string {
  /** For each closing bracket, how many more of it there are than of the opening one. */
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
    // A bracket that was opened in the link is part of it.
    if (more <= 0) break;
    surplus.set(last, more - 1);
  }
  return candidate.slice(0, end);
}

/** Signs that may look like the slash or the colon after a host, and letters that may look like Latin ones beside them. */
const FOREIGN_SIGN = /[^\p{L}\p{M}\p{N}._:[\]-]/u;
const BESIDE_LATIN = '\\p{scx=Latin}\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}';
const MIXED_LABEL = new RegExp(`(?=[^.]*[a-z])[^.]*(?![${BESIDE_LATIN}])\\p{L}`, 'iu');

/** Whether a link leads where it seems to: not with a name before an @, or a host that reads as another one. */
function isTrustworthy(href: string): boolean {
  if (href.length > MAX_LENGTH || !URL.canParse(href)) return false;
  const { protocol, hostname, pathname } = new URL(href);
  // Here what is not ASCII is percent-encoded.
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

/** A text as it was written, in which web and mail addresses are links. */
export function LinkedText({ text }: { readonly text: string }) {
  let done = 0;
  return [
    ...linksIn(text).map(({ href, at }) => {
      const before = text.slice(done, at);
      done = at + href.length;
      return [
        before,
        // Always from left to right, so that the host stands where it is looked for.
        <a key={at} href={href} dir="ltr" target="_blank" rel="noopener noreferrer">
          {href}
        </a>,
      ];
    }),
    text.slice(done),
  ];
}
