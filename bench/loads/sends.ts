import type { Values } from '../clients.ts';
import type { Connections } from '../connection.ts';
import { type Group, newMessage, openGroups, received, stored, verify } from '../conversations.ts';
import { seqOf } from '../frames.ts';
import { median, percentiles, perOperation, startMeter } from '../meter.ts';
import { keepBusy } from '../requests.ts';
import type { Target } from '../servers.ts';

/** Each connection is another user, sending to a conversation with one other member, which subscribes to it. */
export interface Sends {
  readonly connections: number;
  readonly window: number;
  /** Messages in each conversation before. */
  readonly history: number;
}

/**
 * Values: rate (acknowledged sends per second), p50, p99 of the time to that, lag (messages that are not in the search
 * index).
 */
export async function sends(connections: Connections, load: Sends, ms: number): Promise<Values> {
  const groups = await openGroups(connections, load.connections, 1, load.history);
  const stop = startMeter(connections.target);
  const { latencies, rate } = await sendToAll(connections, groups, load.window, ms);
  const usage = perOperation(stop(), latencies.length);
  return { ...usage, rate, ...percentiles(latencies), lag: await searchLag(connections.target) };
}

/** The same in turn in new conversations of `history` messages, and in some that have `long` of them. */
export interface Lasting extends Sends {
  readonly long: number;
  readonly turns: number;
}

/** Values: short, long (sends per second), ratio (of long to short). */
export async function lasting(connections: Connections, load: Lasting, ms: number): Promise<Values> {
  const long = await openGroups(connections, load.connections, 1, load.long);
  const turns: Group[][] = [];
  while (turns.length < load.turns) turns.push(await openGroups(connections, load.connections, 1, load.history));
  const rates = { short: [] as number[], long: [] as number[] };
  let count = 0;
  const stop = startMeter(connections.target);
  for (const short of turns) {
    for (const [length, groups] of Object.entries({ short, long })) {
      const { latencies, rate } = await sendToAll(connections, groups, load.window, ms / load.turns / 2);
      rates[length as keyof typeof rates].push(rate);
      count += latencies.length;
    }
  }
  const values = { short: median(rates.short), long: median(rates.long) };
  return { ...perOperation(stop(), count), ...values, ratio: values.long / values.short };
}

/** All send for a time; ends when everything is delivered. */
async function sendToAll({ dialect, fail }: Connections, groups: readonly Group[], window: number, ms: number) {
  const latencies: number[] = [];
  const begin = performance.now();
  await Promise.all(
    groups.map(({ sender, conversation }) => {
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
  const followers = groups.flatMap(({ followers }) => followers);
  await received(followers);
  await verify(followers);
  return { latencies, rate };
}

const LAG = /^kredichat_search_lag_messages (\d+)$/m;

/** Messages of a server that are not in its search index yet; NaN where it does not tell. */
async function searchLag({ urls, dialect }: Target): Promise<number> {
  if (dialect !== 'kredichat') return Number.NaN;
  const metrics = await (await fetch(`${urls[0]}/metrics`)).text();
  return Number(LAG.exec(metrics)?.[1] ?? Number.NaN);
}
