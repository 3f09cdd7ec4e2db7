import { once } from 'node:events';
import { MongoClient } from 'mongodb';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { check, follow, type History, inTurn, write, writeEnd } from './support/chaos.ts';
import { connectGraphql, post } from './support/clients.ts';
import { processes } from './support/process.ts';
import { type ReplicaSet, startReplicaSet } from './support/replica-set.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const KEY = { configId: 'c1', members: [ANN, BOB] };
const SEND =
  'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } conversation { id } } }';

const { start, kill } = processes();
const fresh = (): History => ({ attempted: new Set(), acknowledged: new Map() });
let databases = 0;

/** Two instances on one fresh database, with the conversation opened. */
async function twoInstances(set: ReplicaSet) {
  const STORE_URL = set.uri(`chaos${++databases}`);
  const instances = [await start({ STORE_URL }), await start({ STORE_URL })] as const;
  const { data } = await post(instances[0].url, ANN, SEND, {
    input: { to: { key: KEY }, text: 'text of first', clientId: 'first' },
  });
  const history = fresh();
  history.attempted.add('first');
  history.acknowledged.set('first', 1);
  return {
    STORE_URL,
    instances,
    id: data.sendMessage.conversation.id as string,
    history,
    urls: instances.map(({ ws }) => ws),
  };
}

describe.runIf(inject('mongod'))('two instances on a replica set of one', () => {
  let set: ReplicaSet;
  beforeAll(async () => {
    set = await startReplicaSet(1);
  });
  afterAll(() => set.stop());

  test('store 4,000 messages of two writers each in one conversation, in the same order for every reader', async () => {
    const { urls, id, history } = await twoInstances(set);
    const following = [0, 1, 0, 1].map((i) => follow(() => urls[i] ?? '', BOB, id));
    const writing = [0, 1, 2, 3].map((w) =>
      write(() => urls[w % 2] ?? '', w < 2 ? ANN : BOB, KEY, 1000, `w${w}`, history, 8),
    );
    expect((await Promise.allSettled(writing)).filter(({ status }) => status === 'rejected')).toEqual([]);
    await writeEnd(() => urls[0] ?? '', ANN, KEY, history);
    const lists = await Promise.all(following);
    expect(history.acknowledged.size).toBe(4002);
    check(lists, history);
  });

  test('serve all clients as two workers on one port, and drain together', async () => {
    const STORE_URL = set.uri(`chaos${++databases}`);
    const { child, url, ws } = await start({ STORE_URL }, '--workers', '2');
    const history = fresh();
    await Promise.all([0, 1].map((w) => write(() => ws, ANN, KEY, 100, `w${w}`, history, 4)));
    const { data } = await post(url, ANN, '{ chatList { nodes { id lastSeq } } }');
    expect(data.chatList.nodes[0].lastSeq).toBe(200);
    await writeEnd(() => ws, ANN, KEY, history);
    check([await follow(() => ws, BOB, data.chatList.nodes[0].id)], history);
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    expect((await exit)[0]).toBe(0);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });

  test('lose nothing when killed and drained in turn, with clients that reconnect to the other', async () => {
    const { STORE_URL, instances, urls, id, history } = await twoInstances(set);
    const live: (typeof instances)[number][] = [...instances];
    const instance = (turn: number) => inTurn(urls, turn);
    const following = [0, 1].map((i) => follow(instance(i), BOB, id));
    const writing = Promise.all([0, 1].map((w) => write(instance(w), ANN, KEY, 400, `w${w}`, history, 4)));
    for (const [i, signal] of (['SIGKILL', 'SIGTERM'] as const).entries()) {
      const before = history.acknowledged.size;
      await expect.poll(() => history.acknowledged.size, { interval: 5 }).toBeGreaterThan(before + 50);
      const victim = live[i];
      if (!victim) throw new Error('there are two');
      victim.child.kill(signal);
      const replacement = await start({ STORE_URL });
      urls[i] = replacement.ws;
      live[i] = replacement;
    }
    await writing;
    await writeEnd(() => urls[0] ?? '', ANN, KEY, history);
    const lists = await Promise.all(following);
    expect(history.acknowledged.size).toBe(history.attempted.size);
    check(lists, history);
  });
});

test.runIf(inject('mongod'))('an oplog that rolled over while a stream was cut leaves no gap', async () => {
  const set = await startReplicaSet(1, ['--oplogSize', '8', '--syncdelay', '1']);
  try {
    const { instances, urls, id, history } = await twoInstances(set);
    const following = [0, 1].map((i) => follow(() => urls[i] ?? '', BOB, id));
    await write(() => urls[0] ?? '', ANN, KEY, 50, 'before', history, 4);
    instances[1].child.kill('SIGSTOP');
    await write(() => urls[0] ?? '', ANN, KEY, 200, 'meanwhile', history, 4);
    const client = await MongoClient.connect(set.uri('filler'));
    const filler = { text: 'x'.repeat(1_000_000) };
    const oldest = () => client.db('local').collection('oplog.rs').find().sort({ $natural: 1 }).limit(1).next();
    const first = await oldest();
    for (let i = 0; i < 60 || (await oldest())?.ts.equals(first?.ts); i++)
      await client
        .db('filler')
        .collection('f')
        .insertOne({ ...filler });
    await client.close();
    instances[1].child.kill('SIGCONT');
    await write(() => urls[0] ?? '', ANN, KEY, 50, 'after', history, 4);
    await writeEnd(() => urls[0] ?? '', ANN, KEY, history);
    const lists = await Promise.all(following);
    expect(lists[0]).toHaveLength(302);
    check(lists, history);
  } finally {
    await set.stop();
  }
});

