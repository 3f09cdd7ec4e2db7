import { useSyncExternalStore } from 'react';
import type { ConversationRef } from '../client/index.ts';

/** What is open: a conversation by id, or one that the first message will open. */
export interface Route {
  readonly ref: ConversationRef;
  /** The message to show; else where the viewer has come to. */
  readonly at?: number;
  /** Used when the first message opens it. */
  readonly subject?: string;
  readonly party?: string;
}

/** The fragment of the address that shows a route. Links and the back button work, and reloading stays. */
export const hashOf = (route: Route): string =>
  route.ref.id === undefined
    ? `#/new/${encodeURIComponent(JSON.stringify(route))}`
    : `#/c/${encodeURIComponent(route.ref.id)}${route.at === undefined ? '' : `/${route.at}`}`;

function parse(hash: string): Route | null {
  const [, kind, rest = ''] = /^#\/(c|new)\/(.+)$/.exec(hash) ?? [];
  try {
    if (kind === 'c') {
      const [id = '', at] = rest.split('/');
      return { ref: { id: decodeURIComponent(id) }, ...(Number(at) > 0 && { at: Number(at) }) };
    }
    const text = decodeURIComponent(rest);
    return kind === 'new' ? readRoute(JSON.parse(text)) : null;
  } catch {
    return null;
  }
}

/** A route that another program may have written. @throws TypeError for one without a key */
function readRoute({ ref, subject, party }: Partial<Route>): Route | null {
  const { configId, members } = (ref as ConversationRef).key as NonNullable<ConversationRef['key']>;
  const texts = [configId, subject ?? '', party ?? '', ...members];
  if (!texts.every((text) => typeof text === 'string')) return null;
  return { ref: { key: { configId, members } }, ...(subject && { subject }), ...(party && { party }) };
}

function subscribe(listener: () => void): () => void {
  addEventListener('hashchange', listener);
  return () => removeEventListener('hashchange', listener);
}

/** What the address asks for. */
export function useRoute(): Route | null {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return parse(hash);
}

export function goTo(route: Route | null): void {
  location.hash = route ? hashOf(route) : '#/';
}

/** Goes there without leaving the present place in the history. */
export function replaceWith(route: Route): void {
  location.replace(hashOf(route));
}
