import { BSON, ObjectId } from 'mongodb';
import { codePoints, MAX_TEXT_LENGTH } from '../../chat/rules/text-length.ts';
import { checkMessageText, checkName } from '../../chat/rules/validation.ts';
import { type EmailAddress, parseEmail } from '../../model.ts';
import { instantIn } from './time.ts';

/**
 * Fields of the documents of the older chat, in both generations of their shapes. Every field may be missing or hold
 * another type: the functions below say what is taken, and throw an Error with the reason of a refusal.
 */

export interface Reading {
  /** IANA name of the zone of times without one. */
  readonly timeZone: string;
  /** Addresses by the name that stands for them in the source, in lower case. */
  readonly addresses: ReadonlyMap<string, string>;
  /** Whether texts over the limit become several messages. */
  readonly splitLong: boolean;
}

/** A message of the source. */
export interface SourceMessage {
  readonly sender: EmailAddress;
  /** Several where a long text is split. */
  readonly texts: readonly string[];
  /** The time as the source spells it; of a date, RFC 3339. */
  readonly time: string;
  /** Members that have read the message; or, in the older generation, whether a member has. */
  readonly readers: ReadonlySet<EmailAddress> | boolean;
}

/** The address of a member or sender. */
export function addressOf(value: unknown, name: string, { addresses }: Reading): EmailAddress {
  const text = typeof value === 'string' ? value.trim() : '';
  const email = parseEmail(addresses.get(text.toLowerCase()) ?? text);
  if (!email) throw new Error(`\`${name}\` must be an e-mail address; got ${shown(value)}`);
  return email;
}

/** `_id` as text: of an ObjectId its hex digits; of anything else its Extended JSON, so that no two are alike. */
export function documentIdOf(value: unknown): string {
  return value instanceof ObjectId ? value.toHexString() : BSON.EJSON.stringify(value, { relaxed: false });
}

export function configIdOf(value: unknown): string {
  const text = value instanceof ObjectId ? value.toHexString() : value;
  if (typeof text !== 'string') throw new Error(`\`config_id\` must be a string; got ${shown(value)}`);
  return checkUtf8('config_id', text);
}

/** The source's bytes that are not UTF-8 come as U+FFFD. */
function checkUtf8(name: string, text: string): string {
  if (text.includes('\ufffd')) throw new Error(`\`${name}\` must be UTF-8, without U+FFFD`);
  return text;
}

/** Null for "", null and a missing one; of a list of `{label, xpath}`, the labels. Throws where it is no name. */
export function subjectOf(value: unknown): string | null {
  if (!Array.isArray(value)) return nameOf('subject', value, 200);
  const labels = value.map((entry) => nameOf('subject', entry?.label, 200));
  return nameOf('subject', labels.filter((label) => label !== null).join(', '), 200);
}

/** Null for "", null and a missing one. Throws where it is no name. */
export function partyOf(value: unknown): string | null {
  return nameOf('party', value, 64);
}

function nameOf(name: string, value: unknown, max: number): string | null {
  if (value == null || value === '') return null;
  if (typeof value === 'object') throw new Error(`\`${name}\` must be a string; got ${shown(value)}`);
  const text = String(value);
  if (codePoints(text) > max) throw new Error(`\`${name}\` must be up to ${max} code points long`);
  return checkName(name, checkUtf8(name, text));
}

/** The years that RFC 3339 has: 0000 to 9999. */
const [FIRST, END] = [Date.parse('0000-01-01T00:00:00Z'), Date.parse('+010000-01-01T00:00:00Z')];

/** The time of a message, which orders the messages of merged documents. */
export function timeOf(value: unknown, { timeZone }: Reading): { readonly at: number; readonly time: string } {
  const at = value instanceof Date ? value.getTime() : typeof value === 'string' ? instantIn(timeZone, value) : null;
  if (at === null || !(at >= FIRST && at < END))
    throw new Error(`\`time\` must be a date or YYYY-MM-DDTHH:MM:SS.ffffff; got ${shown(value)}`);
  return { at, time: value instanceof Date ? value.toISOString() : String(value) };
}

export function messageOf(fields: Readonly<Record<string, unknown>>, reading: Reading): SourceMessage {
  const { text, sender, time, is_read } = fields;
  if (typeof text !== 'string') throw new Error(`\`text\` must be a string; got ${shown(text)}`);
  return {
    sender: addressOf(sender, 'sender', reading),
    texts: (reading.splitLong ? split(text, MAX_TEXT_LENGTH) : [text]).map(checkMessageText),
    time: timeOf(time, reading).time,
    readers: Array.isArray(is_read) ? readersOf(is_read, reading) : is_read === true,
  };
}

function readersOf(list: readonly unknown[], { addresses }: Reading): Set<EmailAddress> {
  const names = list.filter((name) => typeof name === 'string').map((name) => name.trim());
  const emails = names.map((name) => parseEmail(addresses.get(name.toLowerCase()) ?? name));
  return new Set(emails.filter((email) => email !== null));
}

/** Parts of at most `max` code points. */
function split(text: string, max: number): string[] {
  if (codePoints(text) <= max) return [text];
  const points = [...text];
  const parts: string[] = [];
  for (let from = 0; from < points.length; from += max) parts.push(points.slice(from, from + max).join(''));
  return parts;
}

/** A value of the source for the report: its type, and the beginning of a short text. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  return value === null || value === undefined ? String(value) : typeof value;
}
