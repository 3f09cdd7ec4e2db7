import { createContext, useContext } from 'react';

/** Names a person by address: by the part before the @ where that is enough, else by the whole address. */
export type NameOf = (email: string) => string;

/** The part before the @. */
const localPart = (email: string) => email.split('@', 1)[0] ?? email;

/** Two names with the same skeleton are easily taken for each other. */
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

/** Words that stand in the place of names. */
const RESERVED = ['you', 'nobody'].map(confusableSkeleton);

/** Names for a conversation: whole addresses for those whose short names another member's could be taken for. */
export function namesAmong(members: readonly string[]): NameOf {
  const owner = new Map<string, string | null>(RESERVED.map((word) => [word, null]));
  for (const email of new Set(members)) {
    const key = confusableSkeleton(localPart(email));
    owner.set(key, owner.has(key) ? null : email);
  }
  return (email) => (owner.get(confusableSkeleton(localPart(email))) === email ? localPart(email) : email);
}

/** Names where not all members are known, as in lists: short for the viewer's own domain, in which they are unique. */
export function namesFor(viewer: string): NameOf {
  const domain = viewer.slice(viewer.lastIndexOf('@'));
  return (email) =>
    email.endsWith(domain) && !RESERVED.includes(confusableSkeleton(localPart(email))) ? localPart(email) : email;
}

const Names = createContext<NameOf>((email) => email);

/** Sets the naming of people for the components inside. */
export const NamesProvider = Names.Provider;

export const useNames = (): NameOf => useContext(Names);

/** A person, with the whole address to point at. */
export function Person({ email }: { readonly email: string }) {
  return <bdi title={email}>{useNames()(email)}</bdi>;
}
