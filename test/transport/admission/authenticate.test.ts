import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { ChatError } from '../../../src/chat/rules/errors.ts';
import { readConfig } from '../../../src/config.ts';
import { createAuthenticate } from '../../../src/transport/admission/authenticate.ts';
import { connect, connectGraphql, type Line, post } from '../../support/clients.ts';
import { startServer, type TestServer } from '../../support/server.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const SECRET = 'a secret of thirty-two bytes, or more';
const ISSUER = 'https://login.example.com';
const JWT = { AUTH_MODE: 'jwt', JWT_SECRET: SECRET, JWT_ISSUER: ISSUER, JWT_AUDIENCE: 'kredichat' };
const now = () => Math.floor(Date.now() / 1000);

const CLAIMS = { email: ANN, iss: ISSUER, aud: 'kredichat' };
type Key = Parameters<SignJWT['sign']>[0];
function sign(
  claims: Record<string, unknown>,
  key: Key | string = SECRET,
  header: { alg: string; kid?: string } = { alg: 'HS256' },
) {
  const bytes = typeof key === 'string' ? new TextEncoder().encode(key) : key;
  return new SignJWT({ ...CLAIMS, exp: now() + 600, ...claims }).setProtectedHeader(header).sign(bytes);
}

/** The answer of each transport to a token: the address it accepts, or the refusal. */
async function askHttp({ url }: TestServer, token: string): Promise<string> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: '{"query":"{ viewer { email role } }"}',
  });
  const { data, errors } = (await response.json()) as Awaited<ReturnType<typeof post>>;
  return data ? `${data.viewer.email} ${data.viewer.role}` : `${response.status} ${JSON.stringify(errors)}`;
}

async function askGraphqlWs({ ws }: TestServer, token: string): Promise<string> {
  const line = await connect(`${ws}/graphql`, 'graphql-transport-ws');
  line.send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } });
  const frame = await line.next().catch(() => line.closed());
  if (frame.type !== 'connection_ack') return JSON.stringify(frame);
  line.send({ id: '1', type: 'subscribe', payload: { query: '{ viewer { email role } }' } });
  const { email, role } = (await line.next()).payload.data.viewer;
  line.close();
  return `${email} ${role}`;
}

async function askLegacy({ ws }: TestServer, token: string, headers: Record<string, string> = {}): Promise<string> {
  const query = token === '' ? '' : `&token=${token}`;
  const opening = connect(`${ws}/conversation/ws?email_id=${ANN}${query}`, undefined, { headers });
  const line = await opening.catch((error: Error) => error);
  if (line instanceof Error) return line.message;
  line.send({ type: 'CHAT_LIST' });
  const { type } = await line.next();
  line.close();
  return type;
}

