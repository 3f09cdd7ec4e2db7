import { createHash } from 'node:crypto';
import { areAscending, type Entry, failUnless, isAddress, NAMES, placeOf } from './shapes.ts';

/** State of a conversation after its entries so far. */
export interface Course {
  /** Number of messages. */
  readonly messages: number;
  /** The `rev` of the first redaction of a message; undefined for none. */
  redactedAt(seq: number): number | undefined;
  /** Takes the next entry. @throws Fault when it may not stand here */
  take(entry: Entry): void;
}

const isList = (names: readonly string[], ...allowed: readonly string[]) => allowed.includes(names.join());

/** Follows a conversation from its begin. */
export function createCourse(): Course {
  let [messages, onlyImported] = [0, true];
  const redacted = new Map<number, number>();

  function isAllowed({ rev, type, seq, at, by }: Entry, names: readonly string[]): boolean {
    const isAdded = seq === messages + 1;
    const isKnown = seq >= 1 && seq <= messages;
    const isOpen = isKnown && !redacted.has(seq);
    const hasOpening = names.includes('opening') === (rev === 1);
    switch (type) {
      case 'ADDED':
        return isAdded && hasOpening && names[0] === 'text' && !names.includes('reason') && !names.includes('source');
      case 'EDITED':
        return isOpen && isList(names, 'text');
      case 'REDACTED':
        return isOpen && isList(names, 'reason');
      case 'ERASED':
        return isKnown && isList(names, '', 'reason');
      case 'IMPORTED':
        if (seq === 0) return at === 0 && by === '' && names.length === 0;
        return isAdded ? hasOpening && !names.includes('reason') : isOpen && isList(names, '', 'text', 'reason');
    }
  }

  return {
    get messages() {
      return messages;
    },
    redactedAt: (seq) => redacted.get(seq),
    take(entry) {
      const { rev, type, seq, by, values } = entry;
      const place = placeOf(entry);
      const names = values.map(([name]) => name);
      const order = names.map((name) => NAMES.indexOf(name));
      failUnless(
        order.every((position, i) => i === 0 || (order[i - 1] ?? 0) < position),
        place,
        'names are not in order',
      );
      failUnless(rev > 1 || seq === 1, place, 'the first entry adds no message');
      failUnless(by !== '' || type === 'IMPORTED', place, 'an entry without its author');
      failUnless(isAllowed(entry, names), place, 'an entry that cannot stand here');
      const isAdded = seq === messages + 1;
      if (type !== 'IMPORTED') onlyImported = false;
      else failUnless(onlyImported || (isAdded && names.includes('source')), place, 'imported after the begin');
      const isRedaction = type === 'REDACTED' || type === 'ERASED' || (type === 'IMPORTED' && !isList(names, 'text'));
      if (isAdded) messages++;
      else if (isRedaction && seq > 0 && !redacted.has(seq)) redacted.set(seq, rev);
    },
  };
}

/** Checks the value of an `opening`: it gives the id of its conversation. @throws Error, Fault */
export function checkOpening(place: string, id: string, value: string, onlyConfig: string | null): void {
  const { configId, members, party, subject } = JSON.parse(value);
  const isText = (text: unknown) => text === null || (typeof text === 'string' && !/\p{Surrogate}/u.test(text));
  const areMembers = Array.isArray(members) && members.every(isAddress) && areAscending(members);
  failUnless(
    configId !== null && [configId, party, subject].every(isText) && areMembers,
    place,
    'not an opening of a conversation',
  );
  const canonical = JSON.stringify({ configId, members, party, subject });
  failUnless(canonical === value, place, 'the opening is not spelt as canonical JSON');
  const key = createHash('sha256').update(JSON.stringify([configId, ...members]));
  failUnless(`c_${key.digest('base64url')}` === id, place, 'the opening is not that of the conversation');
  failUnless(onlyConfig === null || configId === onlyConfig, place, 'the conversation is not of the scope');
}
