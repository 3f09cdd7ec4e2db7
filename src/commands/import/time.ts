import type { Instant } from '../../model.ts';

/** A time with a date, to nanoseconds, and perhaps a zone: RFC 3339, or the same without the zone. */
const TIME = /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?$/;

/**
 * Reads a time; one without a zone is of the given one (IANA name). What the zone has twice, at the end of summer, is
 * the earlier; what it has not, at its beginning, is as if the clock had not been changed yet. Null where it is none.
 * @returns milliseconds, with the fraction of the text
 */
export function instantIn(timeZone: string, text: string): number | null {
  const match = TIME.exec(text);
  if (!match) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  const wall = Date.UTC(year, month - 1, day, hour, minute, second) + Number(`0.${match[7] ?? 0}`) * 1000;
  // Days and hours beyond their ranges would be carried over.
  if (new Date(wall).toISOString().slice(0, 19) !== text.slice(0, 19).replace(' ', 'T')) return null;
  if (match[8]) return wall - (match[8] === 'Z' ? 0 : offsetOf(match[8]));
  if (timeZone === 'UTC') return wall;
  // The offset changes at most once in a day: one of the two applies.
  const [before, after] = [wall - 86_400_000, wall + 86_400_000].map((at) => offsetIn(timeZone, at)) as [
    number,
    number,
  ];
  return offsetIn(timeZone, wall - before) === before
    ? wall - before
    : wall - (offsetIn(timeZone, wall - after) === after ? after : before);
}

function offsetOf(text: string): number {
  const [hours = 0, minutes = 0] = text.slice(1).split(':').map(Number);
  return (text.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

/** One for all times of a run: making one takes longer than using it. */
const formats = new Map<string, Intl.DateTimeFormat>();

/** How far local time is ahead of UTC at an instant, in milliseconds. @throws RangeError for an unknown zone */
function offsetIn(timeZone: string, at: Instant): number {
  let format = formats.get(timeZone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
    formats.set(timeZone, format);
  }
  const name = format.formatToParts(at).find(({ type }) => type === 'timeZoneName')?.value ?? '';
  return name === 'GMT' ? 0 : offsetOf(name.slice(3));
}
