import { setTimeout } from 'node:timers/promises';
import { expect } from 'vitest';
import { connectGraphql, type GraphqlLine } from './clients.ts';

/** The record of a writer for the checker: every client id it tried, and the numbers of those acknowledged. */
export interface History {
  readonly attempted: Set<string>;
  readonly acknowledged: Map<string, number>;
}

const SEND = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } } }';
const ADDED =
  'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { seq clientId } }';

/** Before a client tries again. */
const pause = () => setTimeout(50);

/** Returns the instances in turn, so that a client that reconnects gets another one. */
export function inTurn(urls: readonly string[], start = 0): () => string {
  let turn = start;
  return () => urls[turn++ % urls.length] ?? '';
}

/** Sends `count` messages one by one, each under one client id until it is acknowledged, reconnecting as need be. */
export async function write(
  instance: () => string,
  user: string,
  key: object,
  count: number,
  name: string,
  history: History,
  window = 1,
): Promise<void> {
  let next = 0;
  async function worker(): Promise<void> {
    let line: GraphqlLine | null = null;
    for (let i = next++; i < count; i = next++) {
      const clientId = `${name}.${i}`;
      history.attempted.add(clientId);
      for (;;) {
        try {
          line ??= await connectGraphql(instance(), user);
          const { data, errors } = await line.run(SEND, {
            input: { to: { key }, text: `text of ${clientId}`, clientId },
          });
          if (data) {
            history.acknowledged.set(clientId, data.sendMessage.message.seq);
            break;
          }
          if (errors?.[0]?.extensions.code !== 'UNAVAILABLE') throw new Error(`refused: ${JSON.stringify(errors)}`);
        } catch (error) {
          if (error instanceof Error && error.message.startsWith('refused')) throw error;
          line = null;
        }
        await pause();
      }
    }
    line?.close();
  }
  await Promise.all(Array.from({ length: window }, worker));
}

/** Ends the writing: a subscriber that received this message has all messages. */
export async function writeEnd(instance: () => string, user: string, key: object, history: History): Promise<void> {
  await write(instance, user, key, 1, END, history);
}
const END = 'end';

/** Follows the conversation from its beginning until the message of `writeEnd`, resuming by position as need be. */
export async function follow(instance: () => string, user: string, id: string): Promise<string[]> {
  const seen: string[] = [];
  const ended = () => seen.at(-1) === `${END}.0`;
  while (!ended()) {
    try {
      const line = await connectGraphql(instance(), user);
      const events = line.subscribe(ADDED, { id, after: seen.length });
      while (!ended()) {
        const event = await events.next();
        if (!event?.data) break;
        const { seq, clientId } = event.data.messageAdded;
        expect(seq).toBe(seen.length + 1);
        seen.push(clientId);
      }
      line.close();
    } catch (error) {
      if (error instanceof Error && error.name === 'AssertionError') throw error;
    }
    await pause();
  }
  return seen;
}

/**
 * Checks the records of all readers and writers: one list, nothing acknowledged lost or moved, nothing twice or out of
 * nowhere.
 */
export function check(lists: readonly string[][], { attempted, acknowledged }: History): void {
  const [stored = []] = lists;
  for (const list of lists) expect(list).toEqual(stored);
  expect(new Set(stored).size).toBe(stored.length);
  for (const clientId of stored) expect(attempted.has(clientId)).toBe(true);
  for (const [clientId, seq] of acknowledged) expect(stored[seq - 1]).toBe(clientId);
}
