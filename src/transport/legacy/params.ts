import type { IncomingHttpHeaders } from 'node:http';
import { parseCookie } from 'cookie';
import { type EmailAddress, parseEmail } from '../../model.ts';

/** Parameters of a legacy upgrade. */
export interface LegacyParams {
  /** The address of the user, from `email_id`. */
  readonly email: EmailAddress;
  /** The address as the client spells it; frames to the client use this spelling. */
  readonly spelling: string;
  /** Whether new messages are sent without a request. */
  readonly live: boolean;
  /** `Bearer TOKEN`, from the parameter `token`, the header `Authorization` or the cookie `authToken`, if any. */
  readonly credential: string | null;
}

/** Parses a query string, in which `@` and `+` stand for themselves. Null unless `email_id` is one valid address. */
export function readParams(search: string, headers: IncomingHttpHeaders): LegacyParams | null {
  const pairs = search
    .replace(/^\?/, '')
    .split('&')
    .map((pair) => pair.split(/=(.*)/s));
  const values = (name: string) => pairs.filter(([key]) => key === name).map(([, value]) => decode(value ?? ''));
  const [spelling, ...more] = values('email_id');
  const email = spelling == null ? null : parseEmail(spelling);
  if (!spelling || !email || more.length > 0) return null;
  // `parseCookie` keeps the quotes that a value may have (RFC 6265, section 4.1.1).
  const cookie = parseCookie(headers.cookie ?? '').authToken?.replace(/^"(.*)"$/, '$1');
  const credential = bearer(values('token')[0] || headers.authorization || cookie);
  return { email, spelling, live: values('live').includes('1'), credential };
}

/** A token may have the prefix `Bearer` or `token`. */
function bearer(token: string | null | undefined): string | null {
  return token ? `Bearer ${token.trim().replace(/^(?:bearer|token)\s+/i, '')}` : null;
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
