/** The length of a message, for the server, which limits it, and for the page. This file imports nothing. */

/** Maximum length of the text of a message, in code points. */
export const MAX_TEXT_LENGTH = 10_000;

/** The number of code points, without allocating. */
export function codePoints(text: string): number {
  let length = text.length;
  for (let i = 0; i < text.length - 1; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit < 0xdc00) length--;
  }
  return length;
}
