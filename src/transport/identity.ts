import { ChatError } from '../chat/errors.ts';
import { parseEmail, type Role, type Viewer } from '../model.ts';

const ROLES: readonly Role[] = ['CUSTOMER', 'SELLER', 'BANK'];

/**
 * Who a credential stands for, the same on every transport; null where there is none.
 * The credential is `Bearer ADDRESS` or `Bearer ADDRESS:ROLE` (RFC 6750, section 2.1): in development the token is the address.
 * @throws ChatError UNAUTHENTICATED when there is one that is not valid
 */
export function identify(authorization: unknown): Viewer | null {
  if (authorization === undefined || authorization === null) return null;
  const token = typeof authorization === 'string' ? /^Bearer +(\S+)$/i.exec(authorization.trim())?.[1] : undefined;
  const [address = '', role, ...rest] = token?.split(':') ?? [];
  const email = parseEmail(address);
  const known = role === undefined ? null : ROLES.find((candidate) => candidate === role);
  if (!email || known === undefined || rest.length > 0) {
    throw new ChatError('UNAUTHENTICATED', 'The credential is not valid.');
  }
  return { email, role: known };
}
