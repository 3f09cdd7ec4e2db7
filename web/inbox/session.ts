import { type Client, createClient } from '../client/index.ts';
import { outboxPrefix } from '../client/outbox.ts';
import { createSafeStorage } from '../client/storage.ts';

/** How people say who they are: by an address, or by a token. */
export const AUTH_MODE: 'dev' | 'jwt' =
  document.querySelector('meta[name="kredichat-auth"]')?.getAttribute('content') === 'jwt' ? 'jwt' : 'dev';

/** Storage of this tab alone, so that two people may use two tabs; it ends with the tab. */
export const tabStorage = createSafeStorage(() => sessionStorage);

/** Storage of all tabs. */
const sharedStorage = createSafeStorage(() => localStorage);

const CREDENTIAL = 'kredichat:credential';
const VIEWER = 'kredichat:viewer';
const DRAFTS = 'kredichat:draft:';

/** The key of a viewer's unfinished text for one conversation. */
export const draftKey = (viewer: string, lane: string): string => `${DRAFTS}${viewer}:${lane}`;

/** The credential of this tab, if somebody has signed in. */
export const storedCredential = (): string | null => tabStorage.get(CREDENTIAL);

export const storeCredential = (credential: string): void => tabStorage.set(CREDENTIAL, credential);

export const forgetCredential = (): void => tabStorage.remove(CREDENTIAL);

/** Notes whose session this is, and removes the drafts of an earlier viewer whose credential ended. */
export function beginSession(viewer: string): void {
  tabStorage.set(VIEWER, viewer);
  forgetDrafts((key) => !key.startsWith(draftKey(viewer, '')));
}

/** The storage keys of the viewer's unsent messages, those of other tabs included. */
export function unsentKeys(): string[] {
  const viewer = tabStorage.get(VIEWER);
  return viewer === null ? [] : sharedStorage.keys().filter((key) => key.startsWith(outboxPrefix(viewer)));
}

/** Removes everything that the viewer wrote and did not send, and the credential. */
export function endSession(): void {
  for (const key of unsentKeys()) sharedStorage.remove(key);
  forgetDrafts(() => true);
  tabStorage.remove(VIEWER);
  forgetCredential();
}

function forgetDrafts(chosen: (key: string) => boolean): void {
  for (const key of tabStorage.keys()) if (key.startsWith(DRAFTS) && chosen(key)) tabStorage.remove(key);
}

/** A client of the server that this page came from, wherever a proxy has put it. */
export function openClient(credential: string): Client {
  return createClient({ url: './graphql', token: () => credential });
}
