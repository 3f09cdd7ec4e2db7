import type { Message } from '../model.ts';
import { newSalt } from './commitment.ts';
import { newSalts } from './entry.ts';

/**
 * What a message becomes that was stored before the record began: it commits to what is known, its first text and its
 * present one included. The hash of a deleted text goes, as it was made without a key.
 */
export function begin(message: Message): Pick<Message, 'record' | 'revisions' | 'firstTextHash'> {
  const { text, ...others } = newSalts(message, undefined);
  const isRedacted = message.redactedAt !== null;
  return {
    record: {
      salts: isRedacted ? { ...others, reason: newSalt() } : { ...(text !== undefined && { text }), ...others },
    },
    revisions: message.revisions.map((revision, index) =>
      index === 0 ? { ...revision, rev: message.addedRev, salt: newSalt() } : { ...revision, rev: 0, salt: null },
    ),
    firstTextHash: null,
  };
}
