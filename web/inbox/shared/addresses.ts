/** Whether the browser accepts the address, by the same rule as the server. */
function isAddress(text: string): boolean {
  const input = document.createElement('input');
  input.type = 'email';
  input.value = text;
  return text !== '' && input.value === text && input.checkValidity();
}

/** The addresses of a list, and its first invalid entry. */
interface Addresses {
  readonly addresses: string[];
  readonly wrong: string | null;
}

/**
 * Reads addresses as mail programs and spreadsheets copy them: `Ann <ann@example.com>; "Lee, Bob" <bob@example.com>`,
 * separated by commas, semicolons, line breaks, tabs or spaces. Invisible characters are ignored.
 */
export function parseAddresses(text: string): Addresses {
  const entries = text
    .replace(/\p{Cf}/gu, '')
    // A quoted name may contain separators.
    .replace(/"[^"\r\n]*"(?=\s*<)/g, '')
    .split(/[;；\r\n]+/);
  const found = new Set<string>();
  let wrong: string | null = null;
  for (const entry of entries) {
    /** A word that is the beginning of a name if an address in brackets follows: `Lee, Ann <ann@example.com>`. */
    let name: string | null = null;
    for (const part of entry.replaceAll('>', '>,').split(/[,，、\t]+/)) {
      const bracket = part.lastIndexOf('<');
      if (bracket >= 0) name = null;
      const inBrackets = part.slice(bracket + 1).replace('>', '');
      const words = bracket < 0 ? part.split(/\s+/) : [inBrackets.trim()];
      for (const word of words) {
        const address = word
          .replace(/^["'(]+/, '')
          .replace(/["').]+$/, '')
          .replace(/^mailto:([^?]*).*/i, '$1');
        if (isAddress(address)) found.add(address.toLowerCase());
        else if (bracket >= 0 || word.includes('@')) wrong ??= word;
        // A word without letters, such as a bullet or the number of a list item, is skipped.
        else if (/\p{L}/u.test(word)) name ??= word;
      }
    }
    wrong ??= name;
  }
  return { addresses: [...found], wrong };
}
