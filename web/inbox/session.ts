import { webSocketUrl } from '../client/connection/platform.ts';
import { type Client, createClient, type Outgoing } from '../client/index.ts';
import { outboxPrefix } from '../client/outbox-items.ts';
import { createSafeStorage } from '../client/storage.ts';

/** The server's authentication mode: by address in development, else by token. */
export const AUTH_MODE: 'dev' | 'jwt' =
  document.querySelector('meta[name="kredichat-auth"]')?.getAttribute('content') === 'jwt' ? 'jwt' : 'dev';

/** Storage of this tab only, so that two tabs may have two viewers. It ends with the tab. */
export const tabStorage = createSafeStorage(() => sessionStorage);

/** The server of this page, relative, since a proxy may serve it under any path. */
const URL_HERE = './graphql';

/** Path of this server: one origin may have several servers. */
const PATH = new URL('.', location.href).pathname;
const KEY_PREFIX = `kredichat${PATH === '/' ? '' : PATH}`;
const CREDENTIAL = `${KEY_PREFIX}:credential`;
const VIEWER = `${KEY_PREFIX}:viewer`;
const DRAFTS = `${KEY_PREFIX}:draft:`;

/** The key of a viewer's unfinished text for one conversation. */
export const draftKey = (viewer: string, queueKey: string): string => `${DRAFTS}${viewer}:${queueKey}`;

/** The credential of this tab; null before sign-in. */
export const storedCredential = (): string | null => tabStorage.get(CREDENTIAL);

export const storeCredential = (credential: string): void => tabStorage.set(CREDENTIAL, credential);

export const forgetCredential = (): void => tabStorage.remove(CREDENTIAL);

/** Records the viewer of this session, and removes the drafts that another viewer of this tab left. */
export function beginSession(viewer: string): void {
  tabStorage.set(VIEWER, viewer);
  forgetDrafts((key) => !key.startsWith(draftKey(viewer, '')));
}

/** The storage shared by all tabs, and the keys of the viewer's unsent messages in it. */
function storedMessages() {
  const viewer = tabStorage.get(VIEWER);
  const storage = createSafeStorage(() => localStorage);
  const prefix = viewer === null ? null : outboxPrefix(webSocketUrl(URL_HERE), viewer);
  return { storage, prefix, keys: storage.keys().filter((key) => prefix !== null && key.startsWith(prefix)) };
}

/** The number of the viewer's unsent messages in this tab and in others. */
export function countUnsent(outgoing: readonly Outgoing[]): number {
  const { prefix, keys } = storedMessages();
  return new Set([...outgoing.map(({ clientId }) => `${prefix}${clientId}`), ...keys]).size;
}

/** Removes the viewer's unsent messages, drafts and credential. */
export function endSession(): void {
  const { storage, keys } = storedMessages();
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
