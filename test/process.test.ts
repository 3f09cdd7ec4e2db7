import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Answer, connectGraphql, connectLegacy, type GraphqlLine, legacyOnce, post } from './support/clients.ts';
import { freePort, listening, processes } from './support/process.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const KEY = { configId: 'c1', members: [ANN, BOB] };
const SEND =
  'mutation ($input: SendMessageInput!) { ' +
  'sendMessage(input: $input) { message { seq } conversation { id } deduplicated } }';

const { directory, ran, run, runAs, start, kill } = processes();

/** The log of the conversation, read whole. */
async function log(url: string): Promise<{ seq: number; clientId: string; text: string }[]> {
  const nodes: { seq: number; clientId: string; text: string }[] = [];
  let after: string | null = null;
  do {
    const query = `query ($key: ConversationKey!, $after: String) { conversation(by: { key: $key }) {
      messages(first: 100, after: $after) { nodes { seq clientId text } pageInfo { hasNextPage endCursor } } } }`;
    const { data }: Answer = await post(url, ANN, query, { key: KEY, after });
    const page = data.conversation?.messages;
    nodes.push(...(page?.nodes ?? []));
    after = page?.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
  } while (after);
  return nodes;
}

test('kill -9 during 2,000 sends, ten rounds: no acknowledged message is lost, and retries add none', async () => {
  const file = { STORE_URL: 'sqlite:kill/kredichat.db' };
  const acknowledged = new Map<string, number>();
  const attempted = new Set<string>();

  async function sendAll(line: GraphqlLine, ids: readonly string[]): Promise<void> {
    const waiting = [...ids];
    const worker = async () => {
      for (let clientId = waiting.shift(); clientId; clientId = waiting.shift()) {
        attempted.add(clientId);
        const { data } = await line.run(SEND, { input: { to: { key: KEY }, text: `text of ${clientId}`, clientId } });
        const { seq } = data.sendMessage.message;
        expect(acknowledged.get(clientId) ?? seq).toBe(seq);
        acknowledged.set(clientId, seq);
      }
    };
    await Promise.all(Array.from({ length: 16 }, worker));
  }

  for (let round = 0; round < 10; round++) {
    const { child, ws } = await start(file);
    const [first, second] = [await connectGraphql(ws, ANN), await connectGraphql(ws, ANN)];
    const ids = Array.from({ length: 2000 }, (_, i) => `${round}.${i}`);
    const sends = Promise.allSettled([sendAll(first, ids.slice(0, 1000)), sendAll(second, ids.slice(1000))]);
    // Earlier in the round with every round: at the first acknowledgements, and in the thick of it.
    const before = acknowledged.size;
    await expect.poll(() => acknowledged.size - before, { interval: 1 }).toBeGreaterThan(100 * (9 - round));
    await kill(child);
    await sends;

    const restarted = await start(file);
    const stored = await log(restarted.url);
    expect(stored.map(({ seq }) => seq)).toEqual(stored.map((_, i) => i + 1));
    expect(new Set(stored.map(({ clientId }) => clientId)).size).toBe(stored.length);
    const foreign = stored.filter(({ clientId, text }) => !attempted.has(clientId) || text !== `text of ${clientId}`);
    expect(foreign).toEqual([]);
    expect([...acknowledged].filter(([clientId, seq]) => stored[seq - 1]?.clientId !== clientId)).toEqual([]);

    const retry = await connectGraphql(restarted.ws, ANN);
    await sendAll(
      retry,
      ids.filter((id) => attempted.has(id)),
    );
    expect(await log(restarted.url)).toHaveLength(attempted.size);
    await kill(restarted.child);
  }
  // The log, and its record.
  expect(await ran(file, 'check')).toMatchObject({ code: 0, out: `${attempted.size} messages: no faults\n` });
}, 300_000);

