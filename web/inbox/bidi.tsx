import { Fragment } from 'react';

/** Embeddings, overrides and isolates of Unicode's bidirectional algorithm: they act beyond the text that holds them. */
const SCOPES = /[\u202A-\u202E\u2066-\u2069]/gu;

/** No character up to here is written from right to left. */
const LEFT_TO_RIGHT = /^[\u0020-\u024F]*$/u;

export const withoutScopes = (text: string): string => text.replace(SCOPES, '');

/** Text for an attribute or a plain string, closed off so that its direction does not turn round what stands beside it. */
export function isolate(text: string): string {
  const safe = withoutScopes(text);
  return LEFT_TO_RIGHT.test(safe) ? safe : `\u2068${safe}\u2069`;
}

/** A name, subject, label or other text that a person chose, in its own direction. */
export const Isolate = ({ text }: { readonly text: string }) => <bdi>{withoutScopes(text)}</bdi>;

/** Several such texts in a row; absent ones are left out. */
export function IsolatedList({ texts }: { readonly texts: readonly (string | null | undefined)[] }) {
  return texts
    .filter((text) => text != null && text !== '')
    .map((text, i) => (
      // biome-ignore lint/suspicious/noArrayIndexKey: two of the texts may be equal
      <Fragment key={i}>
        {i > 0 && ' · '}
        <Isolate text={text ?? ''} />
      </Fragment>
    ));
}

/** The text of a SYSTEM message: labels are quoted in it, and are the only part that may be of any direction. */
export const SystemText = ({ text }: { readonly text: string }) =>
  text.split(/("(?:[^"\\]|\\.)*")/u).map((part, i) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text keep their places
    <Isolate key={i} text={part} />
  ));
