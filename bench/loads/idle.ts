import { setTimeout as sleep } from 'node:timers/promises';
import type { Values } from '../clients.ts';
import type { Connections } from '../connection.ts';
import { type Group, openGroup, received, say, verify } from '../conversations.ts';
import { heldBytes, perOperation, startMeter } from '../meter.ts';

/** Followers of as many conversations do nothing. */
export interface Idle {
  readonly conversations: number;
  readonly members: number;
}

/**
 * Values: kilobytes, of memory that the server holds for each; those of the first conversation do not count, so that
 * what a server loads once does not count either. CPU times are for one second.
 */
export async function idle(connections: Connections, load: Idle, ms: number): Promise<Values> {
  const { target } = connections;
  const open = () => openGroup(connections, load.members, { stream: 'messages' });
  const groups: Group[] = [await open()];
  const before = await heldBytes(target);
  while (groups.length < load.conversations) groups.push(await open());
  const grown = (await heldBytes(target)) - before;
  const stop = startMeter(target);
  await sleep(ms);
  const usage = stop();

  // All are to be still there.
  for (const { sender, conversation } of groups) await say(connections, sender, conversation);
  const followers = groups.flatMap((group) => group.followers);
  await received(followers);
  await verify(followers);
  const kilobytes = grown / 1000 / ((groups.length - 1) * load.members);
  return { ...perOperation(usage, usage.ms / 1000), kilobytes };
}
