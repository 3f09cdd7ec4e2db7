import { type ConversationId, type ConversationKey, type EmailAddress, parseId, type Viewer } from '../../model.ts';
import type { Opening } from '../../store/store.ts';
import { badInput, notFound } from './errors.ts';
import { codePoints, MAX_TEXT_LENGTH } from './text-length.ts';

/** Present members of a conversation, at most. */
export const MAX_MEMBERS = 1024;

/** A conversation as a client names it, not yet checked: exactly one of the two. */
export type ConversationRef =
  | { readonly id: string; readonly key?: null | undefined }
  | { readonly id?: null | undefined; readonly key: ConversationKey };

/**
 * Text that every store keeps byte for byte: well-formed Unicode without U+0000, `min` to `max` code points.
 * @throws ChatError BAD_USER_INPUT naming the value, never quoting it
 */
export function checkText(name: string, text: string, min: number, max: number): string {
  if (!text.isWellFormed()) throw badInput(`\`${name}\` must be well-formed Unicode; it holds a lone surrogate.`);
  if (text.includes('\0')) throw badInput(`\`${name}\` must not hold the character U+0000.`);
  const length = codePoints(text);
  if (length < min || length > max)
    throw badInput(`\`${name}\` must be ${min} to ${max} code points long; got ${length}.`);
  return text;
}

/** As `checkText`; null and undefined both mean absent. */
export function checkOptional(name: string, text: string | null | undefined, min: number, max: number): string | null {
  return text == null ? null : checkText(name, text, min, max);
}

/** Characters that are invisible in any place: those that Unicode lists as ignorable, and a few more. */
const IGNORABLE = String.raw`\p{Default_Ignorable_Code_Point}\ufff9-\ufffb\u{16fe4}\u{1d159}`;
/** A text of these alone is invisible. U+2800 is the space of Braille. */
const INVISIBLE_TEXT = new RegExp(`^[\\p{White_Space}\\u2800${IGNORABLE}]+$`, 'u');

export function checkMessageText(text: string): string {
  checkText('text', text, 1, MAX_TEXT_LENGTH);
  if (INVISIBLE_TEXT.test(text)) throw badInput('`text` must hold more than white space and invisible characters.');
  return text;
}

const ARABIC = String.raw`[\p{Script=Arabic}\p{Script=Syriac}]`;
const UNSPACED = String.raw`[\p{Script=Khmer}\p{Script=Lao}\p{Script=Myanmar}\p{Script=Thai}]`;
/** The tag characters that follow U+1F3F4 in the flags of England, Scotland and Wales. */
const asTags = (code: string) => code.replace(/./g, (letter) => `\\u{e00${letter.charCodeAt(0).toString(16)}}`);
/** The Indic signs that form conjuncts, where a joiner selects one of two spellings. */
const VIRAMA = String.raw`[\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca]`;
/**
 * Invisible characters in places where they change the rendering: joiners and break points in words; joiners, variants
 * and flags of emoji.
 */
const MEANINGFUL = [
  String.raw`(?<=${VIRAMA})[\u200c\u200d]`,
  // Bengali ya-phalaa, and a reph with it.
  String.raw`(?<=\u09b0)\u200d(?=\u09cd\u09af)`,
  String.raw`(?<=${ARABIC})[\u200c\u200d](?=${ARABIC})`,
  String.raw`(?<=${UNSPACED})\u200b(?=${UNSPACED})`,
  String.raw`(?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d(?=\p{Extended_Pictographic})`,
  String.raw`(?<=\p{Extended_Pictographic})[\ufe0e\ufe0f]`,
  String.raw`(?<=[0-9#*])\ufe0f(?=\u20e3)`,
  String.raw`(?<=\u{1f3f4})(?:${['gbeng', 'gbsct', 'gbwls'].map(asTags).join('|')})\u{e007f}`,
  String.raw`(?<=\p{Script=Han})[\ufe00-\ufe02\u{e0100}-\u{e01ef}]`,
  String.raw`(?<=\p{Script=Mongolian})[\u180b-\u180f]`,
].join('|');
/** Invisible characters; its group matches the meaningful ones. */
const INVISIBLE = new RegExp(`(${MEANINGFUL})|[\\p{Bidi_Control}${IGNORABLE}]`, 'gu');
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}]/u;

