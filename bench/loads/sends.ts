import type { Values } from '../clients.ts';
import { AT_ONCE, type Connection, type Connections } from '../connection.ts';
import {
  type Conversation,
  type Follower,
  follow,
  newMessage,
  openConversation,
  probe,
  received,
  stored,
  verify,
} from '../conversations.ts';
import { seqOf } from '../frames.ts';
import { indexLag } from '../lag.ts';
import { median, percentiles, perOperation, startMeter } from '../meter.ts';
import { keepBusy } from '../requests.ts';

/** Each connection is another user who sends to a conversation with one other member, who follows it. */
export interface Sends {
  readonly connections: number;
  readonly window: number;
  /** Messages in each conversation before. */
  readonly history: number;
}

/** Values: rate (acknowledged sends per second), p50, p99 of the time to that, lag (messages that are not in the search index). */
export async function sends(connections: Connections, load: Sends, ms: number): Promise<Values> {
  const pairs = await openPairs(connections, load, load.history);
  const stop = startMeter(connections.target);
  const { latencies, rate } = await sendToAll(connections, pairs, load.window, ms);
  const usage = perOperation(stop(), latencies.length);
  return { ...usage, rate, ...percentiles(latencies), lag: await indexLag(connections.target) };
}

/** The same in turn in new conversations of `history` messages, and in some that have `long` of them. */
export interface Lasting extends Sends {
  readonly long: number;
  readonly turns: number;
}

/** Values: short, long (sends per second), ratio (of long to short). */
export async function lasting(connections: Connections, load: Lasting, ms: number): Promise<Values> {
  const long = await openPairs(connections, load, load.long);
  const rates = { short: [] as number[], long: [] as number[] };
  let count = 0;
  const stop = startMeter(connections.target);
  for (let turn = 0; turn < load.turns; turn++) {
    for (const length of ['short', 'long'] as const) {
      const pairs = length === 'long' ? long : await openPairs(connections, load, load.history);
      const { latencies, rate } = await sendToAll(connections, pairs, load.window, ms / load.turns / 2);
      rates[length].push(rate);
      count += latencies.length;
    }
  }
  const values = { short: median(rates.short), long: median(rates.long) };
  return { ...perOperation(stop(), count), ...values, ratio: values.long / values.short };
}

interface Pair {
  readonly sender: Connection;
  readonly conversation: Conversation;
  readonly follower: Follower;
}

async function openPairs(connections: Connections, { connections: count }: Sends, history: number): Promise<Pair[]> {
  const pairs: Pair[] = [];
  while (pairs.length < count) {
    const batch = Array.from({ length: Math.min(AT_ONCE, count - pairs.length) }, async (): Promise<Pair> => {
      const [sender, other] = await Promise.all([connections.open(), connections.open()]);
      const conversation = await openConversation(connections, sender, [other.user], history);
      const follower = follow(connections, other, conversation, () => {});
      await probe(connections, sender, conversation, [follower]);
      return { sender, conversation, follower };
    });
    pairs.push(...(await Promise.all(batch)));
  }
  return pairs;
}

/** All send for a time; ends when everything is delivered. */
async function sendToAll({ dialect, fail }: Connections, pairs: readonly Pair[], window: number, ms: number) {
  const latencies: number[] = [];
  const begin = performance.now();
  await Promise.all(
    pairs.map(({ sender, conversation }) => {
      const first = conversation.last + 1;
      const acknowledged = new Set<number>();
      return keepBusy(sender, window, {
        latencies,
        next() {
          if (performance.now() >= begin + ms) return null;
          const message = newMessage(conversation);
          return {
            makeFrame: (id) => dialect.send(id, message),
            replied(bytes, start, end) {
              acknowledged.add(seqOf(bytes, start, end));
              stored(conversation, message.number);
            },
          };
        },
      }).then(() => {
        for (let seq = first; seq <= conversation.last; seq++) {
          if (!acknowledged.has(seq)) fail(new Error(`no send was acknowledged as ${seq}`));
        }
      });
    }),
  );
  const rate = (latencies.length / (performance.now() - begin)) * 1000;
  const followers = pairs.map(({ follower }) => follower);
  await received(followers);
  await verify(followers);
  return { latencies, rate };
}
