import type { Values } from '../clients.ts';
import type { Connection, Connections } from '../connection.ts';
import { openConversation, say } from '../conversations.ts';
import { percentiles, perOperation, startMeter } from '../meter.ts';
import { pageOperation } from '../page.ts';
import { concurrently } from '../requests.ts';

/** The first operations of a process: users open conversations, and send, read, mark as read, and list in turn. */
export interface Cold {
  readonly operations: number;
  readonly users: number;
}

const PAGE = {
  open: pageOperation('OpenNewest'),
  list: pageOperation('ChatList'),
  markRead: pageOperation('MarkRead'),
};

/** Values: p50, p99, max, in milliseconds. */
export async function cold(connections: Connections, { operations, users }: Cold): Promise<Values> {
  const latencies: number[] = [];
  async function timed<Result>(operation: Promise<Result>): Promise<Result> {
    const from = performance.now();
    const result = await operation;
    latencies.push(performance.now() - from);
    return result;
  }
  const stop = startMeter(connections.target);
  const senders = await connections.openMany(users);
  await concurrently(users, users, async (index) => {
    const sender = senders[index] as Connection;
    const conversation = await timed(openConversation(connections, sender, [`other-of-${sender.user}`]));
    const turn = [
      () => say(connections, sender, conversation),
      () => sender.ask((id) => PAGE.open(id, `"id":"${conversation.id}","size":50`)),
      () =>
        sender.ask((id) =>
          PAGE.markRead(id, `"input":{"conversationId":"${conversation.id}","seq":${conversation.last}}`),
        ),
      () => sender.ask((id) => PAGE.list(id, '"first":20')),
    ];
    for (let n = 1; n < operations / users; n++) await timed((turn[n % turn.length] as () => Promise<unknown>)());
  });
  return { ...perOperation(stop(), latencies.length), ...percentiles(latencies), max: latencies.at(-1) ?? Number.NaN };
}
