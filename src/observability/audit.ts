import type { Logger } from 'pino';
import type { Transport } from './metrics.ts';

/** What was decided about somebody who wants something. */
export interface AuditEvent {
  /** The operation, or the step of letting somebody in. */
  readonly action: string;
  /** The conversation it is about; absent where there is none, or what was named is none. */
  readonly resource?: string | undefined;
  /** `allowed`, or the code of the refusal. */
  readonly outcome: string;
  /** Why not, where the code does not say it. */
  readonly reason?: string;
}

/** Where a decision was asked for, and by whom. */
export interface AuditActor {
  /** The address as it is known; null before anybody has shown a credential. */
  readonly user: string | null;
  /** The client's network address. */
  readonly address: string;
  readonly transport: Transport | 'http';
}

/** Writes one line a decision: to `info` what was allowed, to `warn` what was not. */
export type Audit = (actor: AuditActor, event: AuditEvent) => void;

export function createAudit(logger: Logger): Audit {
  return ({ user, address, transport }, { action, resource, outcome, reason }) => {
    const line = {
      ...{ audit: action, who: user, from: address, over: transport },
      ...{ on: resource, outcome, why: reason },
    };
    if (outcome === 'allowed') logger.info(line);
    else logger.warn(line);
  };
}
