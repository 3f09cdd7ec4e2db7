import { type Client, createClient } from '../client/index.ts';

/** How people say who they are: by an address, or by a token. */
export const AUTH_MODE: 'dev' | 'jwt' =
  document.querySelector('meta[name="kredichat-auth"]')?.getAttribute('content') === 'jwt' ? 'jwt' : 'dev';

// A tab's own, so that two people may use two tabs, and gone with it.
const KEY = 'kredichat:credential';

/** The credential of this tab, if somebody has signed in. */
export const storedCredential = (): string | null => sessionStorage.getItem(KEY);

export const storeCredential = (credential: string): void => sessionStorage.setItem(KEY, credential);

export const forgetCredential = (): void => sessionStorage.removeItem(KEY);

/** A client of the server that this page came from. */
export function openClient(credential: string): Client {
  return createClient({ url: new URL('/graphql', location.href).href, token: () => credential });
}
