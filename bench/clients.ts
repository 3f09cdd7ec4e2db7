/**
 * The load, in a process of its own: takes one job after the other from its parent, and answers each with what was
 * measured. It checks what it measures: a message that is lost, repeated or out of order fails the job.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, type Connections, createConnections } from './connection.ts';
import { DIALECTS } from './dialects.ts';
import { createMeter, percentile, type Usage } from './meter.ts';
import type { Target } from './servers.ts';

/** What is to be done to a server. */
export type Load =
  /** Each connection sends to its own conversation. Values: rate (acknowledged sends per second), p50, p99. */
  | { readonly kind: 'sends'; readonly connections: number; readonly window: number }
  /** One sends, all others receive. Values: rate (deliveries per second). */
  | { readonly kind: 'fanOut'; readonly subscribers: number; readonly window: number }
  /** The same at a fixed pace. Values: p50, p99 of the time from before the send to a delivery. */
  | { readonly kind: 'paced'; readonly subscribers: number; readonly perSecond: number }
  /** Makes the conversation that `history` reads. Values: rate (messages per second). */
  | { readonly kind: 'fill'; readonly messages: number; readonly window: number }
  /** One connection reads the same page again and again. Values: rate (pages per second), p50, p99. */
  | { readonly kind: 'history'; readonly size: number; readonly deep: boolean; readonly window: number };

/** A load for one server. */
export interface Job {
  readonly target: Target;
  readonly load: Load;
  /** How long to go on with it. */
  readonly ms: number;
}

/** Latencies are in milliseconds. */
type Values = Readonly<Record<string, number>>;

/** What a job is answered with. */
export type Answer = { readonly values: Values; readonly usage: Usage } | { readonly error: string };

/** Beside a number, what a message says. */
const WORDS = 'the quick brown fox jumps over the lazy dog and comes back for the second invoice of the month';

/** How often subscribers are given something to receive until all of them receive, in milliseconds. */
const PROBE_MS = 50;
/** How long the last of the deliveries may take, in milliseconds. */
const DELIVERY_MS = 30_000;
/** How long to look for deliveries that should not come, in milliseconds. */
const QUIET_MS = 50;

/** Characters of an error that are reported: it may quote a frame. */
const ERROR_LENGTH = 500;

/** Conversations filled for `history`, by the address of their server. */
const filled = new Map<string, { readonly conversation: string; readonly messages: number }>();
let conversations = 0;

process.on('message', async (job: Job) => {
  const connections = createConnections(job.target);
  let answer: Answer;
  try {
    answer = await Promise.race([perform(job, connections), connections.failed]);
  } catch (error) {
    answer = { error: String(error instanceof Error ? error.message : error).slice(0, ERROR_LENGTH) };
  }
  await connections.close();
  process.send?.(answer, () => {}); // a parent that is gone needs no answer
});
process.on('disconnect', () => process.exit());

async function perform({ target, load, ms }: Job, connections: Connections): Promise<Answer> {
  const meter = createMeter(target.pids);
  const context: Context = { target, ms, connections, meter };
  const values = await measure(context, load);
  return { values, usage: meter.usage() };
}

interface Context {
  readonly target: Target;
  readonly ms: number;
  readonly connections: Connections;
  readonly meter: ReturnType<typeof createMeter>;
}

function measure(context: Context, load: Load): Promise<Values> {
  switch (load.kind) {
    case 'sends':
      return sends(context, load);
    case 'fanOut':
      return fanOut(context, load);
    case 'paced':
      return paced(context, load);
    case 'fill':
      return fill(context, load);
    case 'history':
      return history(context, load);
  }
}

type LoadOf<Kind extends Load['kind']> = Extract<Load, { kind: Kind }>;

async function sends(context: Context, { connections: count, window }: LoadOf<'sends'>): Promise<Values> {
  const { connections, meter, ms } = context;
  const { send } = dialectOf(context);
  const senders = await connections.open(count);
  const names = await Promise.all(senders.map((sender) => openConversation(context, sender)));
  const latencies: number[] = [];
  /** The numbers each connection's sends were acknowledged with, as they came. */
  const acknowledged = senders.map((): number[] => []);

  meter.start();
  const end = performance.now() + ms;
  let text = 0;
  await Promise.all(
    senders.map((sender, index) => {
      const conversation = names[index] ?? '';
      return keepBusy(sender, window, {
        next: () => (performance.now() < end ? (id) => send(id, conversation, `${++text} ${WORDS}`) : null),
        replied(reply, latency) {
          latencies.push(latency);
          acknowledged[index]?.push(seqIn(reply));
        },
      });
    }),
  );
  meter.stop();

  for (const seqs of acknowledged) {
    // 1 opened the conversation.
    const wrong = seqs.sort((a, b) => a - b).find((seq, n) => seq !== n + 2);
    check(wrong === undefined, `sends were acknowledged as ${wrong}, but not all before it, or it twice`);
  }
  return { rate: (latencies.length / meter.elapsedMs()) * 1000, ...percentiles(latencies) };
}

