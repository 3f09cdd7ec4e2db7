/**
 * The load, in a process of its own: takes one job after the other from its parent, and answers each with what was
 * measured. It checks what it measures: a message that is lost, repeated or out of order fails the job.
 */
import { type Connections, createConnections } from './connection.ts';
import { cold } from './loads/cold.ts';
import { fanOut, paced } from './loads/fan-out.ts';
import { idle } from './loads/idle.ts';
import { inbox } from './loads/inbox.ts';
import { quiet } from './loads/quiet.ts';
import { deep, lists, pages } from './loads/reads.ts';
import { lasting, sends } from './loads/sends.ts';
import { storm } from './loads/storm.ts';
import type { Target } from './servers.ts';

const LOADS = { sends, lasting, inbox, fanOut, paced, pages, deep, lists, storm, cold, quiet, idle };

type Kind = keyof typeof LOADS;
type LoadOf<Name extends Kind> = { readonly kind: Name } & Parameters<(typeof LOADS)[Name]>[1];

type Perform = (connections: Connections, load: Load, ms: number) => Promise<Values>;

/** What is to be done to a server; see loads/. Each has the values of `perOperation` in meter.ts beside its own. */
export type Load = { [Name in Kind]: LoadOf<Name> }[Kind];

/** A load for one server. */
export interface Job {
  readonly target: Target;
  readonly load: Load;
  /** How long to go on with it. */
  readonly ms: number;
}

/** What was measured; latencies are in milliseconds. */
export type Values = Readonly<Record<string, number>>;

/** What a job is answered with. */
export type Answer = { readonly values: Values } | { readonly error: string };

/** Characters of an error that are reported: it may quote a frame. */
const ERROR_LENGTH = 500;

process.on('message', async ({ target, load, ms }: Job) => {
  const connections = createConnections(target);
  const perform = LOADS[load.kind] as Perform;
  let answer: Answer;
  try {
    answer = { values: await Promise.race([perform(connections, load, ms), connections.failed]) };
  } catch (error) {
    answer = { error: String(error instanceof Error ? error.message : error).slice(0, ERROR_LENGTH) };
  }
  await connections.close();
  process.send?.(answer, () => {}); // a parent that is gone needs no answer
});
process.on('disconnect', () => process.exit());
