import { setTimeout as sleep } from 'node:timers/promises';
import type { Values } from '../clients.ts';
import { AT_ONCE, type Connection, type Connections } from '../connection.ts';
import {
  type Conversation,
  type Follower,
  follow,
  newMessage,
  openConversation,
  stored,
  verify,
} from '../conversations.ts';
import { lastSeqOf } from '../frames.ts';
import { percentiles, perOperation, residentMb, startMeter } from '../meter.ts';
import { pageOperation } from '../page.ts';
import { concurrently } from '../requests.ts';

/**
 * Users with the inbox page open: each follows the chat list and a conversation of two. They send at a fixed rate,
 * whatever the server does, and some open their conversation anew. With two instances the two members are on different
 * ones.
 */
export interface Inbox {
  readonly users: number;
  /** Messages in each conversation before. */
  readonly history: number;
  readonly opensPerSecond: number;
  /**
   * Messages per second, ascending; each is measured for the time of the job, up to the first that is far from holding.
   */
  readonly rates: readonly number[];
  /** The rate to report the CPU time of, where it holds; else the highest that holds. */
  readonly reported: number;
}

/** A rate holds while no send is refused, and 99 % of the deliveries come within this time, in milliseconds. */
const HOLDS_MS = 100;
/** How long what is under way at the end of a rate may take, in milliseconds. */
const SETTLE_MS = 15_000;
const LOOK_MS = 10;
/** How often a rate is tried before it counts as missed: the machine may be busy otherwise. */
const ATTEMPTS = 2;
/** The ramp ends at a rate that is missed with this p99, in milliseconds. */
const HOPELESS_MS = 400;
/** Messages per second, and for how long, before the first rate. */
const WARM_UP = { rate: 40, ms: 3000 };
const PAGE_SIZE = 50;
const LIST_SIZE = 20;
/**
 * Distance between successive senders, without a common divisor with the number of users: neighbours share a
 * conversation.
 */
const STRIDE = 379;

const PAGE = {
  list: pageOperation('ChatList'),
  listChanged: pageOperation('ChatListChanged'),
  open: pageOperation('OpenNewest'),
  markRead: pageOperation('MarkRead'),
};

interface User {
  readonly connection: Connection;
  readonly conversation: Conversation;
  readonly follower: Follower;
  /** The newest message that the chat list told of. */
  listed: number;
}

/** Outcome of one rate. */
interface Step {
  readonly holds: boolean;
  readonly values: Values;
}

/**
 * Values: held (the highest rate that holds; 0 for none), of it p50, p99 of deliveries and openp50, openp99 of opens,
 * in milliseconds; rate (that the CPU times are of), rss (megabytes at the end).
 */
export async function inbox(connections: Connections, load: Inbox, ms: number): Promise<Values> {
  let delivered = (_number: number) => {};
  const users = await openUsers(connections, load, (number) => delivered(number));
  const followers = users.map(({ follower }) => follower);
  let turns = 0;
  /** Sends and opens that are not answered. */
  let outstanding = 0;
  let refused = 0;
  const next = () => users[(++turns * STRIDE) % users.length] as User;
  const settled = () =>
    outstanding === 0 &&
    users.every(({ follower: { last, conversation }, listed }) => last === conversation.last && listed === last);

  /** Sends at a rate, and opens conversations, for a time; resolves when everything is answered and delivered. */
  async function run(rate: number, forMs: number): Promise<Step> {
    const latencies: number[] = [];
    const opens: number[] = [];
    let [sent, acknowledged, opened, first] = [0, 0, 0, 0];
    const begin = performance.now();
    const dueAt = (count: number, perSecond: number) => begin + (count * 1000) / perSecond;
    delivered = (number) => latencies.push(performance.now() - dueAt(number - first, rate));

    function send({ connection, conversation }: User): void {
      const message = newMessage(conversation);
      if (sent++ === 0) first = message.number;
      outstanding++;
      connection.request(
        (id) => connections.dialect.send(id, message),
        () => {
          outstanding--;
          acknowledged++;
          stored(conversation, message.number);
        },
        () => {
          outstanding--;
          refused++;
        },
      );
    }
    async function open(user: User): Promise<void> {
      const from = performance.now();
      outstanding++;
      await openAnew(user);
      outstanding--;
      opens.push(performance.now() - from);
    }
    const stop = startMeter(connections.target);
    while (performance.now() < begin + forMs) {
      while (dueAt(sent, rate) <= performance.now()) send(next());
      for (; dueAt(opened, load.opensPerSecond) <= performance.now(); opened++) void open(next());
      await sleep(1);
    }
    await until(settled, SETTLE_MS);
    const cpu = perOperation(stop(), acknowledged);
    const values: Values = { ...cpu, ...percentiles(latencies), ...percentiles(opens, 'open'), rate, refused };
    return { holds: refused === 0 && settled() && (values.p99 ?? HOLDS_MS) <= HOLDS_MS, values };
  }

  await run(WARM_UP.rate, WARM_UP.ms);
  let held = 0;
  /**
   * Latencies are those of the highest rate that holds, CPU times those of the reported rate; both of the lowest where
   * none holds.
   */
  let [felt, cost]: [Values, Values] = [{}, {}];
  let missed = 0;
  for (const rate of load.rates) {
    for (let attempt = 1; attempt <= ATTEMPTS && held < rate && refused === 0; attempt++) {
      const { holds, values } = await run(rate, ms);
      console.log(line(connections.target.name, values, holds));
      if (holds) held = rate;
      if (holds || felt.rate === undefined) felt = values;
      if ((holds && rate <= load.reported) || cost.rate === undefined) cost = values;
      missed = holds ? 0 : settled() && refused === 0 ? (values.p99 ?? HOPELESS_MS) : HOPELESS_MS;
    }
    if (missed >= HOPELESS_MS) break;
  }
  const rss = residentMb(connections.target);
  // Slow deliveries must still come, each once. After a refusal the expected ones are unknown: it may have been stored.
  if (refused === 0) {
    if (!(await until(settled, SETTLE_MS))) throw new Error('messages were not acknowledged, delivered or listed');
    await verify(followers);
  }
  const { p50, p99, openp50, openp99 } = felt;
  return { ...cost, ...({ p50, p99, openp50, openp99 } as Values), held, rss };
}

