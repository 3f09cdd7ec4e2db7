/** The relevant tokens of GraphQL. A string or a comment is one token, so that its content is skipped. */
const TOKENS = /"""(?:\\"""|[\s\S])*?"""|"(?:\\.|[^"\\])*"|#[^\n\r]*|\w+|[{}()[\]]/g;

/** Whether the operation of a GraphQL document is a query, with fragments and comments in any place. */
export function isQuery(document: string): boolean {
  let depth = 0;
  let inFragment = false;
  for (const [token] of document.matchAll(TOKENS)) {
    if (token.startsWith('"') || token.startsWith('#')) continue;
    if (depth === 0 && !inFragment) {
      if (token !== 'fragment') return token === 'query' || token === '{';
      inFragment = true;
    }
    if ('{(['.includes(token)) depth++;
    // The closing brace of its selection ends a fragment; that of a value in a directive is nested deeper.
    else if ('})]'.includes(token) && --depth === 0 && token === '}') inFragment = false;
  }
  return false;
}
