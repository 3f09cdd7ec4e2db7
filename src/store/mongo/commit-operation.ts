import type { AnyBulkWriteOperation, Document, ObjectId } from 'mongodb';
import { type EmailAddress, inOrder, newMember, type Rev } from '../../model.ts';
import { revAfter, type Write } from '../store.ts';
import { countsOf } from '../unread-counters.ts';
import { type ConversationDocument, type MessageDocument, toWritten } from './documents.ts';

/** A write, and the messages its conversation's document carries. */
interface Commit {
  readonly write: Write;
  /** Identifies the write. */
  readonly mark: ObjectId;
  /** Whether a conversation that it opens is in the record from its first message on. */
  readonly begun: boolean;
  /** The `importedRev` that the conversation must have, null for none; undefined for any. */
  readonly importedRev?: Rev | null;
  /** The new messages, and the changed ones. */
  readonly documents: readonly MessageDocument[];
  readonly changed: readonly MessageDocument[];
  /** Messages of earlier writes that are not moved yet. */
  readonly carried: { readonly tail: readonly MessageDocument[]; readonly changed: readonly MessageDocument[] };
}

/** The one write of one document that commits. */
export function commitOperation({
  write,
  mark,
  begun,
  importedRev,
  documents,
  changed,
  carried,
}: Commit): AnyBulkWriteOperation<ConversationDocument> {
  const { conversation: _id, afterRev, opening, roles, state, members } = write;
  const newest = documents.at(-1);
  const { counted, sent, redacted } = countsOf(write);
  const isComputed = members.length > 0 || redacted.length > 0;
  const log = {
    lastRev: revAfter(write),
    written: toWritten(write, isComputed),
    tail: [...carried.tail, ...documents],
    changed: [...carried.changed, ...changed],
  };
  if (opening) {
    const marked = write.isPartial ? {} : { unregistered: mark };
    const record = begun
      ? { importedRev: opening.importedRev ?? 0, record: marked }
      : { record: { ...marked, unbegun: true as const } };
    return { insertOne: { document: { ...opened(write, opening), ...record, ...log } } };
  }
  const set = {
    ...log,
    ...(!write.isPartial && { 'record.unregistered': mark }),
    ...(members.some(({ joined }) => joined) && { 'record.unsealed': mark }),
    ...(newest && { lastSeq: newest.seq, lastActivityAt: newest.sentAt }),
    ...(state && { ...state, labels: [...state.labels] }),
  };
  const filter = {
    _id,
    lastRev: afterRev,
    ...(importedRev !== undefined && { importedRev: importedRev ?? { $exists: false } }),
  };
  const unarchives = documents.some(({ counts }) => counts);
  // An update pipeline costs the whole document in the oplog, so it is used only here.
  if (isComputed) {
    const computed = { counted: { $add: ['$counted', counted] }, members: membersAfter(write, unarchives) };
    return { updateOne: { filter, update: [{ $set: { ...literal(set), ...computed } }] } };
  }
  const known = [...roles].map(([email, role], i) => ({ name: `m${i}`, email, role }));
  const senders = [...sent].map(([email, more], i) => ({ name: `s${i}`, email, more }));
  const update = {
    $set: {
      ...set,
      ...Object.fromEntries(known.map(({ name, role }) => [`members.$[${name}].role`, role])),
      ...(unarchives && { 'members.$[back].archived': false }),
    },
    ...(counted > 0 && {
      $inc: { counted, ...Object.fromEntries(senders.map(({ name, more }) => [`members.$[${name}].sent`, more])) },
    }),
  };
  const arrayFilters = [
    ...[...known, ...senders].map(({ name, email }) => ({ [`${name}.email`]: email })),
    ...(unarchives ? [{ 'back.archived': true, 'back.muted': false }] : []),
  ];
  return { updateOne: { filter, update, ...(arrayFilters.length > 0 && { arrayFilters }) } };
}

function opened(write: Write, { configId, subject, party, members: emails }: NonNullable<Write['opening']>) {
  const { conversation: _id, messages, roles } = write;
  const { counted, sent } = countsOf(write);
  const createdAt = messages[0]?.sentAt ?? 0;
  const { seq: lastSeq = 0, sentAt: lastActivityAt = createdAt } = messages.at(-1) ?? {};
  const members = emails.map((email) => ({
    ...newMember(email, createdAt),
    ...{ role: roles.get(email) ?? null, sent: sent.get(email) ?? 0 },
  }));
  const state = { status: 'OPEN' as const, labels: [], assignee: null };
  return { _id, configId, subject, party, ...state, createdAt, lastActivityAt, lastSeq, counted, members };
}

/** An expression for the members after joins, leaves or redactions; keeps concurrent changes of read positions. */
function membersAfter(write: Write, unarchives: boolean): Document {
  const { members: changes, roles } = write;
  const { sent, redacted } = countsOf(write);
  const isOneOf = (emails: readonly EmailAddress[]) => ({ $in: ['$$member.email', { $literal: emails }] });
  const isUnarchived = { $and: ['$$member.archived', { $not: '$$member.muted' }] };
  // Members with the same change share one expression: each expression is evaluated for each member.
  const alike = new Map<string, EmailAddress[]>();
  for (const { email, joined, leftAt } of changes) {
    const { email: _, role, sent, ...fresh } = newMember(email, joined?.at ?? 0);
    const becomes = JSON.stringify(
      joined ? { ...fresh, readSeq: joined.readSeq, seen: joined.seen, leftAt } : { leftAt },
    );
    alike.set(becomes, [...(alike.get(becomes) ?? []), email]);
  }
  const seenOfRedacted = redacted.map(({ seq, sender }) => {
    const saw = { $and: [{ $gte: ['$$member.readSeq', seq] }, { $not: isOneOf([sender]) }] };
    return { $cond: [saw, 1, 0] };
  });
  const patches = [
    ...(redacted.length > 0 ? [{ seen: { $subtract: ['$$member.seen', { $add: seenOfRedacted }] } }] : []),
    ...[...sent].map(([email, more]) => ({
      $cond: [isOneOf([email]), { sent: { $add: ['$$member.sent', more] } }, {}],
    })),
    ...(unarchives ? [{ $cond: [isUnarchived, { archived: false }, {}] }] : []),
    ...[...roles].map(([email, role]) => ({ $cond: [isOneOf([email]), { role }, {}] })),
    ...[...alike].map(([becomes, emails]) => ({ $cond: [isOneOf(emails), { $literal: JSON.parse(becomes) }, {}] })),
  ];
  const joining = changes.flatMap(({ email, joined, leftAt }) =>
    joined
      ? [
          {
            ...newMember(email, joined.at),
            ...{ role: roles.get(email) ?? null, sent: sent.get(email) ?? 0 },
            ...{ readSeq: joined.readSeq, seen: joined.seen, leftAt },
          },
        ]
      : [],
  );
  return {
    $concatArrays: [
      { $map: { input: '$members', as: 'member', in: { $mergeObjects: ['$$member', ...patches] } } },
      {
        $filter: {
          input: { $literal: inOrder(joining) },
          as: 'member',
          cond: { $not: { $in: ['$$member.email', '$members.email'] } },
        },
      },
    ],
  };
}

/** Literal values for a pipeline, where a string that begins with a dollar sign would be an expression. */
function literal(values: object): Document {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { $literal: value }]));
}