/** Waits for something, for some milliseconds at most; resolves with whether it came true. */
async function until(holds: () => boolean, ms: number): Promise<boolean> {
  const end = performance.now() + ms;
  while (!holds() && performance.now() < end) await sleep(LOOK_MS);
  return holds();
}

async function openUsers(connections: Connections, load: Inbox, delivered: (number: number) => void): Promise<User[]> {
  const openUser = async (connection: Connection, conversation: Conversation): Promise<User> => {
    const follower = follow(connections, connection, conversation, delivered);
    // It has what came before from the page.
    follower.last = conversation.last;
    const user = { connection, conversation, follower, listed: conversation.last };
    connection.subscribe(
      (id) => PAGE.listChanged(id, ''),
      (bytes, start, end) => {
        user.listed = lastSeqOf(bytes, start, end);
      },
    );
    await connection.ask((id) => PAGE.list(id, `"first":${LIST_SIZE}`));
    return user;
  };
  const openPair = async (): Promise<User[]> => {
    const pair = await Promise.all([connections.open(0), connections.open(1)]);
    const conversation = await openConversation(connections, pair[0], [pair[1].user], load.history);
    return Promise.all(pair.map((connection) => openUser(connection, conversation)));
  };
  return (await concurrently(load.users / 2, AT_ONCE / 2, openPair)).flat();
}

/** What the page asks for when its user comes to a conversation. */
async function openAnew({ connection, conversation: { id: conversation, last } }: User): Promise<void> {
  await connection.ask((id) => PAGE.open(id, `"id":"${conversation}","size":${PAGE_SIZE}`));
  await Promise.all([
    connection.ask((id) => PAGE.markRead(id, `"input":{"conversationId":"${conversation}","seq":${last}}`)),
    connection.ask((id) => PAGE.list(id, `"first":${LIST_SIZE}`)),
  ]);
}

function line(name: string, values: Values, holds: boolean): string {
  const of = (value: string, digits = 0) => (values[value] ?? Number.NaN).toFixed(digits);
  const mongod = Number.isNaN(values.mongodUs) ? '' : ` + ${of('mongodUs')} of mongod`;
  const cpu = `${of('mainUs')} + ${of('secondUs')} + ${of('othersUs')}${mongod}`;
  return (
    `  ${name}, ${values.rate}/s ${holds ? 'holds' : 'does not hold'}: deliveries ` +
    `p50 ${of('p50', 1)}, p99 ${of('p99', 1)} ms, ` +
    `opens p99 ${of('openp99', 1)} ms, ${of('refused')} refused; ${cpu} µs a message; ` +
    `clients ${of('clientsCpu')} %, elsewhere ${of('elsewhereCpu')} %`
  );
}