async function fanOut(context: Context, { subscribers, window }: LoadOf<'fanOut'>): Promise<Values> {
  const { meter, ms } = context;
  const { send } = dialectOf(context);
  const audience = await createAudience(context, subscribers);
  const { sender, conversation } = audience;
  /** What was sent, by the number it was acknowledged with. */
  const texts = new Map<number, string>();
  // One subscriber's frames are kept, and read when there is time.
  const witnessed: Buffer[] = [];
  audience.witness = (frame) => witnessed.push(frame);

  const before = audience.received();
  meter.start();
  const end = performance.now() + ms;
  let text = 0;
  await keepBusy(sender, window, {
    next() {
      if (performance.now() >= end) return null;
      const words = `${++text} ${WORDS}`;
      return (id) => send(id, conversation, words);
    },
    replied(reply, _latency, n) {
      texts.set(seqIn(reply), `${n} ${WORDS}`);
    },
  });
  await audience.hasReceived(text);
  meter.stop(audience.lastAt());
  await audience.finish();

  for (const frame of witnessed) {
    const seq = seqIn(frame.toString('latin1'));
    check(frame.includes(`"text":"${texts.get(seq)}"`), `message ${seq} was delivered with another text`);
  }
  return { rate: ((audience.received() - before) / meter.elapsedMs()) * 1000 };
}

async function paced(context: Context, { subscribers, perSecond }: LoadOf<'paced'>): Promise<Values> {
  const { meter, ms } = context;
  const { send } = dialectOf(context);
  const audience = await createAudience(context, subscribers);
  const { sender, conversation } = audience;
  const latencies: number[] = [];
  audience.everybody = (frame) => {
    const now = performance.now();
    latencies.push(now - Number.parseFloat(after(frame.toString('latin1'), '"text":"')));
  };

  meter.start();
  const count = Math.max(1, Math.round((ms / 1000) * perSecond));
  const begin = performance.now();
  for (let n = 0; n < count; n++) {
    // By the clock, so that late timers do not slow the pace.
    await sleep(begin + (n * 1000) / perSecond - performance.now());
    // The text begins with the moment of the send; subscribers are in this process and share its clock.
    sender.request(
      (id) => send(id, conversation, `${performance.now().toFixed(4)} ${WORDS}`),
      () => {},
    );
  }
  await audience.hasReceived(count);
  meter.stop();
  await audience.finish();
  check(
    latencies.every((latency) => latency >= 0),
    'a message was delivered with another text',
  );
  return percentiles(latencies);
}

async function fill(context: Context, { messages, window }: LoadOf<'fill'>): Promise<Values> {
  const { connections, meter, target } = context;
  const dialect = dialectOf(context);
  const [connection] = await connections.open(1);
  if (!connection) throw new Error('no connection');
  const conversation = await openConversation(context, connection);
  let made = 1;
  meter.start();
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
  meter.stop();
  filled.set(target.url, { conversation, messages });
  return { rate: (messages / meter.elapsedMs()) * 1000 };
}

