import { GraphQLError, Kind, type ValueNode } from 'graphql';
import { type EmailAddress, type Instant, parseEmail } from '../model.ts';

const RFC_3339 = /^(\d{4})-(\d{2})-(\d{2})T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/i;

function parseInstant(value: unknown): Instant {
  const match = typeof value === 'string' && RFC_3339.exec(value);
  const time = match ? Date.parse(value.toUpperCase()) : Number.NaN;
  // Date.parse takes 31 February for 2 March.
  const day = match && new Date(Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3]))).getUTCDate();
  if (!match || Number.isNaN(time) || day !== Number(match[3])) {
    throw new GraphQLError('`DateTime` must be an RFC 3339 instant, for example 2024-02-05T18:58:32.921Z.');
  }
  return time;
}

const DAY_MS = 86_400_000;
const PADDED = [2, 3].map((digits) => Array.from({ length: 10 ** digits }, (_, n) => String(n).padStart(digits, '0')));
const [TWO = [], THREE = []] = PADDED;
/** The day of the last instant: most instants share it. */
let known = { day: Number.NaN, text: '' };

/** As `toISOString`, which takes eight times as long, a fifth of the time of a page. */
function writeInstant(instant: Instant): string {
  const day = Math.floor(instant / DAY_MS);
  if (day !== known.day) known = { day, text: new Date(instant).toISOString().replace(/T.*/, 'T') };
  const ms = Math.floor(instant) - day * DAY_MS;
  const seconds = Math.floor(ms / 1000);
  const time = `${TWO[Math.floor(seconds / 3600)]}:${TWO[Math.floor(seconds / 60) % 60]}:${TWO[seconds % 60]}`;
  return `${known.text}${time}.${THREE[ms % 1000]}Z`;
}

function parseAddress(value: unknown): EmailAddress {
  const email = typeof value === 'string' ? parseEmail(value) : null;
  if (!email) throw new GraphQLError('`EmailAddress` must be an e-mail address of at most 254 ASCII characters.');
  return email;
}

function stringLiteral(node: ValueNode): unknown {
  return node.kind === Kind.STRING ? node.value : undefined;
}

/** How the scalars are read and written; the schema files name and describe them. */
export const scalars = {
  DateTime: {
    serialize: (value: unknown) => writeInstant(value as Instant),
    parseValue: parseInstant,
    parseLiteral: (node: ValueNode) => parseInstant(stringLiteral(node)),
  },
  EmailAddress: {
    serialize: (value: unknown) => value,
    parseValue: parseAddress,
    parseLiteral: (node: ValueNode) => parseAddress(stringLiteral(node)),
  },
};
