import type { IncomingHttpHeaders } from 'node:http';
import { type EmailAddress, parseEmail } from '../../model.ts';

/** What the URL of an upgrade says: who connects, and whether new messages are to follow. */
export interface LegacyParams {
  readonly email: EmailAddress;
  readonly spelling: string;
  readonly live: boolean;
  /** `Bearer TOKEN`, from the query's `token`, the header `Authorization` or the cookie `authToken`; null where there is none. */
  readonly credential: string | null;
}

/** Reads the query string as legacy clients write it: `@` and `+` stand for themselves. Null where `email_id` is not one address. */
export function readParams(search: string, headers: IncomingHttpHeaders): LegacyParams | null {
  const pairs = search
    .replace(/^\?/, '')
    .split('&')
    .map((pair) => pair.split(/=(.*)/s));
  const values = (name: string) => pairs.filter(([key]) => key === name).map(([, value]) => decode(value ?? ''));
  const [spelling, ...more] = values('email_id');
  const email = spelling == null ? null : parseEmail(spelling);
  if (!spelling || !email || more.length > 0) return null;
  const credential = bearer(values('token')[0] || headers.authorization || readCookie(headers.cookie));
  return { email, spelling, live: values('live').includes('1'), credential };
}

/** Tokens come with the word `Bearer` or `token` before them, or alone. */
function bearer(given: string | null | undefined): string | null {
  return given ? `Bearer ${given.trim().replace(/^(?:bearer|token)\s+/i, '')}` : null;
}

/** The cookie `authToken` (RFC 6265, section 4.2), perhaps quoted, perhaps percent-encoded. */
function readCookie(cookies = ''): string | null {
  const value = /(?:^|;)\s*authToken=("?)([^;]*)\1\s*(?:;|$)/.exec(cookies)?.[2];
  return value === undefined ? null : decode(value);
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