async function history(context: Context, { size, deep, window }: LoadOf<'history'>): Promise<Values> {
  const { connections, meter, ms, target } = context;
  const dialect = dialectOf(context);
  const [connection] = await connections.open(1);
  const source = filled.get(target.url);
  if (!connection || !source) throw new Error('nothing to read');
  const { conversation, messages } = source;
  const beforeSeq = deep ? Math.floor(messages / 2) : messages + 1;
  const before = deep ? await dialect.before(connection.ask, conversation, beforeSeq) : null;
  const makeFrame = (id: string) => dialect.page(id, conversation, size, before);

  // One reply is read in full. The others are the same but for their ids.
  const first = await connection.ask(makeFrame);
  const page = dialect.messages(first);
  const right = page.every(({ seq, text }, n) => seq === beforeSeq - size + n && text.endsWith(WORDS));
  check(right && page.length === size, `not the ${size} messages before ${beforeSeq}: ${first}`);

  const latencies: number[] = [];
  meter.start();
  const end = performance.now() + ms;
  await keepBusy(connection, window, {
    next: () => (performance.now() < end ? makeFrame : null),
    replied(reply, latency) {
      latencies.push(latency);
      check(reply.length === first.length && seqIn(reply) === beforeSeq - size, `another page: ${reply}`);
    },
  });
  meter.stop();
  return { rate: (latencies.length / meter.elapsedMs()) * 1000, ...percentiles(latencies) };
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

/**
 * Subscribers of one new conversation and somebody who sends to it. All subscribers are known to receive; that each
 * receives every message once and in order is checked all the time.
 */
async function createAudience(context: Context, size: number) {
  const { connections, target } = context;
  const { send } = dialectOf(context);
  const [sender] = await connections.open(1);
  if (!sender) throw new Error('no connection');
  const conversation = await openConversation(context, sender);
  const subscribers = await connections.open(size, target.audienceUrl);

  const last = new Array<number>(size).fill(0);
  let silent = size;
  let received = 0;
  let lastAt = 0;
  let wrong = '';
  let sent = 1;

  const audience = {
    sender,
    conversation,
    /** Gets the frames of one subscriber. */
    witness: (_frame: Buffer): unknown => undefined,
    /** Gets the frames of all subscribers. */
    everybody: null as ((frame: Buffer) => void) | null,
    /** Deliveries so far. */
    received: () => received,
    /** When the last delivery came. */
    lastAt: () => lastAt,
    /** Resolves when all have received `count` messages more than when it was last asked. */
    async hasReceived(count: number): Promise<void> {
      const late = performance.now() + DELIVERY_MS;
      while (!wrong && last.some((seq) => seq < sent + count)) {
        check(
          performance.now() < late,
          `of messages 1 to ${sent + count} subscribers got no more than to ${Math.min(...last)}`,
        );
        await sleep(5);
      }
      check(!wrong, wrong);
      sent += count;
    },
    /** Looks whether anything comes that should not. */
    async finish(): Promise<void> {
      await sleep(QUIET_MS);
      check(!wrong && last.every((seq) => seq === sent), wrong || 'more was delivered than was sent');
    },
  };

  subscribers.forEach((subscriber, index) => {
    subscriber.subscribe(conversation, (frame) => {
      const seq = seqInBuffer(frame);
      const previous = last[index] ?? 0;
      if (previous === 0) silent--;
      else if (seq !== previous + 1) wrong ||= `subscriber ${index} got message ${seq} after ${previous}`;
      if (!(seq > 0)) wrong ||= `subscriber ${index} got ${frame.toString('latin1')}`;
      last[index] = seq;
      received++;
      lastAt = performance.now();
      if (index === 0) audience.witness(frame);
      audience.everybody?.(frame);
    });
  });
  while (silent > 0 && !wrong) {
    await sender.ask((id) => send(id, conversation, WORDS));
    sent++;
    await sleep(PROBE_MS);
  }
  await audience.hasReceived(0);
  return audience;
}

/** Opens a new conversation with a message. */
function openConversation(context: Context, { ask }: Connection): Promise<string> {
  return dialectOf(context).open(ask, `bench-${process.pid}-${++conversations}`, `1 ${WORDS}`);
}

function dialectOf({ target }: Context) {
  return DIALECTS[target.dialect];
}

const SEQ = '"seq":';
const SEQ_BYTES = Buffer.from(SEQ);
const ZERO = 48;

/** The first `seq` of a frame; NaN where there is none. */
function seqIn(text: string): number {
  return Number.parseInt(after(text, SEQ), 10);
}

/** The same without making a text; 0 where there is none. */
function seqInBuffer(frame: Buffer): number {
  let at = frame.indexOf(SEQ_BYTES);
  if (at === -1) return 0;
  at += SEQ_BYTES.length;
  let seq = 0;
  for (let digit = frame[at]; digit !== undefined && digit >= ZERO && digit <= ZERO + 9; digit = frame[++at]) {
    seq = seq * 10 + digit - ZERO;
  }
  return seq;
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

function check(right: boolean, problem: string): asserts right {
  if (!right) throw new Error(problem);
}
