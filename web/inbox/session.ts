import { webSocketUrl } from '../client/connection/platform.ts';
import { type Client, createClient, type Outgoing } from '../client/index.ts';
import { outboxPrefix } from '../client/outbox.ts';
import { createSafeStorage } from '../client/storage.ts';

/** How people say who they are: by an address, or by a token. */
export const AUTH_MODE: 'dev' | 'jwt' =
  document.querySelector('meta[name="kredichat-auth"]')?.getAttribute('content') === 'jwt' ? 'jwt' : 'dev';

/** Storage of this tab alone, so that two people may use two tabs; it ends with the tab. */
export const tabStorage = createSafeStorage(() => sessionStorage);

/** The server that this page came from, wherever a proxy has put it. */
const URL_HERE = './graphql';

/** One origin may have several servers, each with a path of its own. */
const PATH = new URL('.', location.href).pathname;
const OWN = `kredichat${PATH === '/' ? '' : PATH}`;
const CREDENTIAL = `${OWN}:credential`;
const VIEWER = `${OWN}:viewer`;
const DRAFTS = `${OWN}:draft:`;

/** The key of a viewer's unfinished text for one conversation. */
export const draftKey = (viewer: string, queueKey: string): string => `${DRAFTS}${viewer}:${queueKey}`;

/** The credential of this tab, if somebody has signed in. */
export const storedCredential = (): string | null => tabStorage.get(CREDENTIAL);

export const storeCredential = (credential: string): void => tabStorage.set(CREDENTIAL, credential);

export const forgetCredential = (): void => tabStorage.remove(CREDENTIAL);

/** Notes whose session this is, and removes the drafts of an earlier viewer whose credential ended. */
export function beginSession(viewer: string): void {
  tabStorage.set(VIEWER, viewer);
  forgetDrafts((key) => !key.startsWith(draftKey(viewer, '')));
}

/** The storage of all tabs, and the keys of the viewer's unsent messages in it. */
function keptMessages() {
  const viewer = tabStorage.get(VIEWER);
  const storage = createSafeStorage(() => localStorage);
  const prefix = viewer === null ? null : outboxPrefix(webSocketUrl(URL_HERE), viewer);
  return { storage, prefix, keys: storage.keys().filter((key) => prefix !== null && key.startsWith(prefix)) };
}

/** The number of the viewer's unsent messages: those of this tab, and of others. */
export function countUnsent(outgoing: readonly Outgoing[]): number {
  const { prefix, keys } = keptMessages();
  return new Set([...outgoing.map(({ clientId }) => `${prefix}${clientId}`), ...keys]).size;
}

/** Removes everything that the viewer wrote and did not send, and the credential. */
export function endSession(): void {
  const { storage, keys } = keptMessages();
  for (const key of keys) storage.remove(key);
  forgetDrafts(() => true);
  tabStorage.remove(VIEWER);
  forgetCredential();
}

function forgetDrafts(chosen: (key: string) => boolean): void {
  for (const key of tabStorage.keys()) if (key.startsWith(DRAFTS) && chosen(key)) tabStorage.remove(key);
}

export function openClient(credential: string): Client {
  return createClient({ url: URL_HERE, token: () => credential });
}
