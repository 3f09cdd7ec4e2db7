import type { EmailAddress, Seq } from '../../model.ts';

/** Read positions as far as a source proves them. */
export interface ReadPositions {
  /** Adds the next message of the source, stored at these numbers, with the members that have read it. */
  add(seqs: readonly Seq[], sender: EmailAddress, readers: ReadonlySet<EmailAddress> | boolean): void;
  /** The newest message up to which the source proves that a member has read all; members without one are left out. */
  all(): ReadonlyMap<EmailAddress, Seq>;
}

/**
 * A member's position goes on as long as it sent or read each message. `true` for the readers says that a member has
 * read the message: with two members, that is the one that did not send it. A message that is not of the source ends
 * all positions, as nothing is known of it.
 */
export function createReadPositions(members: readonly EmailAddress[]): ReadPositions {
  const positions = new Map<EmailAddress, Seq>();
  const going = new Set(members);
  let last = 0;
  return {
    add(seqs, sender, readers) {
      if (seqs[0] !== last + 1) going.clear();
      last = seqs.at(-1) ?? last;
      for (const member of going) {
        const read = typeof readers === 'boolean' ? readers && members.length === 2 : readers.has(member);
        if (read || member === sender) positions.set(member, last);
        else going.delete(member);
      }
    },
    all: () => positions,
  };
}
