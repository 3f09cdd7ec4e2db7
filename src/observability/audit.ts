import type { Logger } from 'pino';
import type { Transport } from './metrics.ts';

/** A decision on a request for access. */
export interface AuditEvent {
  /** The operation, or the step of the admission. */
  readonly action: string;
  /** The conversation; absent where the operation names none that exists. */
  readonly resource?: string | undefined;
  /** `allowed`, or the code of the refusal. */
  readonly outcome: string;
  /** Reason of a refusal, where the code does not give it. */
  readonly reason?: string;
}

/** The caller of an audited operation. */
export interface AuditActor {
  /** The user's e-mail address, null before a credential has been accepted; of a command, the system's user. */
  readonly user: string | null;
  /** The client's network address; of a command, the name of the machine. */
  readonly address: string;
  readonly transport: Transport | 'http' | 'command';
}

/** Writes one log line for each decision: at level `info` if allowed, at `warn` if refused. */
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
