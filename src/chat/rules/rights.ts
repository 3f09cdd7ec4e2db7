/**
 * The rights that not every member has, for the server, which enforces them, and for the page, which hides what the
 * viewer may not do. A role is the one that the viewer's credential names. This file imports nothing.
 */

interface Person {
  readonly email: string;
  readonly role?: string | null;
}

interface Entry {
  readonly kind: string;
  readonly sender: string;
}

interface Membership extends Person {
  /** Null for a present member. */
  readonly leftAt: unknown;
}

const isBank = ({ role }: Pick<Person, 'role'>): boolean => role === 'BANK';

/** Whether the viewer may edit a message. */
export const mayEdit = ({ email }: Person, { kind, sender }: Entry): boolean => kind === 'TEXT' && sender === email;

/** Whether the viewer may redact a message. */
export const mayRedact = (viewer: Person, message: Entry): boolean =>
  mayEdit(viewer, message) || (message.kind === 'TEXT' && isBank(viewer));

/** Whether the viewer may remove a member from a conversation. */
export const mayRemove = (viewer: Person, member: string): boolean => viewer.email === member || isBank(viewer);

/**
 * Whether the viewer may close a conversation, and reopen it: a bank member may; the others may where no bank member is
 * present. The role of another member is the one last seen; that of the viewer, if named, the present credential's.
 */
export const mayClose = (viewer: Person, members: Iterable<Membership>): boolean =>
  isBank(viewer) ||
  ![...members].some(
    (member) => member.leftAt === null && isBank(member.email === viewer.email && viewer.role ? viewer : member),
  );
