import { useSyncExternalStore } from 'react';
import type { ConversationRef } from '../client/index.ts';

/** The open conversation: by id, or by the key of one that the first message will open. */
export interface Route {
  readonly ref: ConversationRef;
  /** Position of the message to show. Default: the viewer's first unread message. */
  readonly at?: number;
  /** Subject and party, for a conversation that the first message opens. */
  readonly subject?: string;
  readonly party?: string;
}

/** The fragment of the page's address for a route, which links, the back button and a reload use. */
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

/** Validates a route from the address. @throws TypeError for a route without a key */
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

/** The route in the page's address. */
export function useRoute(): Route | null {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return parse(hash);
}

export function goTo(route: Route | null): void {
  location.hash = route ? hashOf(route) : '#/';
}

/** Replaces the present route without a new history entry. */
export function replaceWith(route: Route): void {
  location.replace(hashOf(route));
}
