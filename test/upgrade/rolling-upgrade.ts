/**
 * Shows that a rolling upgrade to this build and back loses nothing: two instances of the older program on a replica
 * set of three are replaced one by one, then replaced by the older program again, while clients send, edit, redact and
 * read, and subscribers resume by position. Exit code 1 when anything is missing, twice or out of order. Run by hand:
 *
 *   npm run build && npx tsx test/upgrade/rolling-upgrade.ts
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { ConversationId } from '../../src/model.ts';
import { openMongo } from '../../src/store/mongo/mongo.ts';
import { check, follow, type History, inTurn, write, writeEnd } from '../support/chaos.ts';
import { post } from '../support/clients.ts';
import { findMongod } from '../support/mongod.ts';
import { freePort, listening } from '../support/process.ts';
import { startReplicaSet } from '../support/replica-set.ts';
import { buildOlderProgram } from './older-program.ts';
import { recount } from './recount.ts';

/** Time limit without the build of the older program, in milliseconds. */
const LIMIT_MS = 120_000;
/** Messages acknowledged between two replacements. */
const BETWEEN = 300;
const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];

const SEND = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
const EDIT = 'mutation ($input: EditMessageInput!) { editMessage(input: $input) { message { rev } } }';
const REDACT = 'mutation ($input: RedactMessageInput!) { redactMessage(input: $input) { message { rev } } }';
const READ = 'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { lastSeq } } }';