/**
 * A name, which is shown in one line beside other text: it can neither change the direction of that text nor differ
 * invisibly from another name. Its length is checked already.
 * @throws ChatError BAD_USER_INPUT naming the value, never quoting it
 */
export function checkName(name: string, value: string): string {
  if (UNPRINTABLE.test(value)) throw badInput(`\`${name}\` must not hold control characters or line breaks.`);
  if (INVISIBLE_TEXT.test(value))
    throw badInput(`\`${name}\` must hold more than white space and invisible characters.`);
  if ([...value.matchAll(INVISIBLE)].some(([, meaningful]) => meaningful === undefined))
    throw badInput(`\`${name}\` must not hold characters that are invisible or change the direction of text.`);
  return value;
}

/** The text with its invisible characters as JSON escapes, but for the meaningful ones. */
export function escapeInvisible(text: string): string {
  return text.replace(
    INVISIBLE,
    (character: string, meaningful: string | undefined) => meaningful ?? escaped(character),
  );
}

function escaped(character: string): string {
  const units = character.split('').map((unit) => unit.charCodeAt(0).toString(16).padStart(4, '0'));
  return units.map((unit) => `\\u${unit}`).join('');
}

/** White space other than single spaces between words, and characters that look like a space or are invisible. */
const STRAY_SPACE = /^ | $| {2}|[^\S ]|[\u200b\u2800]/u;

/**
 * An identifying name: it has one spelling, so that no two differ in encoding or white space alone.
 * @throws ChatError BAD_USER_INPUT naming the value, never quoting it
 */
function checkIdentifier(name: string, value: string): string {
  checkName(name, value);
  if (value !== value.normalize('NFC') || STRAY_SPACE.test(value))
    throw badInput(
      `\`${name}\` must be in Unicode normalization form C, with single spaces between words as its only white space.`,
    );
  return value;
}

/**
 * Checks the names of a new conversation. An existing one is reached by its key without this check.
 * @throws ChatError BAD_USER_INPUT naming the value, never quoting it
 */
export function checkOpening({ configId, subject, party }: Omit<Opening, 'members'>): void {
  checkIdentifier('configId', configId);
  if (subject !== null) checkName('subject', subject);
  if (party !== null) checkName('party', party);
}

/** The key in canonical form: members sorted, without repeats. */
export function checkKey(configId: string, members: readonly EmailAddress[]): ConversationKey {
  checkText('configId', configId, 1, 128);
  const distinct = [...new Set(members)].sort();
  if (distinct.length < 2 || distinct.length > MAX_MEMBERS) {
    throw badInput(`\`members\` must hold 2 to ${MAX_MEMBERS} different addresses; got ${distinct.length}.`);
  }
  return { configId, members: distinct };
}

/** As `checkKey`, of a conversation that has the viewer as a member. */
export function checkOwnKey(viewer: Viewer, { configId, members }: ConversationKey): ConversationKey {
  const key = checkKey(configId, members);
  if (!key.members.includes(viewer.email)) throw badInput('`members` must include your own address.');
  return key;
}

export function checkPosition(name: string, position: number, last: number): number {
  if (position < 0 || position > last) throw badInput(`\`${name}\` must be between 0 and ${last}; got ${position}.`);
  return position;
}

/** Labels to add, without repeats. */
export function checkLabels(labels: readonly string[] | null | undefined): string[] {
  return checkLabelLengths(labels).map((label) => checkIdentifier('label', label));
}

/** Labels to remove, without repeats: stored ones may be older than the rules for new ones. */
export function checkLabelLengths(labels: readonly string[] | null | undefined): string[] {
  return [...new Set(labels ?? [])].map((label) => checkText('label', label, 1, 40));
}

/** Reads the id of a conversation; null for anything else. */
export function conversationOf(id: string): ConversationId | null {
  const parsed = parseId(id);
  return parsed && parsed.seq === null ? parsed.conversationId : null;
}

/** The id of a conversation, which need not exist. @throws ChatError NOT_FOUND for anything else */
export function requireId(id: string): ConversationId {
  const parsed = conversationOf(id);
  if (!parsed) throw notFound();
  return parsed;
}
