import { setTimeout as sleep } from 'node:timers/promises';
import type { Values } from '../clients.ts';
import type { Connections } from '../connection.ts';
import { newMessage, openGroup, received, stored, verify } from '../conversations.ts';
import { percentiles, perOperation, startMeter } from '../meter.ts';
import { keepBusy } from '../requests.ts';

/** One member sends, all others receive, each of them another user. */
export interface FanOut {
  readonly members: number;
  readonly window: number;
}

/** Values: rate (deliveries per second). */
export async function fanOut(connections: Connections, { members, window }: FanOut, ms: number): Promise<Values> {
  const { sender, conversation, followers } = await openGroup(connections, members, { stream: 'messages' });
  const before = conversation.last;
  const stop = startMeter(connections.target);
  const end = performance.now() + ms;
  await keepBusy(sender, window, {
    latencies: [],
    next() {
      if (performance.now() >= end) return null;
      const message = newMessage(conversation);
      return {
        makeFrame: (id) => connections.dialect.send(id, message),
        replied: () => stored(conversation, message.number),
      };
    },
  });
  await received(followers);
  const usage = stop();
  await verify(followers);
  const deliveries = (conversation.last - before) * members;
  return { ...perOperation(usage, deliveries), rate: (deliveries / usage.ms) * 1000 };
}

/** The same at a fixed pace. With two instances the sender is on one, and the others are on the other. */
export interface Paced {
  readonly members: number;
  readonly perSecond: number;
}

/** Values: p50, p99 of the time from when a message was due to a delivery. */
export async function paced(connections: Connections, { members, perSecond }: Paced, ms: number): Promise<Values> {
  const latencies: number[] = [];
  /** When the message with a number was sent. */
  const sentAt = new Map<number, number>();
  const delivered = (number: number) => latencies.push(performance.now() - (sentAt.get(number) ?? Number.NaN));
  const { sender, conversation, followers } = await openGroup(connections, members, { stream: 'messages', delivered });
  latencies.length = 0;
  const count = Math.max(1, Math.round((ms / 1000) * perSecond));
  const stop = startMeter(connections.target);
  const begin = performance.now();
  let acknowledged = 0;
  for (let n = 0; n < count; n++) {
    // By the clock, so that late timers do not slow the pace.
    await sleep(begin + (n * 1000) / perSecond - performance.now());
    const message = newMessage(conversation);
    sentAt.set(message.number, performance.now());
    sender.request(
      (id) => connections.dialect.send(id, message),
      () => {
        acknowledged++;
        stored(conversation, message.number);
      },
    );
  }
  while (acknowledged < count) await sleep(1);
  await received(followers);
  const usage = stop();
  await verify(followers);
  return { ...perOperation(usage, count), ...percentiles(latencies) };
}
