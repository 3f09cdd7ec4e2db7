import type { ConversationStatus, ListedConversationFieldsFragment as Listed } from '../../client/index.ts';
import type { NameOf } from './names.tsx';

const createFormats = () => ({
  time: new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' }),
  weekday: new Intl.DateTimeFormat(undefined, { weekday: 'long' }),
  shortDay: new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' }),
  shortDate: new Intl.DateTimeFormat(undefined, { dateStyle: 'short' }),
  longDay: new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }),
  full: new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' }),
});

/** A format keeps the time zone in which it was created. */
let formats = createFormats();

/** Applies the present time zone to all later formatting. */
export function renewFormats(): void {
  formats = createFormats();
}

/** An instant: text from the server, or local milliseconds since 1970. */
type Instant = string | number;

const startOfDay = (instant: Instant) => new Date(instant).setHours(0, 0, 0, 0);

/** Whole days between an instant's day and today. */
const daysAgo = (instant: Instant) => Math.round((startOfDay(Date.now()) - startOfDay(instant)) / 86_400_000);

/** Hours and minutes. */
export const clockTime = (instant: Instant) => formats.time.format(new Date(instant));

/** Date and time in full. */
export const fullTime = (instant: Instant) => formats.full.format(new Date(instant));

/** The time if today, else the day in its shortest clear form. */
export function shortTime(instant: Instant): string {
  const days = daysAgo(instant);
  if (days === 0) return clockTime(instant);
  if (days === 1) return 'Yesterday';
  const date = new Date(instant);
  if (days > 1 && days < 7) return formats.weekday.format(date);
  return (date.getFullYear() === new Date().getFullYear() ? formats.shortDay : formats.shortDate).format(date);
}

/** The day, for a heading. */
export function dayName(instant: Instant): string {
  const days = daysAgo(instant);
  if (days === 0) return 'Today';
  return days === 1 ? 'Yesterday' : formats.longDay.format(new Date(instant));
}

export const sameDay = (a: Instant, b: Instant) => startOfDay(a) === startOfDay(b);

interface Named {
  readonly subject: string | null;
  readonly configId: string;
  readonly firstMembers: Listed['firstMembers'];
}

/** Addresses of the present members other than the viewer. */
export const others = (members: Listed['firstMembers'], me: string): string[] =>
  members.filter(({ email, leftAt }) => email !== me && leftAt === null).map(({ email }) => email);

/** Names, separated by commas. */
export const nameList = (emails: readonly string[], nameOf: NameOf) => emails.map(nameOf).join(', ');

/** The display name of a conversation: its subject, else the names of the other members, else its configuration. */
export const title = (conversation: Named, me: string, nameOf: NameOf): string =>
  conversation.subject || nameList(others(conversation.firstMembers, me), nameOf) || conversation.configId;

/** The display name of a status. */
export const statusName = (status: ConversationStatus): string => status[0] + status.slice(1).toLowerCase();

/** The first letters of a name's first two words. */
export const initials = (name: string): string =>
  [...(name.match(/[\p{L}\p{N}]+/gu) ?? ['?'])]
    .slice(0, 2)
    .map((word) => [...word][0]?.toUpperCase())
    .join('');

/** One of eight colours, the same for the same text. */
export function tint(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (hash * 31 + text.charCodeAt(i)) | 0;
  return Math.abs(hash) % 8;
}
