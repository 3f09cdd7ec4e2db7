import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { describeInBrowser } from '../../support/browser.ts';
import { startServer } from '../../support/server.ts';

describeInBrowser('GraphiQL in a browser', (openWindow) => {
  /** Chooses the tab of an example, and runs it. */
  async function run(page: Page, tab: string): Promise<void> {
    const editor = page.locator('.graphiql-query-editor');
    await expect
      .poll(
        async () => {
          await page.getByRole('tab', { name: tab }).click();
          return ((await editor.textContent()) ?? '').replace(/\s+/g, ' ');
        },
        { interval: 500 },
      )
      .toContain(` ${tab} {`);
    await page.getByRole('button', { name: /execute/i }).click();
  }

  test('the examples work: a message is sent while a subscription shows it', async () => {
    const { url, server } = await startServer();
    const [watcher, sender] = [await openWindow(url), await openWindow(url)];
    for (const { page } of [watcher, sender]) await page.goto(`${url}/graphql`);
    await run(watcher.page, 'Live');
    await expect.poll(() => server.subscriptions()).toBe(1);
    await run(sender.page, 'Send');
    const shown = (page: Page) => async () =>
      ((await page.locator('.graphiql-response').textContent()) ?? '').replace(/\s+/g, ' ');
    await expect.poll(shown(sender.page)).toContain('"seq": 1');
    await expect.poll(shown(watcher.page)).toContain('"text": "Hello Bob"');
    await run(sender.page, 'Inbox');
    await expect.poll(shown(sender.page)).toContain('"configId": "invoice-programme-1"');
    expect([...watcher.foreign, ...sender.foreign]).toEqual([]);
    await watcher.page.close();
    // In the same browser, which remembers the first window.
    const second = await sender.page.context().newPage();
    await second.goto(`${url}/graphql`);
    await second.getByRole('tab').first().waitFor();
    const [tabs, chosen] = [second.getByRole('tab'), second.getByRole('tab', { selected: true })];
    expect((await tabs.allInnerTexts()).map((text) => text.trim())).toEqual(['Send', 'Inbox', 'Live']);
    expect((await chosen.innerText()).trim()).toBe('Send');
    expect(await sender.page.evaluate(() => localStorage.length)).toBe(0);
    await expect.poll(() => server.subscriptions()).toBe(0);
  });

  test('a link with a query opens the editor with it, and runs nothing', async () => {
    const { url } = await startServer();
    const { page } = await openWindow(url);
    const requests: string[] = [];
    page.on('request', (request) => request.method() === 'POST' && requests.push(request.postData() ?? ''));
    await page.goto(`${url}/graphql?utm_source=x&query=${encodeURIComponent('query Linked { viewer { email } }')}`);
    const shown = async () =>
      (
        (await page
          .locator('.graphiql-query-editor')
          .textContent({ timeout: 1000 })
          .catch(() => '')) ?? ''
      ).replace(/\s+/g, ' ');
    await expect.poll(shown).toContain('query Linked { viewer { email } }');
    expect(requests.filter((body) => body.includes('Linked'))).toEqual([]);
  });

  test('opens where storage is forbidden', { timeout: 120_000 }, async () => {
    const { url } = await startServer();
    const { page, complaints } = await openWindow(url);
    await page.addInitScript(() => {
      const get = () => {
        throw new DOMException('refused', 'SecurityError');
      };
      for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name, { get });
    });
    await page.goto(`${url}/graphql`);
    await run(page, 'Inbox');
    await expect.poll(() => page.locator('.graphiql-response').textContent()).toContain('unreadTotal');
    expect(complaints).toEqual([]);
  });
});
