import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startServer } from './support/server.ts';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

// Where there is no browser these count as skipped, and CI takes that for a failure.
describe.runIf(existsSync(CHROMIUM))('GraphiQL in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', ...quiet] });
  });
  afterAll(() => browser.close());

  /** A window of its own, which remembers nothing of the others. */
  async function open(url: string): Promise<{ page: Page; foreign: string[] }> {
    const page = await browser.newPage();
    const foreign: string[] = [];
    page.on('request', (request) => {
      if (/^(https?|wss?):/.test(request.url()) && !request.url().startsWith(url)) foreign.push(request.url());
    });
    await page.goto(`${url}/graphql`);
    return { page, foreign };
  }

  /** Chooses the tab of an example, and runs it. */
  async function run(page: Page, tab: string): Promise<void> {
    const editor = page.locator('.graphiql-query-editor');
    await expect
      .poll(
        async () => {
          await page.getByRole('tab', { name: tab }).click();
          return ((await editor.textContent()) ?? '').replace(/\s+/g, ' ');
        },
        { timeout: 30_000, interval: 500 },
      )
      .toContain(` ${tab} {`);
    await page.getByRole('button', { name: /execute/i }).click();
  }

  test('the examples work: a message is sent while a subscription shows it', { timeout: 120_000 }, async () => {
    const { url, server } = await startServer();
    const [watcher, sender] = [await open(url), await open(url)];
    await run(watcher.page, 'Live');
    await expect.poll(() => server.subscriptions(), { timeout: 20_000 }).toBe(1);
    await run(sender.page, 'Send');
    const shown = (page: Page) => async () =>
      ((await page.locator('.graphiql-response').textContent()) ?? '').replace(/\s+/g, ' ');
    await expect.poll(shown(sender.page), { timeout: 20_000 }).toContain('"seq": 1');
    await expect.poll(shown(watcher.page), { timeout: 20_000 }).toContain('"text": "Hello Bob"');
    await run(sender.page, 'Inbox');
    await expect.poll(shown(sender.page), { timeout: 20_000 }).toContain('"configId": "invoice-programme-1"');
    expect([...watcher.foreign, ...sender.foreign]).toEqual([]);
    await watcher.page.close();
    await expect.poll(() => server.subscriptions()).toBe(0);
  });
});