describe('SIGTERM', () => {
  test('closes 200 subscribers with 1001, exits with 0 within 10 s, and all resume without a gap', async () => {
    const file = { STORE_URL: 'sqlite:term/kredichat.db' };
    const { child, ws } = await start(file);
    const writer = await connectGraphql(ws, ANN);
    const opened = await writer.run(SEND, { input: { to: { key: KEY }, text: 'm1', clientId: '1' } });
    const { id } = opened.data.sendMessage.conversation;
    const added =
      'subscription ($id: ID!, $after: Int) { messageAdded(conversationId: $id, afterSeq: $after) { seq } }';
    const lines = await Promise.all(Array.from({ length: 200 }, () => connectGraphql(ws, BOB)));
    const legacy = await connectLegacy(ws, BOB);
    const seen = lines.map(() => [] as number[]);
    const follow = async (line: GraphqlLine, i: number) => {
      const events = line.subscribe(added, { id, after: seen[i]?.length ?? 0 });
      for (let event = await events.next(); event; event = await events.next()) {
        seen[i]?.push(event.data.messageAdded.seq);
        if (event.data.messageAdded.seq === last) return;
      }
    };
    let last = Number.POSITIVE_INFINITY;
    const following = Promise.allSettled(lines.map(follow));
    let acknowledged = 1;
    const sending = (async () => {
      for (;;) {
        const { data } = await writer.run(SEND, { input: { to: { id }, text: 'more' } });
        acknowledged = data.sendMessage.message.seq;
      }
    })().catch(() => {});
    await expect.poll(() => acknowledged).toBeGreaterThan(20);
    const at = Date.now();
    child.kill('SIGTERM');
    const [exitCode] = await once(child, 'exit');
    expect(exitCode).toBe(0);
    expect(Date.now() - at).toBeLessThan(10_000);
    await sending;
    await following;
    for (const line of [...lines, writer, legacy]) expect((await line.closed()).code).toBe(1001);

    const restarted = await start(file);
    last = (await log(restarted.url)).length;
    expect(last).toBeGreaterThanOrEqual(acknowledged);
    await Promise.all(
      lines.map(async (_, i) => {
        if (seen[i]?.length === last) return;
        const line = await connectGraphql(restarted.ws, BOB);
        await follow(line, i);
      }),
    );
    for (const seqs of seen) expect(seqs).toEqual(Array.from({ length: last }, (_, i) => i + 1));
  });

  test('answers the sends it has accepted', async () => {
    const { child, ws } = await start({ STORE_URL: 'sqlite:accepted/kredichat.db' });
    const line = await connectGraphql(ws, ANN);
    const sends = Array.from({ length: 300 }, (_, i) =>
      line.run(SEND, { input: { to: { key: { ...KEY, configId: `c${i}` } }, text: 'x' } }).catch(() => null),
    );
    await Promise.race(sends);
    child.kill('SIGTERM');
    await once(child, 'exit');
    const acknowledged = (await Promise.all(sends)).filter((answer) => answer?.data).length;
    const { url } = await start({ STORE_URL: 'sqlite:accepted/kredichat.db' });
    const { data } = await post(url, BOB, '{ chatList { unreadTotal } }');
    expect(acknowledged).toBeGreaterThan(0);
    // What it had not begun with is not stored either.
    expect(data.chatList.unreadTotal).toBe(acknowledged);
  });
});

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  '%s drains, and a second signal of any kind does not cut that short',
  async (signal) => {
    const { child, url } = await start({ STORE_URL: 'memory:', LOG_LEVEL: 'info' });
    // A request that is not complete: the drain waits for it.
    const socket = connectTcp({ port: Number(new URL(url).port), host: '127.0.0.1' });
    socket.on('error', () => {}).write('POST /graphql HTTP/1.1\r\nHost: x\r\n');
    await once(socket, 'connect');
    await fetch(`${url}/healthz`);
    const exit = once(child, 'exit');
    const draining = new Promise<void>((resolve) => {
      child.stdout?.on('data', (chunk) => String(chunk).includes('draining') && resolve());
    });
    child.kill(signal);
    await draining;
    for (const second of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) child.kill(second);
    expect(await exit).toEqual([0, null]);
    socket.destroy();
  },
);

test('a terminal that is closed drains the server, whose exit code is 0', async () => {
  const exitCode = join(directory, 'exit-code');
  const main = JSON.stringify(join(import.meta.dirname, '../dist/main.js'));
  const command = `${JSON.stringify(process.execPath)} ${main}`;
  // The shell of the terminal ends with it; the one below it stays for the exit code.
  const shell = `(trap "" HUP; ${command}; echo $? > ${JSON.stringify(exitCode)}); true`;
  const environment = { STORE_URL: 'sqlite:terminal/kredichat.db', SHELL: '/bin/sh' };
  const { child, url } = await listening(runAs(['script', '-qfc', shell, '/dev/null'], environment));
  await post(url, ANN, SEND, { input: { to: { key: KEY }, text: 'x' } });
  child.kill('SIGKILL');
  await expect.poll(() => existsSync(exitCode) && readFileSync(exitCode, 'utf8')).toBe('0\n');
  const { url: again } = await start({ STORE_URL: 'sqlite:terminal/kredichat.db' });
  expect(await log(again)).toHaveLength(1);
});

