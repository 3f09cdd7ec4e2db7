import { createContext, useContext } from 'react';

/** Gives the display name for an address: the part before the @ where that is unambiguous, else the address. */
export type NameOf = (email: string) => string;

/** The part before the @. */
const localPart = (email: string) => email.split('@', 1)[0] ?? email;

/** Names with the same skeleton are visually confusable. */
const confusableSkeleton = (name: string): string =>
  name
    .toLowerCase()
    .replace(/[1i|!]/g, 'l')
    .replace(/[^a-z0-9]/g, '')
    .replace(/0/g, 'o')
    .replace(/5/g, 's')
    .replace(/rn/g, 'm')
    .replace(/vv/g, 'w')
    .replace(/cl/g, 'd');

/** Words that the page shows in place of names. */
const RESERVED = ['you', 'nobody'].map(confusableSkeleton);

/** Display names in a conversation: the whole address for members with confusable short names. */
export function namesAmong(members: readonly string[]): NameOf {
  const owner = new Map<string, string | null>(RESERVED.map((word) => [word, null]));
  for (const email of new Set(members)) {
    const key = confusableSkeleton(localPart(email));
    owner.set(key, owner.has(key) ? null : email);
  }
  return (email) => (owner.get(confusableSkeleton(localPart(email))) === email ? localPart(email) : email);
}

/** Display names where not all members are known, as in lists: short for the viewer's domain, where they are unique. */
export function namesFor(viewer: string): NameOf {
  const domain = viewer.slice(viewer.lastIndexOf('@'));
  return (email) =>
    email.endsWith(domain) && !RESERVED.includes(confusableSkeleton(localPart(email))) ? localPart(email) : email;
}

const Names = createContext<NameOf>((email) => email);

/** Provides display names to the components inside. */
export const NamesProvider = Names.Provider;

export const useNames = (): NameOf => useContext(Names);

/** The display name of a member, with the whole address as tooltip. */
export function Person({ email }: { readonly email: string }) {
  return <bdi title={email}>{useNames()(email)}</bdi>;
}