const older = buildOlderProgram();
const PRESENT = join(import.meta.dirname, '../..');
const limit = setTimeout(() => fail(new Error(`not done within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
const set = await startReplicaSet(3, [], await findMongod());
const STORE_URL = set.uri('upgrade');
const children: ChildProcess[] = [];

/** Releases everything that outlives the process. */
async function clear(): Promise<void> {
  clearTimeout(limit);
  for (const child of children) child.kill('SIGKILL');
  await set?.stop();
  older.remove();
}
async function fail(error: unknown): Promise<never> {
  console.error(error);
  await clear();
  process.exit(1);
}

async function startInstance(root: string, port: number): Promise<ChildProcess> {
  const env = { PATH: process.env.PATH, PORT: String(port), STORE_URL, LOG_LEVEL: 'error', RATE_LIMIT_MESSAGES: '0' };
  const child = spawn(process.execPath, ['dist/main.js'], { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const { url } = await listening(child);
  while ((await fetch(`${url}/readyz`)).status !== 200) await sleep(50);
  return child;
}

const ports = [await freePort(), await freePort()];
const instances = [await startInstance(older.folder, ports[0] ?? 0), await startInstance(older.folder, ports[1] ?? 0)];
const http = ports.map((port) => `http://127.0.0.1:${port}`);
const ws = ports.map((port) => `ws://127.0.0.1:${port}`);

/** A conversation with its load. */
async function startLoad(configId: string, turn: number) {
  const key = { configId, members: [ANN, BOB] };
  const first = { to: { key }, text: 'text of first', clientId: 'first' };
  const { data } = await post(http[0] ?? '', ANN, SEND, { input: first });
  const id: ConversationId = data.sendMessage.conversation.id;
  const history: History = { attempted: new Set(['first']), acknowledged: new Map([['first', 1]]) };
  const edits: { seq: number; text: string }[] = [];
  const redactions: number[] = [];
  const read = { seq: 0 };
  let stopped = false;

  const address = inTurn(http, turn);
  /** Repeats a mutation until it is answered. */
  async function run(user: string, mutation: string, input: object): Promise<void> {
    for (;;) {
      const answer = await post(address(), user, mutation, { input: { conversationId: id, ...input } }).catch(
        () => null,
      );
      if (answer?.data) return;
      const code = answer?.errors?.[0]?.extensions.code;
      if (answer && code !== 'UNAVAILABLE') throw new Error(`refused: ${JSON.stringify(answer.errors)}`);
      await sleep(50);
    }
  }
  async function change(): Promise<void> {
    for (let turn = 0; !stopped; turn++) {
      // Each message is changed once: those of ANN are edited or redacted in turn.
      const own = [...history.acknowledged].filter(([name]) => name.startsWith('ann'));
      const [name, seq = 0] = own[turn] ?? [];
      if (name === undefined) turn--;
      else if (turn % 4 === 0) {
        await run(ANN, REDACT, { seq, reason: 'a slip' });
        redactions.push(seq);
      } else {
        await run(ANN, EDIT, { seq, text: `edited ${name}` });
        edits.push({ seq, text: `edited ${name}` });
      }
      await run(BOB, READ, { seq });
      read.seq = Math.max(read.seq, seq);
      await sleep(20);
    }
  }
  async function send(user: string, name: string): Promise<void> {
    for (let round = 0; !stopped; round++)
      await write(inTurn(ws, turn + round), user, key, 20, `${name}.${round}`, history, 2);
  }
  const following = [ANN, BOB].map((user, i) => follow(inTurn(ws, i), user, id));
  const working = Promise.all([send(ANN, 'ann'), send(BOB, 'bob'), change()]);
  working.catch(fail);
  Promise.all(following).catch(fail);
  return {
    history,
    /** Ends the load and checks what was acknowledged against the log, the subscribers and the counters. */
    async end() {
      stopped = true;
      await working;
      await writeEnd(() => ws[0] ?? '', ANN, key, history);
      const lists = await Promise.all(following);
      expect(history.acknowledged.size).toBe(history.attempted.size);
      check(lists, history);
      const store = await openMongo(STORE_URL);
      const [state, log] = [await store.conversation(id), await store.messages(id, 1, 1_000_000)];
      await store.close();
      if (!state) throw new Error('the conversation is missing');
      expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1));
      expect(log.map(({ clientId }) => clientId)).toEqual(lists[0]);
      expect(log).toHaveLength(state.lastSeq);
      expect(new Set(log.map(({ rev }) => rev)).size).toBe(log.length);
      for (const { seq, text } of edits) expect(log[seq - 1]).toMatchObject({ text, revisions: [{ editor: ANN }] });
      for (const seq of redactions) expect(log[seq - 1]).toMatchObject({ text: '', redactionReason: 'a slip' });
      expect(state.members.get(BOB as never)?.readSeq).toBeGreaterThanOrEqual(read.seq);
      const { stored, byLog } = recount(state, log);
      expect(stored).toEqual(byLog);
      return { messages: log.length, edits: edits.length, redactions: redactions.length, ...stored };
    },
  };
}

try {
  const loads = await Promise.all(['c1', 'c2', 'c3'].map(startLoad));
  const acknowledged = () => loads.reduce((sum, { history }) => sum + history.acknowledged.size, 0);
  /** The longest time without an acknowledgement, in milliseconds. */
  let pause = 0;
  let [count, at] = [0, performance.now()];
  const watch = setInterval(() => {
    const now = performance.now();
    if (acknowledged() > count) [count, at] = [acknowledged(), now];
    else pause = Math.max(pause, now - at);
  }, 10);
  const more = async () => {
    const before = acknowledged();
    while (acknowledged() < before + BETWEEN) await sleep(20);
  };
  await more();
  for (const [name, root] of Object.entries({ 'N+1': PRESENT, N: older.folder }))
    for (const [i, port] of ports.entries()) {
      const began = performance.now();
      const exit = once(instances[i] as ChildProcess, 'exit');
      instances[i]?.kill('SIGTERM');
      expect((await exit)[0]).toBe(0);
      instances[i] = await startInstance(root, port);
      const took = Math.round(performance.now() - began);
      console.log(`instance ${i + 1} replaced by ${name} in ${took} ms; ${acknowledged()} messages acknowledged`);
      await more();
    }
  clearInterval(watch);
  for (const load of loads) console.log(JSON.stringify(await load.end()));
  console.log(`nothing lost, twice or out of order; longest time without an acknowledgement: ${Math.round(pause)} ms`);
} catch (error) {
  await fail(error);
}
await clear();
process.exit(0);
