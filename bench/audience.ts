import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection, Connections } from './connection.ts';
import { WORDS } from './dialects.ts';
import type { Listener } from './socket.ts';

/** Subscribers of one conversation: all are known to receive, and each is to receive every message once and in order. */
export interface Audience {
  readonly conversation: string;
  /** Gets all deliveries, and whose they are. */
  watch: ((subscriber: number, ...frame: Parameters<Listener>) => void) | null;
  /** Resolves as soon as all have received `count` messages more than when it was last asked. */
  hasReceived(count: number): Promise<void>;
  /** Looks whether anything comes that should not. */
  finish(): Promise<void>;
}

/** How often subscribers are given something to receive until all of them receive, in milliseconds. */
const PROBE_MS = 20;
/** How long the last of the deliveries may take, in milliseconds. */
const DELIVERY_MS = 30_000;
/** How long to look for deliveries that should not come, in milliseconds. */
const QUIET_MS = 50;

/** Opens a conversation with subscribers. From then on `connections` fail at the first delivery that is wrong. */
export async function createAudience(connections: Connections, sender: Connection, size: number): Promise<Audience> {
  const { dialect, target, fail } = connections;
  const conversation = await connections.openConversation(sender);
  const subscribers = await connections.open(size, target.audienceUrl);
  /** The last message of each; 0 before the first. */
  const last = new Array<number>(size).fill(0);
  let silent = size;
  let sent = 1;
  /** While it is asked for: how many have yet to receive the last of what was sent, and what follows. */
  let missing = 0;
  let complete = () => {};

  const audience: Audience = {
    conversation,
    watch: null,
    async hasReceived(count) {
      sent += count;
      missing = last.filter((seq) => seq < sent).length;
      if (missing === 0) return;
      const late = setTimeout(() => {
        fail(new Error(`of messages 1 to ${sent} subscribers got no more than to ${Math.min(...last)}`));
      }, DELIVERY_MS);
      await new Promise<void>((resolve) => {
        complete = resolve;
      });
      clearTimeout(late);
    },
    async finish() {
      await sleep(QUIET_MS);
      if (last.some((seq) => seq !== sent)) fail(new Error('more was delivered than was sent'));
    },
  };

  subscribers.forEach((subscriber, index) => {
    subscriber.subscribe(conversation, (bytes, start, end) => {
      const seq = seqOf(bytes, start, end);
      const previous = last[index] ?? 0;
      if (previous === 0 && seq > 0) silent--;
      else if (seq !== previous + 1) {
        const frame = bytes.toString('latin1', start, Math.min(end, start + 200));
        fail(new Error(`after message ${previous} subscriber ${index} got ${frame}`));
      }
      last[index] = seq;
      audience.watch?.(index, bytes, start, end);
      if (seq === sent && --missing === 0) complete();
    });
  });
  while (silent > 0) {
    await sender.ask((id) => dialect.send(id, conversation, WORDS));
    sent++;
    await sleep(PROBE_MS);
  }
  await audience.hasReceived(0);
  return audience;
}

const SEQ = Buffer.from('"seq":');
const ZERO = 48;
/** Where the last frame had its number: the next is likely to have it there, too. */
let seqAt = 0;

/** The `seq` of a delivery; 0 where there is none. */
function seqOf(bytes: Buffer, start: number, end: number): number {
  if (!isSeq(bytes, start + seqAt)) {
    seqAt = bytes.indexOf(SEQ, start) - start;
    if (seqAt < 0) seqAt = 0;
  }
  let seq = 0;
  for (let at = start + seqAt + SEQ.length; at < end; at++) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) break;
    seq = seq * 10 + digit;
  }
  return seq;
}

function isSeq(bytes: Buffer, start: number): boolean {
  for (let n = 0; n < SEQ.length; n++) if (bytes[start + n] !== SEQ[n]) return false;
  return true;
}
