import { existsSync } from 'node:fs';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished } from 'vitest';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** A window of its own, which remembers nothing of the others. */
interface Window {
  readonly page: Page;
  /** Requests to other servers than its own. */
  readonly foreign: string[];
  /** Warnings and errors on its console, except lost connections. */
  readonly complaints: string[];
}

/** Opens windows on a server's page. */
export type OpenWindow = (url: string, options?: BrowserContextOptions) => Promise<Window>;

/** Tests that need a browser. Where there is none they count as skipped, and CI takes that for a failure. */
export function describeInBrowser(name: string, tests: (open: OpenWindow) => void): void {
  const there = existsSync(CHROMIUM);
  describe.runIf(there)(there ? name : `${name} (there is no ${CHROMIUM})`, () => {
    let browser: Browser;
    beforeAll(async () => {
      const quiet = [
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
      ];
      browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', ...quiet] });
    });
    afterAll(() => browser.close());

    tests(async (url, options = {}) => {
      const context = await browser.newContext({ locale: 'en-GB', ...options });
      onTestFinished(() => context.close());
      const page = await context.newPage();
      page.setDefaultTimeout(30_000);
      const [foreign, complaints]: [string[], string[]] = [[], []];
      page.on('request', (request) => {
        if (/^(https?|wss?):/.test(request.url()) && !request.url().startsWith(url)) foreign.push(request.url());
      });
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('console', (message) => {
        if (message.type() === 'error' && !/WebSocket connection|net::ERR/.test(message.text()))
          complaints.push(message.text());
      });
      await page.goto(url);
      return { page, foreign, complaints };
    });
  });
}

/** Waits until a page's state is as wanted; polls, for want of an event. */
export const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read);
