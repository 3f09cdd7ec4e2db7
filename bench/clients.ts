/**
 * The load, in a process of its own: takes one job after the other from its parent, and answers each with what was
 * measured. It checks what it measures: a message that is lost, repeated or out of order fails the job.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createAudience } from './audience.ts';
import { type Connection, type Connections, createConnections } from './connection.ts';
import { WORDS } from './dialects.ts';
import { heldBytes, percentile, startMeter } from './meter.ts';
import type { Target } from './servers.ts';

/** What is to be done to a server. Each has the values of `Usage` in meter.ts beside its own. */
export type Load =
  /** Each connection sends to its own conversation. Values: rate (acknowledged sends per second), p50, p99. */
  | { readonly kind: 'sends'; readonly connections: number; readonly window: number }
  /** One sends, all others receive. Values: rate (deliveries per second). */
  | { readonly kind: 'fanOut'; readonly subscribers: number; readonly window: number }
  /** The same at a fixed pace. Values: p50, p99 of the time from before the send to a delivery. */
  | { readonly kind: 'paced'; readonly subscribers: number; readonly perSecond: number }
  /** Makes the conversation that `history` reads. */
  | { readonly kind: 'fill'; readonly messages: number; readonly window: number }
  /**
   * One connection reads the newest page for half of the time, and one from the middle for the other half.
   * Values: newest, deep (pages per second), deepToNewest (ratio of the median times a page takes).
   */
  | { readonly kind: 'history'; readonly size: number; readonly window: number }
  /**
   * Subscribers of as many conversations do nothing. Values: kilobytes, of memory that the server holds for each; those
   * of the first conversation do not count, so that what a server loads once does not count either.
   */
  | { readonly kind: 'idle'; readonly conversations: number; readonly subscribers: number };

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

/** Conversations filled for `history`, by the address of their server. */
const filled = new Map<string, { readonly conversation: string; readonly messages: number }>();

process.on('message', async (job: Job) => {
  const connections = createConnections(job.target);
  let answer: Answer;
  try {
    const perform = LOADS[job.load.kind] as Perform<Load>;
    answer = { values: await Promise.race([perform(connections, job.load, job.ms), connections.failed]) };
  } catch (error) {
    answer = { error: String(error instanceof Error ? error.message : error).slice(0, ERROR_LENGTH) };
  }
  await connections.close();
  process.send?.(answer, () => {}); // a parent that is gone needs no answer
});
process.on('disconnect', () => process.exit());

type LoadOf<Kind extends Load['kind']> = Extract<Load, { kind: Kind }>;
type Perform<Of> = (connections: Connections, load: Of, ms: number) => Promise<Values>;
const LOADS: { readonly [Kind in Load['kind']]: Perform<LoadOf<Kind>> } = {
  ...{ sends, fanOut, paced, fill, history, idle },
};

async function sends(connections: Connections, load: LoadOf<'sends'>, ms: number): Promise<Values> {
  const { send } = connections.dialect;
  const senders = await connections.open(load.connections);
  const names = await Promise.all(senders.map(connections.openConversation));
  const latencies: number[] = [];
  /** The numbers each connection's sends were acknowledged with, as they came. */
  const acknowledged = senders.map((): number[] => []);

  const stop = startMeter(connections.target.pids);
  const end = performance.now() + ms;
  let text = 0;
  await Promise.all(
    senders.map((sender, index) => {
      const conversation = names[index] ?? '';
      return keepBusy(sender, load.window, {
        next: () => (performance.now() < end ? (id) => send(id, conversation, `${++text} ${WORDS}`) : null),
        replied(reply, latency) {
          latencies.push(latency);
          acknowledged[index]?.push(seqIn(reply));
        },
      });
    }),
  );
  const usage = stop();

  for (const seqs of acknowledged) {
    // 1 opened the conversation.
    const wrong = seqs.sort((a, b) => a - b).find((seq, n) => seq !== n + 2);
    check(wrong === undefined, `sends were acknowledged as ${wrong}, but not all before it, or it twice`);
  }
  return { ...usage, rate: perSecond(latencies.length, usage.ms), ...percentiles(latencies) };
}

