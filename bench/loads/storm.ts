import type { Values } from '../clients.ts';
import { AT_ONCE, type Connections } from '../connection.ts';
import { openConversation } from '../conversations.ts';
import { seqOf } from '../frames.ts';
import { percentiles, perOperation, startMeter } from '../meter.ts';
import { pageOperation } from '../page.ts';
import { concurrently } from '../requests.ts';

/**
 * Users of pairs come back, as after a restart: each connects, goes on with list and conversation, and asks for the
 * list.
 */
export interface Storm {
  readonly users: number;
  /** How many are under way at the same time. */
  readonly atOnce: number;
  /** Messages that each has missed. */
  readonly missed: number;
}

const LIST_SIZE = 20;
const PAGE = { list: pageOperation('ChatList'), listChanged: pageOperation('ChatListChanged') };

/** Values: seconds (until the last has everything), p50, p99 of what each of them waits, in milliseconds. */
export async function storm(connections: Connections, { users, atOnce, missed }: Storm): Promise<Values> {
  const pairs = await concurrently(users / 2, AT_ONCE, async () => {
    const [sender, other] = [await connections.open(), await connections.open()];
    const { id } = await openConversation(connections, sender, [other.user], missed + 1);
    await Promise.all([sender.close(), other.close()]);
    return { id, users: [sender.user, other.user] };
  });
  const latencies: number[] = [];
  const stop = startMeter(connections.target);
  await concurrently(users, atOnce, async (index) => {
    const { id: conversation, users: pair } = pairs[index % pairs.length] as (typeof pairs)[number];
    const from = performance.now();
    const connection = await connections.open(0, pair[Math.floor(index / pairs.length)]);
    connection.subscribe(
      (id) => PAGE.listChanged(id, ''),
      () => {},
    );
    const caughtUp = new Promise<void>((resolve) => {
      let last = 1;
      connection.subscribe(
        (id) => connections.dialect.subscribe(id, conversation, last, 'events'),
        (bytes, start, end) => {
          const seq = seqOf(bytes, start, end);
          if (seq !== -1 && seq !== ++last) connections.fail(new Error(`message ${seq} came in the place of ${last}`));
          if (seq !== -1 || !bytes.subarray(start, end).includes('"CaughtUp"')) return;
          if (last !== missed + 1) connections.fail(new Error(`of ${missed + 1} messages ${last} came back`));
          resolve();
        },
      );
    });
    await Promise.all([caughtUp, connection.ask((id) => PAGE.list(id, `"first":${LIST_SIZE}`))]);
    latencies.push(performance.now() - from);
  });
  const usage = stop();
  return { ...perOperation(usage, users), seconds: usage.ms / 1000, ...percentiles(latencies) };
}