describe.runIf(inject('mongod'))('two instances on a replica set of three', () => {
  let set: ReplicaSet;
  beforeAll(async () => {
    set = await startReplicaSet(3);
  }, 120_000);
  afterAll(() => set.stop());

  test.each<[string, (set: ReplicaSet) => Promise<() => Promise<void>>]>([
    [
      'killed',
      async () => {
        const primary = await set.primary();
        primary.signal('SIGKILL');
        return () => primary.restart();
      },
    ],
    [
      // What only the old primary has is undone when it comes back: none of it may have been acknowledged.
      'killed with writes that no other member has',
      async () => {
        const primary = await set.primary();
        const others = set.members().filter(({ port }) => port !== primary.port);
        const hold = (mode: string) =>
          Promise.all(others.map(({ admin }) => admin({ configureFailPoint: 'stopReplProducer', mode })));
        const newest = () => primary.admin({ replSetGetStatus: 1 }).then(({ optimes }) => optimes);
        await hold('alwaysOn');
        await expect
          .poll(newest)
          .toSatisfy(({ appliedOpTime, lastCommittedOpTime }) => appliedOpTime.ts.gt(lastCommittedOpTime.ts));
        primary.signal('SIGKILL');
        await hold('off');
        return () => primary.restart();
      },
    ],
    [
      'stepped down',
      async () => {
        await set.admin({ replSetStepDown: 5, secondaryCatchUpPeriodSecs: 1, force: true }).catch(() => {});
        return async () => {};
      },
    ],
    [
      'frozen',
      async () => {
        const primary = await set.primary();
        primary.signal('SIGSTOP');
        return async () => primary.signal('SIGCONT');
      },
    ],
  ])('lose nothing when the primary is %s, and send again within 15 s', { timeout: 180_000 }, async (_, fault) => {
    const { instances, urls, id, history } = await twoInstances(set);
    const following = [0, 1].map((i) => follow(() => urls[i] ?? '', BOB, id));
    let stop = false;
    const writing = Promise.all(
      [0, 1].map(async (w) => {
        for (let round = 0; !stop; round++)
          await write(() => urls[w] ?? '', ANN, KEY, 20, `w${w}.${round}`, history, 4);
      }),
    );
    const progress = async (count: number, timeout: number) => {
      const before = history.acknowledged.size;
      const more = expect.poll(() => history.acknowledged.size, { timeout, interval: 20 });
      await more.toBeGreaterThanOrEqual(before + count);
    };
    await progress(100, 30_000);
    const mend = await fault(set);
    // Sends in flight may still get the answer that was decided before.
    await progress(9, 15_000);
    await mend();
    await progress(100, 30_000);
    stop = true;
    await writing;
    await writeEnd(() => urls[0] ?? '', ANN, KEY, history);
    const lists = await Promise.all(following);
    expect(history.acknowledged.size).toBe(history.attempted.size);
    check(lists, history);
    for (const { child, url } of instances) {
      expect(child.exitCode).toBeNull();
      await expect.poll(async () => (await fetch(`${url}/readyz`)).status, { timeout: 15_000 }).toBe(200);
    }
  });

  test('refuse sends while two of three members are down, report it, keep running and recover', {
    timeout: 180_000,
  }, async () => {
    const { instances, id } = await twoInstances(set);
    const [{ url, child, ws }] = instances;
    const line = await connectGraphql(ws, BOB);
    const events = line.subscribe('subscription ($id: ID!) { messageAdded(conversationId: $id) { seq } }', { id });
    await line.run('{ viewer { email } }');
    const primary = await set.primary();
    const down = [primary, set.members().find(({ port }) => port !== primary.port)];
    for (const member of down) member?.signal('SIGKILL');
    for (let i = 0; i < 3; i++) {
      const at = Date.now();
      const { errors } = await post(url, ANN, SEND, { input: { to: { key: KEY }, text: 'text of x', clientId: 'x' } });
      expect(Date.now() - at).toBeLessThan(10_000);
      expect(errors?.[0]?.extensions.code).toBe('UNAVAILABLE');
      expect(errors?.[0]?.message).toMatch(/not stored|outcome unknown, repeat with the same clientId/);
    }
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    await Promise.all(down.map((member) => member?.restart()));
    await expect.poll(async () => (await fetch(`${url}/readyz`)).status, { timeout: 60_000, interval: 500 }).toBe(200);
    // Another election may follow: like a client, the test repeats the send.
    const input = { to: { key: KEY }, text: 'text of x', clientId: 'x' };
    const seq = async () => (await post(url, ANN, SEND, { input })).data?.sendMessage.message.seq;
    await expect.poll(seq, { timeout: 30_000 }).toBe(2);
    expect((await events.next())?.data.messageAdded.seq).toBe(2);
    expect(child.exitCode).toBeNull();
    await kill(child);
  });
});
