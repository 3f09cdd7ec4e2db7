import type { Logger } from 'pino';
import type { Transport } from './metrics.ts';

/** What was decided about somebody who wants something. */
export interface Decision {
  /** The operation, or the step of letting somebody in. */
  readonly what: string;
  /** The conversation it is about; absent where there is none, or what was named is none. */
  readonly on?: string | undefined;
  /** `allowed`, or the code of the refusal. */
  readonly outcome: string;
  /** Why not, where the code does not say it. */
  readonly why?: string;
}

/** Where a decision was asked for, and by whom. */
export interface Asker {
  /** The address as it is known; null before anybody has shown a credential. */
  readonly who: string | null;
  /** The client's network address. */
  readonly from: string;
  readonly over: Transport | 'http';
}

/** Writes one line a decision: to `info` what was allowed, to `warn` what was not. */
export type Audit = (asker: Asker, decision: Decision) => void;

export function createAudit(logger: Logger): Audit {
  return ({ who, from, over }, { what, on, outcome, why }) => {
    const line = { audit: what, who, from, over, on, outcome, why };
    if (outcome === 'allowed') logger.info(line);
    else logger.warn(line);
  };
}