test('SIGTERM is not delayed by a refused client that keeps its half of the connection open', async () => {
  const { child, url } = await start({ STORE_URL: 'memory:' });
  const socket = connectTcp({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
  const upgrade =
    'Connection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==';
  socket.on('error', () => {}).write(`GET /conversation/ws HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n\r\n`);
  const [answer] = await once(socket, 'data');
  expect(String(answer)).toMatch(/^HTTP\/1.1 400 /);
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  expect((await exit)[0]).toBe(0);
  socket.destroy();
});

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  '%s ends a server with 0 that waits for its store, also with workers',
  async (signal) => {
    const silent = createTcpServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    for (const args of [[], ['--workers', '2']]) {
      const child = run({ STORE_URL: `mongodb://127.0.0.1:${port}/x?replicaSet=rs` }, ...args);
      const exit = once(child, 'exit');
      await once(silent, 'connection');
      child.kill(signal);
      expect(await exit).toEqual([0, null]);
    }
    silent.close();
  },
);

describe('starting', () => {
  async function fails(environment: Record<string, string>): Promise<string> {
    const child = run(environment);
    let errors = '';
    child.stderr?.on('data', (chunk) => {
      errors += chunk;
    });
    expect((await once(child, 'exit'))[0]).toBe(1);
    return errors;
  }

  test('needs no configuration, and creates data/', async () => {
    const { url } = await start();
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect(existsSync(join(directory, 'data/kredichat.db'))).toBe(true);
  });

  test('with an invalid variable fails with one line that names it', async () => {
    expect(await fails({ PORT: 'x' })).toMatch(/^kredichat: PORT must be a whole number\n$/);
    expect(await fails({ HOST: '0.0.0.0' })).toMatch(/^kredichat: HOST .*ALLOW_INSECURE_DEV_AUTH=1.*\n$/);
  });

  test('with several workers on a file fails with one line that says why', async () => {
    const child = run({ STORE_URL: 'sqlite:workers/kredichat.db' }, '--workers', '2');
    const [errors] = await once(child.stderr ?? child, 'data');
    expect(String(errors)).toMatch(/^kredichat: --workers needs a mongodb:\/\/ STORE_URL.*\n$/);
  });

  test('on a path that is not a file fails with one line that says so', async () => {
    expect(await fails({ STORE_URL: 'sqlite:/' })).toMatch(/^kredichat: STORE_URL: .*\n$/);
  });

  test('on a file in use fails with one line that says so', async () => {
    await start({ STORE_URL: 'sqlite:used/kredichat.db' });
    expect(await fails({ STORE_URL: 'sqlite:used/kredichat.db' })).toMatch(
      /^kredichat: STORE_URL: .* is in use by another process.*\n$/,
    );
  });

  test('on a port in use fails with one line that says so', async () => {
    const { url } = await start({ STORE_URL: 'memory:' });
    expect(await fails({ STORE_URL: 'memory:', PORT: new URL(url).port })).toMatch(
      /^kredichat: HOST, PORT: listen EADDRINUSE.*\n$/,
    );
  });
});

describe('a standard output', () => {
  const VIEWER = '{ viewer { email } }';
  const MAIN = join(import.meta.dirname, '../dist/main.js');

  /** Starts a server with its standard output redirected by `shell`; resolves once it serves. */
  async function startInShell(shell: string): Promise<{ child: ChildProcess; url: string }> {
    const port = await freePort();
    const environment = { STORE_URL: 'memory:', LOG_LEVEL: 'info', PORT: String(port), NODE: process.execPath, MAIN };
    const child = runAs(['bash', '-c', shell], environment);
    const url = `http://127.0.0.1:${port}`;
    const serves = () =>
      fetch(`${url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      );
    await expect.poll(serves).toBe(true);
    return { child, url };
  }

  async function servesAndStops(child: ChildProcess, url: string, requests: number): Promise<void> {
    for (let i = 0; i < requests; i++) expect((await post(url, ANN, VIEWER)).data.viewer.email).toBe(ANN);
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await exit).toEqual([0, null]);
  }

  test('that is full from the start changes nothing', async () => {
    const { child, url } = await startInShell('exec "$NODE" "$MAIN" > /dev/full');
    await servesAndStops(child, url, 20);
  });

  test('that becomes full changes nothing, and takes lines again when it can', async () => {
    const file = join(directory, 'full.log');
    const { child, url } = await startInShell(`ulimit -S -f 8; exec "$NODE" "$MAIN" > ${JSON.stringify(file)}`);
    for (let i = 0; i < 100; i++) await post(url, ANN, VIEWER);
    await expect.poll(() => statSync(file).size).toBe(8192);
    execFileSync('prlimit', [`--pid=${child.pid}`, '--fsize=unlimited']);
    await servesAndStops(child, url, 20);
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(1);
    expect(lines.map((line) => JSON.parse(line)).filter(({ audit }) => audit === 'viewer')).toHaveLength(120);
  });

  test('that is a pipe whose reader has gone changes nothing', async () => {
    const { child, url } = await startInShell('exec "$NODE" "$MAIN" > >(exec true)');
    await servesAndStops(child, url, 20);
  });

  test('that is a pipe that is not read changes nothing', async () => {
    const { child, url } = await startInShell('exec "$NODE" "$MAIN" > >(exec sleep 600 > /dev/null 2>&1)');
    // More lines than the pipe holds.
    const many = Array.from({ length: 15 }, (_, i) => `a${i}: conversation(by: { id: "x" }) { id }`).join('\n');
    for (let i = 0; i < 40; i++) expect(await post(url, ANN, `{ ${many} }`)).toHaveProperty('data');
    await servesAndStops(child, url, 20);
  });

  test('that is not read holds back 8 MiB of lines; more are dropped, and counted', async () => {
    const logger = JSON.stringify(join(import.meta.dirname, '../dist/observability/logger.js'));
    const script = `const { openOutput } = await import(${logger});
      let dropped = 0;
      const output = openOutput(() => dropped++);
      for (let i = 0; i < 20; i++) output.write('x'.repeat(1_048_575) + '\\n');
      await output.close();
      process.stderr.write(String(dropped));
      process.exit(0);`;
    const child = runAs([process.execPath, '--input-type=module', '-e', script], {});
    let errors = '';
    child.stderr?.on('data', (chunk) => {
      errors += chunk;
    });
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(errors).toBe('12');
  });
});

test('while no send can be stored /readyz is 503 and the gauge 0, and the log has its begin and end', async () => {
  const main = JSON.stringify(join(import.meta.dirname, '../dist/main.js'));
  const shell = `ulimit -S -f 300; exec ${JSON.stringify(process.execPath)} ${main}`;
  const environment = { STORE_URL: 'sqlite:limited/kredichat.db', LOG_LEVEL: 'warn' };
  const { child, url } = await listening(runAs(['bash', '-c', shell], environment));
  let output = '';
  child.stdout?.on('data', (chunk) => {
    output += chunk;
  });
  const told = () => output.split('\n').filter((line) => line.includes('the store is'));
  const ready = async () => (await fetch(`${url}/readyz`)).status;
  const available = async () =>
    Number(/^kredichat_store_available (\d)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1]);
  const send = (clientId: string, length: number): Promise<Answer> =>
    post(url, ANN, SEND, { input: { to: { key: KEY }, text: 'x'.repeat(length), clientId } });

  expect([await ready(), await available()]).toEqual([200, 1]);
  let answer: Answer = {};
  for (let i = 0; i < 200 && !answer.errors; i++) answer = await send(`${i}`, 3000);
  expect(answer.errors?.[0]).toMatchObject({ extensions: { code: 'UNAVAILABLE' } });
  // Small sends take the room that is left after a large one failed.
  for (let i = 0; i < 100; i++) if ((await send(`small ${i}`, 1)).errors) break;
  for (let i = 0; i < 50; i++) expect(await ready()).toBe(503);
  expect(await send('last', 3000)).toHaveProperty('errors');
  expect(await available()).toBe(0);

  execFileSync('prlimit', [`--pid=${child.pid}`, '--fsize=unlimited']);
  expect(await ready()).toBe(200);
  expect((await send('last', 3000)).errors).toBeUndefined();
  await expect.poll(() => told().length).toBe(2);
  expect(told()[0]).toContain('the store is unavailable: SQLITE_');
  expect(told()[1]).toContain('the store is available again');
  expect(await available()).toBe(1);
});

test('the documented frames work against a fresh process', async () => {
  const { ws } = await start({ STORE_URL: 'memory:' });
  const frame = { type: 'SEND', config_id: 'c', members: [BOB], message: [{ text: 'hi' }] };
  expect((await legacyOnce(ws, ANN, frame)).data[0].message).toMatchObject([{ text: 'hi', sender: ANN }]);
});