const REFUSED = {
  http: expect.stringMatching(/^401 \[{"message":"The credential is not valid.",[^{]*{"code":"UNAUTHENTICATED"}}]$/),
  graphqlWs: JSON.stringify({ code: 4403, reason: 'Forbidden' }),
  legacy: 'Unexpected server response: 401',
};
const ask = async (server: TestServer, token: string) => ({
  http: await askHttp(server, token),
  graphqlWs: await askGraphqlWs(server, token),
  legacy: await askLegacy(server, token),
});

describe('a token signed with a shared secret', () => {
  test('is accepted on every transport, with its role', async () => {
    const server = await startServer(JWT);
    for (const [role, shown] of [
      [undefined, 'null'],
      [null, 'null'],
      ['BANK', 'BANK'],
    ] as const) {
      const who = `${ANN} ${shown}`;
      expect(await ask(server, await sign({ role }))).toEqual({ http: who, graphqlWs: who, legacy: 'CHAT_LIST' });
    }
    expect(await askHttp(server, await sign({ email: 'Ann@Example.com' }))).toBe(`${ANN} null`);
    expect(await askHttp(server, await sign({ exp: undefined }))).toBe(`${ANN} null`);
    for (const email_verified of [true, 'true'])
      expect(await askHttp(server, await sign({ email_verified }))).toBe(`${ANN} null`);
  });

  test('that is invalid in any way is refused with the same answer', async () => {
    const server = await startServer(JWT);
    const { privateKey } = await generateKeyPair('RS256');
    const good = await sign({});
    const [head, body, signature = ''] = good.split('.');
    const other = Buffer.from(JSON.stringify({ ...CLAIMS, email: BOB, exp: now() + 600 })).toString('base64url');
    const bad: Record<string, string> = {
      'without a signature': new UnsecuredJWT({ ...CLAIMS, exp: now() + 600 }).encode(),
      'with alg none and a signature': [Buffer.from('{"alg":"none"}').toString('base64url'), body, signature].join('.'),
      'with another key': await sign({}, 'another secret of thirty-two bytes!'),
      'with another kind of key': await sign({}, privateKey, { alg: 'RS256' }),
      'with a longer hash': await sign({}, SECRET.padEnd(64), { alg: 'HS512' }),
      'with other claims than were signed': [head, other, signature].join('.'),
      'for another audience': await sign({ aud: 'another' }),
      'without an audience': await sign({ aud: undefined }),
      'of another issuer': await sign({ iss: 'https://evil.example' }),
      'without an issuer': await sign({ iss: undefined }),
      expired: await sign({ exp: now() - 1 }),
      'not yet valid': await sign({ nbf: now() + 60 }),
      'without an address': await sign({ email: undefined }),
      'with an address that is none': await sign({ email: 'ann' }),
      'with an object for an address': await sign({ email: { $ne: null } }),
      ...Object.fromEntries(
        await Promise.all(
          [false, 'false', 'False', 'True', '', 0, 1, null, [], {}].map(async (value) => [
            `with ${JSON.stringify(value)} for email_verified`,
            await sign({ email_verified: value }),
          ]),
        ),
      ),
      'that is too long': await sign({ filler: 'x'.repeat(8192) }),
      'with an unknown role': await sign({ role: 'KING' }),
      'with a list of roles': await sign({ role: ['BANK'] }),
      'cut short': good.slice(0, -2),
      'no token': 'nonsense',
      dots: '..',
      'an address as in development': ANN,
    };
    for (const [name, token] of Object.entries(bad)) {
      expect(await ask(server, token), name).toEqual(REFUSED);
    }
    expect(await ask(server, good)).toMatchObject({ legacy: 'CHAT_LIST' });
  });

  test('is checked for what is configured: claims of other names, and a clock that differs', async () => {
    const server = await startServer({
      ...{ AUTH_MODE: 'jwt', JWT_SECRET: SECRET, JWT_LEEWAY_SECONDS: '60' },
      ...{ JWT_EMAIL_CLAIM: 'https://kredichat/mail', JWT_ROLE_CLAIM: 'kind' },
    });
    const claims = { email: undefined, 'https://kredichat/mail': BOB, kind: 'SELLER', aud: 'any' };
    for (const late of [{}, { exp: now() - 30 }, { nbf: now() + 30 }])
      expect(await askHttp(server, await sign({ ...claims, ...late }))).toBe(`${BOB} SELLER`);
    expect(await askHttp(server, await sign({ ...claims, exp: now() - 90 }))).toMatch(/^401 /);
  });

  test('is required: without one every field is UNAUTHENTICATED, and frames are refused', async () => {
    const server = await startServer(JWT);
    const answer = await post(server.url, null, '{ viewer { email } }');
    expect(answer.errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED');
    const line = await connectGraphql(server.ws, null);
    expect((await line.run('{ viewer { email } }')).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED');
    expect(await askLegacy(server, '')).toBe('Unexpected server response: 401');
    for (const answer of [
      await post(server.url, null, '{ __schema { types { name } } }'),
      await line.run('{ __type(name: "Query") { name } }'),
    ])
      expect(answer.errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
    const typo = await post(server.url, null, '{ viewr { email } }');
    expect(typo.errors?.[0]?.message).not.toMatch(/did you mean/i);
  });
});

test('frame clients send a token for their own address in the query, the header or the cookie', async () => {
  const server = await startServer(JWT);
  const [ann, bob] = [await sign({}), await sign({ email: BOB })];
  for (const query of [ann, `token%20${ann}`, `Bearer%20${ann}`])
    expect(await askLegacy(server, query)).toBe('CHAT_LIST');
  for (const given of [`Bearer ${ann}`, `token ${ann}`, ann]) {
    expect(await askLegacy(server, '', { authorization: given })).toBe('CHAT_LIST');
    for (const cookie of [
      `authToken=${given}`,
      `a=b; authToken="${given}"; c=d`,
      `authToken=${encodeURIComponent(given)}`,
    ])
      expect(await askLegacy(server, '', { cookie }), cookie).toBe('CHAT_LIST');
  }
  expect(await askLegacy(server, '', { cookie: `notauthToken=${ann}` })).toBe('Unexpected server response: 401');
  expect(await askLegacy(server, bob)).toBe('Unexpected server response: 403');
  expect(await askLegacy(server, bob, { authorization: `Bearer ${ann}` })).toBe('Unexpected server response: 403');
  // The address is still required.
  await expect(connect(`${server.ws}/conversation/ws?token=${ann}`)).rejects.toThrow('400');
});

describe('a key set', () => {
  /** Serves the keys in `keys`, and counts the requests. */
  async function keySet() {
    const set = {
      ...{ keys: [] as object[], asked: 0, hangs: false, fails: false, moved: false, endless: false },
      ...{ sent: 0, closed: 0 },
    };
    const http = createServer((request, response) => {
      set.asked++;
      if (set.fails) response.writeHead(500).end();
      else if (set.moved && request.url === '/keys') response.writeHead(302, { location: '/moved' }).end();
      else if (set.endless) {
        const more = () => {
          set.sent += 65_536;
          response.write(' '.repeat(65_536), () => !response.destroyed && more());
        };
        response.on('close', () => set.closed++);
        more();
      } else if (!set.hangs) response.end(JSON.stringify({ keys: set.keys }));
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      http.closeAllConnections();
      http.close();
    });
    return { set, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/keys`, http };
  }
  async function pair(alg: string, kid: string) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    return {
      jwk: { ...(await exportJWK(publicKey)), kid, alg },
      token: () => sign({}, privateKey, { alg, kid }),
    };
  }

  test('checks RS256, ES256 and EdDSA, is fetched once, and again for a new key', async () => {
    const { set, url } = await keySet();
    const server = await startServer({ AUTH_MODE: 'jwt', JWKS_URL: url });
    const pairs = await Promise.all(['RS256', 'ES256', 'EdDSA'].map((alg) => pair(alg, alg)));
    set.keys = pairs.map(({ jwk }) => jwk);
    for (const { token } of pairs)
      expect(await ask(server, await token())).toMatchObject({ http: `${ANN} null`, legacy: 'CHAT_LIST' });
    expect(set.asked).toBe(1);
    const next = await pair('ES256', 'next');
    set.keys = [next.jwk];
    await expect.poll(async () => askHttp(server, await next.token())).toBe(`${ANN} null`);
    // The same answer dropped the removed keys.
    expect(await askHttp(server, await (pairs[0] as (typeof pairs)[0]).token())).toMatch(/^401 /);
  });

  test('without key ids is tried key by key', async () => {
    const { set, url } = await keySet();
    const server = await startServer({ AUTH_MODE: 'jwt', JWKS_URL: url });
    const pairs = await Promise.all([1, 2].map(() => generateKeyPair('ES256', { extractable: true })));
    set.keys = await Promise.all(pairs.map(({ publicKey }) => exportJWK(publicKey)));
    for (const { privateKey } of pairs)
      expect(await askHttp(server, await sign({}, privateKey, { alg: 'ES256' }))).toBe(`${ANN} null`);
    const { privateKey } = await generateKeyPair('ES256');
    expect(await ask(server, await sign({}, privateKey, { alg: 'ES256' }))).toEqual(REFUSED);
  });

  test('that fails is fetched once for many simultaneous requests', async () => {
    const { set, url } = await keySet();
    const server = await startServer({ AUTH_MODE: 'jwt', JWKS_URL: url });
    set.fails = true;
    const { token } = await pair('RS256', 'a');
    for (let i = 0; i < 20; i++) expect(await askHttp(server, await token())).toMatch(/^503 /);
    expect(set.asked).toBeLessThan(5);
  });

  test('that is unavailable leaves known keys valid, also while tokens with other keys arrive', async () => {
    const { set, url } = await keySet();
    const server = await startServer({ AUTH_MODE: 'jwt', JWKS_URL: url, AUTH_TIMEOUT_SECONDS: '1' });
    const [known, unknown] = await Promise.all(['a', 'b'].map((kid) => pair('ES256', kid)));
    set.keys = [known?.jwk ?? {}];
    const good = (await known?.token()) ?? '';
    expect(await askHttp(server, good)).toBe(`${ANN} null`);
    for (const away of [{ fails: true }, { hangs: true }, { moved: true }]) {
      Object.assign(set, { fails: false, hangs: false, moved: false }, away);
      await expect.poll(async () => askHttp(server, (await unknown?.token()) ?? '')).toMatch(/^503 /);
      const before = set.asked;
      const garbage = Array.from({ length: 20 }, async (_, i) =>
        askHttp(server, await (await pair('ES256', `x${i}`)).token()),
      );
      for (let i = 0; i < 20; i++) expect(await askHttp(server, good)).toBe(`${ANN} null`);
      for (const answer of await Promise.all(garbage)) expect(answer).toMatch(/^503 /);
      expect(set.asked - before).toBeLessThan(10);
    }
    Object.assign(set, { moved: false });
    await expect.poll(async () => askHttp(server, (await unknown?.token()) ?? '')).toMatch(/^401 /);
  });

  test('that is too old and unavailable leaves known keys valid, and drops removed ones once it is back', async () => {
    const { set, url } = await keySet();
    const { auth } = readConfig({ AUTH_MODE: 'jwt', JWKS_URL: url });
    const identify = createAuthenticate(auth, 1000);
    const { jwk, token } = await pair('ES256', 'a');
    set.keys = [jwk];
    const good = `Bearer ${await token()}`;
    expect((await identify(good))?.viewer.email).toBe(ANN);
    let later = 0;
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + later);
    onTestFinished(() => clock.mockRestore());
    for (const away of [{ fails: true }, { hangs: true }]) {
      Object.assign(set, { fails: false, hangs: false }, away);
      for (let i = 0; i < 3; i++) {
        later += 301_000;
        expect((await identify(good))?.viewer.email).toBe(ANN);
      }
    }
    Object.assign(set, { hangs: false, keys: [(await pair('ES256', 'b')).jwk] });
    await expect
      .poll(() => {
        later += 301_000;
        return identify(good).catch((error: ChatError) => error.code);
      })
      .toBe('UNAUTHENTICATED');
  });

  test('that answers without end is given up, and admits no client', async () => {
    const { set, url } = await keySet();
    const server = await startServer({ AUTH_MODE: 'jwt', JWKS_URL: url, AUTH_TIMEOUT_SECONDS: '30' });
    set.endless = true;
    expect(await askHttp(server, await (await pair('ES256', 'a')).token())).toMatch(/^503 /);
    await expect.poll(() => set.closed).toBe(1);
    expect(set.sent).toBeLessThan(16_777_216);
  });

  test('never accepts a token signed with a secret, even if the secret is a public key', async () => {
    const { set, url } = await keySet();
    const server = await startServer({ AUTH_MODE: 'jwt', JWKS_URL: url });
    const { jwk } = await pair('RS256', 'a');
    const secret = { kty: 'oct', k: Buffer.from(SECRET).toString('base64url'), kid: 'secret', alg: 'HS256' };
    set.keys = [jwk, secret];
    expect(await ask(server, await sign({}, JSON.stringify(jwk), { alg: 'HS256', kid: 'a' }))).toEqual(REFUSED);
    expect(await ask(server, await sign({}, SECRET, { alg: 'HS256', kid: 'secret' }))).toEqual(REFUSED);
  });

  test('that does not answer admits no client, and delays none beyond the time limit', async () => {
    const { set, url, http } = await keySet();
    const server = await startServer({ AUTH_MODE: 'jwt', JWKS_URL: url, AUTH_TIMEOUT_SECONDS: '1' });
    const { token } = await pair('RS256', 'a');
    set.hangs = true;
    const unavailable = {
      http: expect.stringMatching(/^503 .*"UNAVAILABLE"/),
      legacy: 'Unexpected server response: 503',
    };
    const hanging = await ask(server, await token());
    expect(hanging).toMatchObject(unavailable);
    expect(hanging.graphqlWs).toMatch(/"code":(4408|4500)/);
    http.closeAllConnections();
    http.close();
    expect(await ask(server, await token())).toMatchObject({
      ...unavailable,
      graphqlWs: expect.stringMatching(/"code":4500/),
    });
  });
});

describe('a token that ends', () => {
  const CHANGED = 'subscription { chatListChanged { configId } }';
  const say = async ({ url }: TestServer, configId: string) =>
    post(
      url,
      await sign({ email: BOB }),
      'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } } }',
      {
        input: { to: { key: { configId, members: [ANN, BOB] } }, text: 'x' },
      },
    );
  const TOKEN_ENDED = { code: 4401, reason: 'Token ended' };

  test('closes the sockets opened with it, and no event follows', async () => {
    const server = await startServer(JWT);
    const token = await sign({ exp: now() + 5 });
    const line = await connectGraphql(server.ws, token);
    const events = line.subscribe(CHANGED);
    const legacy = await connect(`${server.ws}/conversation/ws?email_id=${ANN}&live=1&token=${token}`);
    await say(server, 'c1');
    expect((await events.next())?.data.chatListChanged).toEqual({ configId: 'c1' });
    expect(await Promise.all([line.closed(), legacy.closed()])).toEqual([TOKEN_ENDED, TOKEN_ENDED]);
    expect(server.server.subscriptions()).toBe(0);
  });

  test('can be renewed, and the subscriptions continue', async () => {
    const server = await startServer(JWT);
    const line = await connectGraphql(server.ws, await sign({ exp: now() + 5 }));
    const other = await connectGraphql(server.ws, await sign({ exp: now() + 5 }));
    const events = line.subscribe(CHANGED);
    await line.run('{ viewer { email } }');
    line.send({ type: 'ping', payload: { authorization: `Bearer ${await sign({})}` } });
    // The other was opened with a token that ends at the same time or later.
    expect(await other.closed()).toEqual(TOKEN_ENDED);
    await say(server, 'c2');
    expect((await events.next())?.data.chatListChanged).toEqual({ configId: 'c2' });
    expect(line.socket.readyState).toBe(1);
  });

  test('cannot be renewed by an invalid token, or one of another user', async () => {
    const server = await startServer(JWT);
    const forbidden = { code: 4403, reason: 'Forbidden' };
    const renew = async (line: Line, authorization: unknown) => {
      line.send({ type: 'ping', payload: { authorization } });
      return line.closed();
    };
    const lines = await Promise.all([1, 2, 3].map(async () => connectGraphql(server.ws, await sign({}))));
    const given = ['Bearer nonsense', `Bearer ${await sign({ email: BOB })}`, { $ne: null }];
    for (const [i, line] of lines.entries()) expect(await renew(line, given[i])).toEqual(forbidden);
    const nobody = await connectGraphql(server.ws, null);
    expect(await renew(nobody, `Bearer ${await sign({})}`)).toEqual(forbidden);
    // Pings of other kinds are pings.
    const line = await connectGraphql(server.ws, await sign({}));
    line.send({ type: 'ping' });
    line.send({ type: 'ping', payload: { other: 1 } });
    expect((await line.run('{ viewer { email } }')).data.viewer.email).toBe(ANN);
  });
});
