import type { ConversationKey, EmailAddress } from '../model.ts';
import { badInput } from './errors.ts';

/** The number of code points, cheap where it can be. */
export function codePoints(text: string): number {
  let length = text.length;
  for (let i = 0; i < text.length - 1; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit < 0xdc00) length--;
  }
  return length;
}

/**
 * Text that every store keeps byte for byte: well-formed Unicode without U+0000, `min` to `max` code points.
 * @throws ChatError BAD_USER_INPUT naming the value, never quoting it
 */
export function checkText(name: string, text: string, min: number, max: number): string {
  if (!text.isWellFormed()) throw badInput(`${name} is not well-formed Unicode: it holds a lone surrogate.`);
  if (text.includes('\0')) throw badInput(`${name} holds the character U+0000.`);
  const length = codePoints(text);
  if (length < min || length > max)
    throw badInput(`${name} is to be ${min} to ${max} code points long; it is ${length}.`);
  return text;
}

/** As `checkText`; null and undefined are both absent. */
export function checkOptional(name: string, text: string | null | undefined, min: number, max: number): string | null {
  return text == null ? null : checkText(name, text, min, max);
}

export function checkMessageText(text: string): string {
  checkText('text', text, 1, 10_000);
  if (text.trim() === '') throw badInput('text is only white space.');
  return text;
}

/** The key in its one spelling: members without repeats, sorted. */
export function checkKey(configId: string, members: readonly EmailAddress[]): ConversationKey {
  checkText('configId', configId, 1, 128);
  const distinct = [...new Set(members)].sort();
  if (distinct.length < 2 || distinct.length > 1024) {
    throw badInput(`members are to be 2 to 1024 different addresses; they are ${distinct.length}.`);
  }
  return { configId, members: distinct };
}

/** What would pass for more than one label, or for something else, where labels are told of. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}]/u;

/** Labels as they are stored, without repeats. */
export function checkLabels(labels: readonly string[] | null | undefined): string[] {
  for (const label of labels ?? []) {
    if (checkText('A label', label, 1, 40).trim() === '') throw badInput('A label is only white space.');
    if (UNPRINTABLE.test(label)) throw badInput('A label holds a control character or a line break.');
  }
  return [...new Set(labels ?? [])];
}
