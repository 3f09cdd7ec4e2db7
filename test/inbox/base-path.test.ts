import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import type { Page } from 'playwright-core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { describeInBrowser, eventually } from '../support/browser.ts';
import { connectGraphql, legacyOnce, post } from '../support/clients.ts';
import { signIn, texts, write } from '../support/inbox.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];
const KEY = { configId: 'programme-1', members: [ANN, BOB] };

/** A reverse proxy that serves `url` at `prefix` and strips the prefix. Resolves with its URL without the prefix. */
async function strippingProxy(url: string, prefix: string): Promise<string> {
  const { port } = new URL(url);
  const strip = (path = '') => path.slice(prefix.length);
  const proxy = createServer((request, response) => {
    if (!request.url?.startsWith(`${prefix}/`)) return response.writeHead(404).end();
    const { method, headers } = request;
    const passed = forward({ port, method, headers, path: strip(request.url) }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    request.pipe(passed);
  });
  proxy.on('upgrade', ({ url: path, rawHeaders }, near) => {
    const far = connectTcp(Number(port), '127.0.0.1');
    const lines = rawHeaders.map((text, i) => (i % 2 === 0 ? `${text}: ` : `${text}\r\n`));
    far.write(`GET ${strip(path)} HTTP/1.1\r\n${lines.join('')}\r\n`);
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  onTestFinished(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

/** Chooses one of GraphiQL's tabs, and runs it. */
async function runExample(page: Page, tab: string): Promise<void> {
  await eventually(async () => {
    await page.getByRole('tab', { name: tab }).click();
    return page.locator('.graphiql-query-editor').textContent();
  }).toMatch(new RegExp(`\\s${tab}\\s{`));
  await page.getByRole('button', { name: /execute/i }).click();
}

describe('BASE_PATH', () => {
  test.each(['/chat', '/apps/kredi.chat'])(
    '%s: everything is served with the prefix, and without it',
    async (prefix) => {
      const { url, ws } = await startServer({ BASE_PATH: prefix });
      for (const base of [url, url + prefix]) {
        for (const path of ['/', '/healthz', '/readyz', '/metrics', '/docs/README.md']) {
          expect((await fetch(base + path)).status, base + path).toBe(200);
        }
        expect((await post(base, ANN, '{ viewer { email } }')).data).toEqual({ viewer: { email: ANN } });
        const get = await fetch(`${base}/graphql?query={viewer{email}}`, {
          headers: { authorization: `Bearer ${ANN}` },
        });
        expect(await get.json()).toEqual({ data: { viewer: { email: ANN } } });
        const graphiql = await fetch(`${base}/graphql`, { headers: { accept: 'text/html' } });
        expect(graphiql.headers.get('content-type')).toContain('text/html');
      }
      const line = await connectGraphql(ws + prefix, ANN);
      expect((await line.run('{ viewer { email } }')).data).toEqual({ viewer: { email: ANN } });
      line.close();
      expect(await legacyOnce(ws + prefix, ANN, { type: 'CHAT_LIST', email: ANN })).toMatchObject({ data: [] });
    },
  );

  test('requires a trailing slash, and does not match longer words', async () => {
    const { url } = await startServer({ BASE_PATH: '/apps/chat' });
    const redirect = await fetch(`${url}/apps/chat?x=1`, { redirect: 'manual' });
    expect([redirect.status, redirect.headers.get('location')]).toEqual([307, 'chat/?x=1']);
    expect((await fetch(`${url}/apps/chat`)).url).toBe(`${url}/apps/chat/`);
    for (const path of ['/apps/chats/healthz', '/apps/chathealthz', '/apps', '/apps/', '/chat/', '/apps/chat/nope']) {
      expect((await fetch(url + path)).status, path).toBe(404);
    }
    expect((await fetch(`${(await startServer()).url}/chat`, { redirect: 'manual' })).status).toBe(404);
  });
});

describeInBrowser('The page under a prefix', (open) => {
  test.each(['of the server', 'of a proxy that takes it off'])('%s: works, and so do its links', async (origin) => {
    const stripped = origin.includes('proxy');
    const server = await startServer(stripped ? {} : { BASE_PATH: '/apps/chat' });
    const base = `${stripped ? await strippingProxy(server.url, '/apps/chat') : server.url}/apps/chat/`;
    const route = `${base}#/new/${encodeURIComponent(JSON.stringify({ ref: { key: KEY } }))}`;
    const { page, foreign, complaints } = await open(base);
    await page.goto(route);
    await signIn(page, ANN);
    await write(page, 'Hello from afar');
    await page.getByRole('img', { name: 'Sent' }).waitFor();
    await page.waitForURL(/#\/c\//);
    await page.reload();
    await page.getByRole('region', { name: 'Messages' }).getByText('Hello from afar').waitFor();
    expect(await texts(page)).toEqual(['Hello from afar']);
    for (const link of await page.getByRole('navigation', { name: 'About this server' }).getByRole('link').all()) {
      const href = await link.evaluate((element) => (element as HTMLAnchorElement).href);
      expect(href.startsWith(base), href).toBe(true);
      expect((await page.request.get(href, { headers: { accept: 'text/html' } })).status(), href).toBe(200);
    }
    expect([foreign, complaints]).toEqual([[], []]);

    await page.goto(`${base}graphql`);
    await runExample(page, 'Inbox');
    const answer = () => page.locator('.graphiql-response').textContent();
    await eventually(answer).toMatch(/"configId":\s"programme-1"/);
    await runExample(page, 'Live');
    await eventually(() => server.server.subscriptions()).toBe(1);
  });
});
