import { createHash } from 'node:crypto';
import type { FirstTexts } from '../../src/chat/log/change-set.ts';
import {
  type Conversation,
  type ConversationId,
  conversationId,
  type EmailAddress,
  type Message,
  type MessageRecord,
  NO_OPTIONS,
  parseEmail,
  unreadOf,
} from '../../src/model.ts';
import { commitment } from '../../src/record/commitment.ts';
import { newSalts } from '../../src/record/entry.ts';
import type { ChatListFilter, Store, Write } from '../../src/store/store.ts';

export function email(name: string): EmailAddress {
  const parsed = parseEmail(`${name}@example.com`);
  if (!parsed) throw new Error(`${name} makes no address`);
  return parsed;
}

export const [ANN, BOB, CAT] = [email('ann'), email('bob'), email('cat')];
export const EVERYTHING: ChatListFilter = {
  configId: null,
  status: null,
  label: null,
  unreadOnly: false,
  archived: false,
};

/** A message as the appender would build it. */
export function message(conversation: ConversationId, seq: number, values: Partial<Message> = {}): Message {
  const made: Omit<Message, 'record'> & Partial<Message> = {
    ...{ conversationId: conversation, seq, rev: seq, kind: 'TEXT', sender: ANN, text: `m${seq}`, ...NO_OPTIONS },
    ...{ sentAt: 1000 + seq, editedAt: null, redactedAt: null, revisions: [] },
    ...{ addedRev: values.rev ?? seq, redactionReason: null, firstTextHash: null, origin: null },
    ...values,
  };
  const salts = Object.keys(newSalts(made, undefined)).map((name) => [name, saltOf(`${seq} ${name}`)]);
  return { record: { salts: Object.fromEntries(salts) }, ...made };
}

/** The same salt for the same value. */
const saltOf = (value: string) => createHash('md5').update(value).digest('hex');

/** Hashes of first texts that do not hide them. */
export const FIRST_TEXTS: FirstTexts = {
  hashFirstText: (id, text) => `${id} ${text}`,
  isFirstText: (hash, id, text) => hash === `${id} ${text}`,
};

/** The `record` of a message. */
function recordOf({ record }: Message): MessageRecord {
  if (!record) throw new Error('the message is not in the record');
  return record;
}

/** A write of `count` messages after `after`; with 0, one that opens the conversation of `configId`. */
export function writeOf(
  configId: string,
  members: EmailAddress[],
  after: number,
  count = 1,
  values: Partial<Message> = {},
): Write {
  const conversation = conversationId({ configId, members: [...members].sort() });
  return {
    conversation,
    afterRev: after,
    opening: after === 0 ? { configId, subject: null, party: null, members: [...members].sort() } : null,
    messages: Array.from({ length: count }, (_, i) => message(conversation, after + i + 1, values)),
    changed: [],
    state: null,
    members: [],
    roles: new Map(),
  };
}

/** When messages are changed in these tests. */
const NOW = 50_000;

/** A write on the given state that does nothing yet. */
export function writeOn({ id, lastRev }: Pick<Conversation, 'id' | 'lastRev'>, values: Partial<Write>): Write {
  return {
    ...{ conversation: id, afterRev: lastRev, opening: null, messages: [], changed: [], state: null, members: [] },
    roles: new Map(),
    ...values,
  };
}

/** How many messages the reader, a member, has not read. */
export async function unreadIn(store: Store, id: ConversationId, reader: EmailAddress): Promise<number> {
  const conversation = await store.conversation(id);
  const member = conversation?.members.get(reader);
  if (!conversation || !member) throw new Error(`${reader} is no member`);
  return unreadOf(conversation, member);
}

/** A state without its last message, which is not always read with it. */
export function withoutLast<C extends Pick<Conversation, 'lastMessage'>>({ lastMessage, ...rest }: C) {
  return rest;
}

export function edited(before: Message, rev: number, text: string): Message {
  const { salts } = recordOf(before);
  const replaced = { text: before.text, editor: before.sender, at: NOW, rev: before.rev, salt: salts.text ?? null };
  const record = { ...recordOf(before), salts: { ...salts, text: saltOf(`${rev} text`) } };
  return { ...before, rev, text, editedAt: NOW, revisions: [...before.revisions, replaced], record };
}

export function redacted(before: Message, rev: number): Message {
  const { text: salt = '', ...salts } = recordOf(before).salts;
  const texts = [...before.revisions, { text: before.text, rev: before.rev, salt }];
  const erased = texts.map(({ text, rev, salt }) => ({
    ...{ rev, at: NOW, commitment: commitment(Buffer.from(salt ?? '', 'hex'), text) },
  }));
  const record = { salts: { ...salts, reason: saltOf(`${rev} reason`) }, redactedBy: BOB, erased };
  const gone = { text: '', revisions: [], redactedAt: NOW, redactionReason: 'a slip', firstTextHash: 'h' };
  return { ...before, rev, ...gone, record };
}
