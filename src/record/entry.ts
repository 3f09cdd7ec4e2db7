import type {
  Conversation,
  EmailAddress,
  Instant,
  Message,
  MessageRecord,
  Rev,
  Salts,
  Seq,
  ValueName,
} from '../model.ts';
import { commitment, newSalt } from './commitment.ts';

/** The version of the format of entries and leaves. */
export const FORMAT = 1;

type EntryType = 'ADDED' | 'EDITED' | 'REDACTED' | 'IMPORTED';

/** The statement of the record about one `rev` of a conversation; it never changes. */
export interface Entry {
  readonly rev: Rev;
  readonly type: EntryType;
  /** Number of the message; 0 where the record does not know it. */
  readonly seq: Seq;
  readonly at: Instant;
  /** The member that made the change; empty where the record does not know it. */
  readonly by: EmailAddress | '';
  /** In the order of `ValueName`. */
  readonly values: readonly Value[];
}

/** A value that an entry commits to. */
interface Value {
  readonly name: ValueName;
  readonly commitment: string;
  /** The salt in lower-case hex, and the value; null once erased. */
  readonly disclosed: { readonly salt: string; readonly value: string } | null;
}

/** The part of a conversation that the entries of its messages need. */
export type Opened = Pick<
  Conversation,
  'id' | 'configId' | 'subject' | 'party' | 'createdAt' | 'members' | 'importedRev'
>;

/** The values of a message, or of its conversation's opening, that have a salt in its `record`. */
type ValuesOf = Readonly<Partial<Record<ValueName, string | null | undefined>>>;

/** Salts for the values of a new message. */
export function newSalts(
  { addedRev, replyToSeq, clientId, origin }: Pick<Message, 'addedRev' | 'replyToSeq' | 'clientId' | 'origin'>,
  changes: MessageRecord['changes'],
): Salts {
  return {
    text: newSalt(),
    ...(addedRev === 1 && { opening: newSalt() }),
    ...(replyToSeq !== null && { reply: newSalt() }),
    ...(clientId !== null && { client: newSalt() }),
    ...(changes && { changes: newSalt() }),
    ...(origin && { source: newSalt() }),
  };
}

/**
 * A message of an earlier version as it enters the record: it commits to what is known, its first text and its present
 * one included. The hash of a deleted text goes, as it was made without a key.
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

/** JSON in its canonical spelling (RFC 8785), of texts, whole numbers, nulls, lists and objects. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, one) =>
    one !== null && typeof one === 'object' && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)))
      : one,
  );
}

/** The exact text of an entry, which is hashed as a leaf of the conversation's ledger; ASCII. */
export function entryText(conversation: Pick<Conversation, 'id'>, { rev, type, seq, at, by, values }: Entry): string {
  const commitments = values.map(({ name, commitment }) => [name, commitment]);
  return JSON.stringify([FORMAT, conversation.id, rev, type, seq, at, by, commitments]);
}

/** The entry of a change of which nothing is known but that it was before the record began. */
export function unknownEntry(rev: Rev): Entry {
  return { rev, type: 'IMPORTED', seq: 0, at: 0, by: '', values: [] };
}

/**
 * The entries of a message, ascending by `rev`: its addition, its edits, its redaction.
 * @throws Error while the message has no `record`
 */
export function entriesOf(message: Message, conversation: Opened): Entry[] {
  const { record, seq, rev, addedRev, sentAt, sender, editedAt, redactedAt, revisions, text } = message;
  if (!record) throw new Error(`message ${seq} of ${conversation.id} is not in the record yet`);
  const { salts, erased = [], changes, redactedBy = '' } = record;
  const values: ValuesOf = {
    text: redactedAt === null ? text : undefined,
    opening: addedRev === 1 ? openingOf(conversation) : undefined,
    reply: message.replyToSeq?.toString(),
    client: message.clientId,
    changes: changes && canonicalJson(changes),
    reason: message.redactionReason,
    source: message.origin && canonicalJson(message.origin),
  };
  const sealed = (name: ValueName, salt = salts[name], value = values[name]): Value[] =>
    salt === undefined || value == null
      ? []
      : [{ name, commitment: commitment(Buffer.from(salt, 'hex'), value), disclosed: { salt, value } }];

  const texts: { readonly rev: Rev; readonly at: Instant; readonly values: readonly Value[] }[] = erased.map(
    ({ rev, at, commitment }) => ({ rev, at, values: [{ name: 'text', commitment, disclosed: null }] }),
  );
  for (const [index, { rev, salt, text }] of revisions.entries()) {
    const at = revisions[index - 1]?.at ?? sentAt;
    if (salt !== null) texts.push({ rev, at, values: sealed('text', salt, text) });
  }
  if (redactedAt === null) texts.push({ rev, at: editedAt ?? sentAt, values: sealed('text') });

  const isImported = (rev: Rev) => rev <= conversation.importedRev;
  const [first] = texts[0]?.rev === addedRev ? texts.splice(0, 1) : [];
  const entries: Entry[] = [
    {
      ...{ rev: addedRev, seq, at: sentAt, by: sender },
      type: isImported(addedRev) || message.origin ? 'IMPORTED' : 'ADDED',
      values: [
        ...(first?.values ?? []),
        ...(['opening', 'reply', 'client', 'changes', 'source'] as const).flatMap((name) => sealed(name)),
      ],
    },
  ];
  for (const { rev, at, values } of texts)
    entries.push({ rev, type: isImported(rev) ? 'IMPORTED' : 'EDITED', seq, at, by: sender, values });
  if (redactedAt !== null)
    entries.push({
      ...{ rev, type: isImported(rev) ? 'IMPORTED' : 'REDACTED', seq, at: redactedAt, by: redactedBy },
      values: sealed('reason'),
    });
  return entries;
}

/** Only the members that the key names joined at the time of the opening. */
function openingOf({ configId, subject, party, createdAt, members }: Opened): string {
  const named = [...members.values()].filter(({ joinedAt }) => joinedAt === createdAt).map(({ email }) => email);
  return canonicalJson({ configId, members: named.sort(), subject, party });
}
