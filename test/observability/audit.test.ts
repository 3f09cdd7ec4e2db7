import { once } from 'node:events';
import { SignJWT } from 'jose';
import { expect, test } from 'vitest';
import { connect, connectGraphql, connectLegacy, post } from '../support/clients.ts';
import { processes } from '../support/process.ts';

const { start } = processes();
const SECRET = 'a secret of thirty-two bytes, or more';
const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const sign = (email: string, seconds = 600) =>
  new SignJWT({ email, exp: Math.floor(Date.now() / 1000) + seconds })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(SECRET));

test('there is one audit line for each decision, and no line holds a text, a token or a query string', async () => {
  const { child, url, ws } = await start({
    ...{ STORE_URL: 'memory:', LOG_LEVEL: 'trace', AUTH_MODE: 'jwt', JWT_SECRET: SECRET },
    ...{ RATE_LIMIT_MESSAGES: '6', RATE_LIMIT_BURST: '2', MAX_SUBSCRIPTIONS: '1', AUTH_TIMEOUT_SECONDS: '1' },
  });
  let log = '';
  child.stdout?.on('data', (data) => {
    log += data;
  });
  const lines = () =>
    log
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
  const audited = () =>
    lines()
      .filter(({ audit }) => audit)
      .map(({ audit, who, over, outcome }) => [audit, who, over, outcome].join(' '));

  const [ann, eve] = [await sign(ANN), await sign('eve@example.com')];
  const say = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
  const key = { configId: 'secret-config', members: [ANN, BOB] };
  const { data } = await post(url, ann, say, {
    input: { to: { key }, text: 'secret-text', subject: 'secret-subject' },
  });
  const { id } = data.sendMessage.conversation;
  const seen = [`sendMessage ${ANN} http allowed`];

  const read = 'query ($id: ID!) { conversation(by: { id: $id }) { lastSeq } }';
  for (let i = 0; i < 2; i++) await post(url, ann, read, { id });
  seen.push(...[1, 2].map(() => `conversation ${ANN} http allowed`));
  await post(url, eve, read, { id });
  seen.push('conversation eve@example.com http NOT_FOUND');
  await post(url, eve, say, { input: { to: { id }, text: 'secret-text' } });
  seen.push('sendMessage eve@example.com http NOT_FOUND');
  for (let i = 0; i < 2; i++) await post(url, ann, say, { input: { to: { id }, text: 'secret-text' } });
  seen.push(`sendMessage ${ANN} http allowed`, `sendMessage ${ANN} http RATE_LIMITED`);
  await post(url, null, read, { id: 'secret-id"\n{"audit":"forged"}' });
  seen.push('conversation  http UNAUTHENTICATED');
  await post(url, `${ann}x`, read, { id });
  seen.push('connect  http UNAUTHENTICATED');

  const line = await connectGraphql(ws, ann);
  seen.push(`connect ${ANN} graphql-ws allowed`);
  const follow = () => line.subscribe('subscription { chatListChanged { id } }');
  follow();
  await line.run('{ viewer { email } }');
  await follow().next();
  seen.push(
    `chatListChanged ${ANN} graphql-ws allowed`,
    `viewer ${ANN} graphql-ws allowed`,
    `subscribe ${ANN} graphql-ws RATE_LIMITED`,
  );
  line.send({ type: 'ping', payload: { authorization: `Bearer ${await sign(ANN, 5)}` } });
  await line.closed();
  seen.push(`renew ${ANN} graphql-ws allowed`, `end ${ANN} graphql-ws UNAUTHENTICATED`);
  const silent = await connect(`${ws}/graphql`, 'graphql-transport-ws');
  await silent.closed();
  seen.push('connect  graphql-ws UNAUTHENTICATED');
  const evil = { headers: { origin: 'https://evil.example' } };
  await connect(`${ws}/graphql`, 'graphql-transport-ws', evil).catch(() => {});
  await fetch(url, evil);
  seen.push('connect  graphql-ws FORBIDDEN', 'connect  http FORBIDDEN');

  await connectLegacy(ws, ANN).catch(() => {});
  await connectLegacy(ws, ANN, `&token=${eve}`).catch(() => {});
  const bob = await sign(BOB, 600);
  const legacy = await connectLegacy(ws, BOB, `&token=${bob}`);
  legacy.send({
    type: 'SEND',
    config_id: 'c',
    members: [ANN],
    message: [{ text: 'secret-text' }],
    client_id: '\n{"audit":"forged"}',
  });
  expect((await legacy.next()).type).toBe('SEND');
  seen.push(
    'connect  legacy UNAUTHENTICATED',
    'connect eve@example.com legacy FORBIDDEN',
    `connect ${BOB} legacy allowed`,
    `sendMessages ${BOB} legacy allowed`,
  );

  child.kill('SIGTERM');
  await once(child, 'close');
  expect(audited()).toEqual(seen);
  for (const { from, on } of lines().filter(({ audit }) => audit)) {
    expect(from).toBe('127.0.0.1');
    if (on !== undefined) expect(on).toMatch(/^c_[\w-]{43}$/);
  }
  for (const secret of ['secret', ann, bob, eve, SECRET, 'forged', 'email_id=', 'token='])
    expect(log).not.toContain(secret);
});
