import { Fragment } from 'react';

/** Embeddings, overrides and isolates of the bidirectional algorithm: they act beyond the text that holds them. */
const SCOPES = /[\u202A-\u202E\u2066-\u2069]/gu;

/** Characters of scripts that are written from right to left, such as Hebrew and Arabic. */
export const RIGHT_TO_LEFT = /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}\u200F]/u;

const withoutScopes = (text: string): string => text.replace(SCOPES, '');

/** Text for an attribute or a plain string, isolated: its direction does not affect the text beside it. */
export function isolate(text: string): string {
  const safe = withoutScopes(text);
  return RIGHT_TO_LEFT.test(safe) ? `\u2068${safe}\u2069` : safe;
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

/** The text of a SYSTEM message: labels are quoted in it, and only they may have another direction. */
export const SystemText = ({ text }: { readonly text: string }) =>
  text.split(/("(?:[^"\\]|\\.)*")/u).map((part, i) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text keep their places
    <Isolate key={i} text={part} />
  ));