async function fanOut(connections: Connections, load: LoadOf<'fanOut'>, ms: number): Promise<Values> {
  const { send } = connections.dialect;
  const sender = await connections.openOne();
  const audience = await createAudience(connections, sender, load.subscribers);
  /** What was sent, by the number it was acknowledged with. */
  const texts = new Map<number, string>();
  // One subscriber's frames are kept, and read when there is time.
  const witnessed: string[] = [];
  audience.watch = (subscriber, bytes, start, end) => {
    if (subscriber === 0) witnessed.push(bytes.toString('latin1', start, end));
  };

  const stop = startMeter(connections.target.pids);
  const end = performance.now() + ms;
  let text = 0;
  await keepBusy(sender, load.window, {
    next() {
      if (performance.now() >= end) return null;
      const words = `${++text} ${WORDS}`;
      return (id) => send(id, audience.conversation, words);
    },
    replied(reply, _latency, n) {
      texts.set(seqIn(reply), `${n} ${WORDS}`);
    },
  });
  await audience.hasReceived(text);
  const usage = stop();
  await audience.finish();

  for (const frame of witnessed) {
    const seq = seqIn(frame);
    check(frame.includes(`"text":"${texts.get(seq)}"`), `message ${seq} was delivered with another text`);
  }
  return { ...usage, rate: perSecond(text * load.subscribers, usage.ms) };
}

async function paced(connections: Connections, load: LoadOf<'paced'>, ms: number): Promise<Values> {
  const { send } = connections.dialect;
  const sender = await connections.openOne();
  const audience = await createAudience(connections, sender, load.subscribers);
  const latencies: number[] = [];
  audience.watch = (_subscriber, bytes, start, end) => {
    const now = performance.now();
    latencies.push(now - Number.parseFloat(after(bytes.toString('latin1', start, end), '"text":"')));
  };

  const stop = startMeter(connections.target.pids);
  const count = Math.max(1, Math.round((ms / 1000) * load.perSecond));
  const begin = performance.now();
  for (let n = 0; n < count; n++) {
    // By the clock, so that late timers do not slow the pace.
    await sleep(begin + (n * 1000) / load.perSecond - performance.now());
    // The text begins with the moment of the send; subscribers are in this process and share its clock.
    sender.request(
      (id) => send(id, audience.conversation, `${performance.now().toFixed(4)} ${WORDS}`),
      () => {},
    );
  }
  await audience.hasReceived(count);
  const usage = stop();
  await audience.finish();
  check(
    latencies.every((latency) => latency >= 0),
    'a message was delivered with another text',
  );
  return { ...usage, ...percentiles(latencies) };
}

async function fill(connections: Connections, { messages, window }: LoadOf<'fill'>): Promise<Values> {
  const { dialect, target } = connections;
  const connection = await connections.openOne();
  const conversation = await connections.openConversation(connection);
  let made = 1;
  const stop = startMeter(connections.target.pids);
  await keepBusy(connection, window, {
    next() {
      const size = Math.min(dialect.fillSize, messages - made);
      if (size === 0) return null;
      const texts = Array.from({ length: size }, (_, n) => `${made + n + 1} ${WORDS}`);
      made += size;
      return (id) => dialect.fill(id, conversation, texts);
    },
    replied() {},
  });
  filled.set(target.url, { conversation, messages });
  return { ...stop() };
}

