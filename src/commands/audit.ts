import { hostname, userInfo } from 'node:os';
import { createAudit } from '../observability/audit.ts';
import { createLogger } from '../observability/logger.ts';

/** Writes the audit line of a command to the standard error: the user of the operating system runs it. */
export function audit(action: string, resource: string): void {
  const actor = { user: systemUser(), address: hostname(), transport: 'command' } as const;
  const event = { action, resource: withoutPasswords(resource), outcome: 'allowed' };
  createAudit(createLogger('info', process.stderr))(actor, event);
}

/** The name of the user; in a container the number of the user may have none. */
function systemUser(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`;
  }
}

/** Connection strings without users, passwords and options, which may be secrets too. */
function withoutPasswords(text: string): string {
  return text.replace(/\/\/\S*@/g, '//').replace(/\?\S*/g, '');
}
