import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import type { Values } from '../clients.ts';
import type { Connection, Connections } from '../connection.ts';
import { type Conversation, type Follower, follow, openConversation, say, verify } from '../conversations.ts';
import { percentiles, perOperation, residentMb, startMeter } from '../meter.ts';
import { pageOperation } from '../page.ts';
import { concurrently } from '../requests.ts';
import type { Target } from '../servers.ts';

/** Users follow their chat list and many conversations in which next to nothing happens. */
export interface Quiet {
  readonly users: number;
  readonly conversationsEach: number;
  readonly perSecond: number;
}

const LIST_CHANGED = pageOperation('ChatListChanged');
/** Conversations that a user opens at the same time. */
const AT_ONCE = 8;
/** For what follows the opening of conversations to end, in milliseconds. */
const SETTLE_MS = 5000;

/**
 * Values: queries (operations of the database per second while nothing is sent, but for those that wait for changes);
 * p50, p99 of deliveries while a message comes now and then; rss in megabytes. CPU times are for one second while
 * nothing is sent.
 */
export async function quiet(connections: Connections, load: Quiet, ms: number): Promise<Values> {
  const latencies: number[] = [];
  let sentAt = 0;
  const delivered = () => latencies.push(performance.now() - sentAt);
  const users = await connections.openMany(load.users);
  const all = await concurrently(users.length, users.length, async (index) => {
    const user = users[index] as Connection;
    user.subscribe(
      (id) => LIST_CHANGED(id, ''),
      () => {},
    );
    return concurrently(load.conversationsEach, AT_ONCE, async () => {
      const conversation = await openConversation(connections, user, [`other-of-${user.user}`]);
      const follower: Follower = follow(connections, user, conversation, delivered);
      follower.last = conversation.last;
      return { user, conversation, follower };
    });
  });
  const followed = all.flat() as readonly { user: Connection; conversation: Conversation; follower: Follower }[];
  await sleep(SETTLE_MS);
  const operations = await countOperations(connections.target);
  const stop = startMeter(connections.target);
  await sleep(ms);
  const usage = stop();
  const queries = (await operations()) / (usage.ms / 1000);

  for (let begin = performance.now(), n = 0; performance.now() < begin + ms; n++) {
    const { user, conversation, follower } = followed[(n * 379) % followed.length] as (typeof followed)[number];
    sentAt = performance.now();
    await say(connections, user, conversation);
    while (follower.last < conversation.last) await sleep(1);
    await sleep(begin + ((n + 1) * 1000) / load.perSecond - performance.now());
  }
  await verify(followed.map(({ follower }) => follower));
  return {
    ...perOperation(usage, usage.ms / 1000),
    ...percentiles(latencies),
    ...{ queries, rss: residentMb(connections.target) },
  };
}

/** Starts to count what mongod is asked for, but for the rest of results; NaN for a server without one. */
async function countOperations({ mongoUrl }: Target): Promise<() => Promise<number>> {
  if (mongoUrl === null) return async () => Number.NaN;
  const client = await MongoClient.connect(mongoUrl);
  const read = async () => {
    const { opcounters } = await client.db('admin').command({ serverStatus: 1 });
    return opcounters.query + opcounters.insert + opcounters.update + opcounters.delete + opcounters.command;
  };
  const before = await read();
  return async () => {
    // The command that asks counts itself.
    const count = (await read()) - before - 1;
    await client.close();
    return count;
  };
}