async function history(connections: Connections, { size, window }: LoadOf<'history'>, ms: number): Promise<Values> {
  const { dialect, target } = connections;
  const connection = await connections.openOne();
  const source = filled.get(target.url);
  if (!source) throw new Error('nothing to read');
  const { conversation, messages } = source;

  /** Reads the page before a message again and again. */
  async function read(beforeSeq: number, before: string | null): Promise<{ rate: number; p50: number }> {
    const makeFrame = (id: string) => dialect.page(id, conversation, size, before);
    // One reply is read in full. The others are the same but for their ids.
    const first = await connection.ask(makeFrame);
    const page = dialect.messages(first);
    const right = page.every(({ seq, text }, n) => seq === beforeSeq - size + n && text.endsWith(WORDS));
    check(right && page.length === size, `not the ${size} messages before ${beforeSeq}: ${first}`);

    const latencies: number[] = [];
    const begin = performance.now();
    await keepBusy(connection, window, {
      next: () => (performance.now() < begin + ms / 2 ? makeFrame : null),
      replied(reply, latency) {
        latencies.push(latency);
        check(reply.length === first.length && seqIn(reply) === beforeSeq - size, `another page: ${reply}`);
      },
    });
    return { rate: perSecond(latencies.length, performance.now() - begin), ...percentiles(latencies) };
  }

  const middle = Math.floor(messages / 2);
  const before = await dialect.before(connection.ask, conversation, middle);
  const stop = startMeter(connections.target.pids);
  const newest = await read(messages + 1, null);
  const deep = await read(middle, before);
  return { ...stop(), newest: newest.rate, deep: deep.rate, deepToNewest: deep.p50 / newest.p50 };
}

async function idle(connections: Connections, load: LoadOf<'idle'>, ms: number): Promise<Values> {
  const { dialect, target } = connections;
  const sender = await connections.openOne();
  const audiences = [await createAudience(connections, sender, load.subscribers)];
  const before = await heldBytes(target.pids);
  while (audiences.length < load.conversations) {
    audiences.push(await createAudience(connections, sender, load.subscribers));
  }
  const grown = (await heldBytes(target.pids)) - before;
  const stop = startMeter(connections.target.pids);
  await sleep(ms);
  const usage = stop();

  // Whoever does nothing is to be still there.
  for (const { conversation, hasReceived } of audiences) {
    await sender.ask((id) => dialect.send(id, conversation, WORDS));
    await hasReceived(1);
  }
  await Promise.all(audiences.map((audience) => audience.finish()));
  return { ...usage, kilobytes: grown / 1000 / ((load.conversations - 1) * load.subscribers) };
}

interface Requests {
  /** Makes the next request; null when there is to be no other. */
  next(): ((id: string) => string) | null;
  /** Gets every reply, and which request it answers: 1 is the first. */
  replied(reply: string, latency: number, request: number): void;
}

/** Keeps `window` requests outstanding until there are no more; resolves when all are answered, rejects when `replied` throws. */
function keepBusy(connection: Connection, window: number, { next, replied }: Requests): Promise<void> {
  return new Promise((resolve, reject) => {
    let requests = 0;
    let outstanding = 0;
    function send(): void {
      const makeFrame = next();
      if (!makeFrame) {
        if (outstanding === 0) resolve();
        return;
      }
      const request = ++requests;
      outstanding++;
      const sentAt = performance.now();
      connection.request(makeFrame, (reply) => {
        outstanding--;
        try {
          replied(reply, performance.now() - sentAt, request);
          send();
        } catch (error) {
          reject(error);
        }
      });
    }
    for (let n = 0; n < window; n++) send();
  });
}

const SEQ = '"seq":';

/** The first `seq` of a frame; NaN where there is none. */
function seqIn(text: string): number {
  return Number.parseInt(after(text, SEQ), 10);
}

/** The next 20 characters after the first occurrence of a mark; empty where there is none. */
function after(text: string, mark: string): string {
  const at = text.indexOf(mark);
  return at === -1 ? '' : text.slice(at + mark.length, at + mark.length + 20);
}

function percentiles(latencies: number[]): { p50: number; p99: number } {
  latencies.sort((a, b) => a - b);
  return { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) };
}

function perSecond(count: number, ms: number): number {
  return (count / ms) * 1000;
}

function check(right: boolean, problem: string): asserts right {
  if (!right) throw new Error(problem);
}
