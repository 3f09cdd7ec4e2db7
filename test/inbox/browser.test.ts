import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { ChatError } from '../../src/chat/rules/errors.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { describeInBrowser, eventually } from '../support/browser.ts';
import { post } from '../support/clients.ts';
import { barriers, messagesOf, openChat, signIn, texts, write } from '../support/inbox.ts';
import { clientOf, sent } from '../support/kredichat.ts';
import { wire } from '../support/proxy.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];

/** Opens conversations of Bob with Ann. Resolves with the id of the last one. */
async function openConversations(url: string, count: number): Promise<string> {
  const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }';
  let id = '';
  for (let i = 1; i <= count; i++) {
    const input = { to: { key: { configId: `programme-${i}`, members: [ANN, BOB] } }, text: 'Hello Ann' };
    id = (await post(url, BOB, send, { input })).data.sendMessage.conversation.id;
  }
  return id;
}

/** The texts of both storages of a page. */
const stored = (page: Page) => page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));

const rows = (page: Page) => page.getByRole('navigation', { name: 'Conversations' }).getByRole('link').count();

/** Drags data over an element and drops it; resolves with which of the two events the page prevented. */
const drop = (page: Page, selector: string, type: 'file' | 'text') =>
  page.evaluate(
    ([at, what]) => {
      const dataTransfer = new DataTransfer();
      if (what === 'file') dataTransfer.items.add(new File(['x'], 'invoice.pdf'));
      else dataTransfer.setData('text/plain', 'https://example.com');
      return ['dragover', 'drop'].filter((name) => {
        const event = new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true });
        return document.querySelector(at)?.dispatchEvent(event) === false;
      });
    },
    [selector, type] as const,
  );

describeInBrowser('The inbox page and its browser', (open) => {
  /** Two tabs with Ann's conversation open, both offline. */
  async function openTwoTabs() {
    const { url } = await startServer();
    const id = await openConversations(url, 1);
    const line = await wire(url);
    const { page } = await open(line.url);
    const other = await page.context().newPage();
    other.setDefaultTimeout(30_000);
    await other.goto(line.url);
    const tabs = [page, other];
    for (const tab of tabs) {
      await signIn(tab, ANN);
      await openChat(tab, /programme-1/);
      await messagesOf(tab).getByText('Hello Ann').waitFor();
    }
    line.aim(url, true);
    line.cut();
    for (const tab of tabs) await tab.getByText('Offline.').waitFor();
    return { url, id, line, page, other, tabs };
  }

  test.each(['full', 'forbidden', 'missing'])(
    'where storage is %s: a draft is kept while the page lives',
    async (how) => {
      const { url } = await startServer();
      await openConversations(url, 2);
      const { page, complaints } = await open(url);
      await page.addInitScript((state) => {
        const refuse = () => {
          throw new DOMException('refused', state === 'full' ? 'QuotaExceededError' : 'SecurityError');
        };
        if (state === 'full') Storage.prototype.setItem = refuse;
        const get = state === 'forbidden' ? refuse : () => null;
        if (state !== 'full') {
          for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name, { get });
        }
      }, how);
      await page.reload();
      await signIn(page, ANN);
      await openChat(page, /programme-1/);
      await page.getByRole('textbox', { name: 'Message' }).fill('A draft');
      await openChat(page, /programme-2/);
      await eventually(() => page.getByRole('textbox', { name: 'Message' }).inputValue()).toBe('');
      await openChat(page, /programme-1/);
      await eventually(() => page.getByRole('textbox', { name: 'Message' }).inputValue()).toBe('A draft');
      await page.keyboard.press('Enter');
      await page.getByRole('img', { name: 'Sent' }).waitFor();
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByLabel('Your address').waitFor();
      expect(complaints).toEqual([]);
    },
  );

  test('a component that fails leaves a message and a way to reload', async () => {
    const { url } = await startServer();
    const id = await openConversations(url, 1);
    const { page } = await open(url);
    await page.addInitScript(() => {
      const { ResizeObserver } = window;
      // @ts-expect-error: as in a browser that has none
      if (!sessionStorage.getItem('mended')) window.ResizeObserver = undefined;
      else window.ResizeObserver = ResizeObserver;
    });
    await page.reload();
    await signIn(page, ANN);
    await page.goto(`${url}/#/c/${encodeURIComponent(id)}`);
    await page.getByRole('alert').getByText('Something went wrong').waitFor();
    expect(await barriers(page)).toEqual([]);
    await page.getByRole('button', { name: 'Back to the list' }).click();
    await page.getByRole('link', { name: /programme-1/ }).waitFor();
    await openChat(page, /programme-1/);
    await page.getByRole('alert').getByText('Something went wrong').waitFor();
    await page.evaluate(() => sessionStorage.setItem('mended', 'yes'));
    // The focus is on "Reload".
    await page.keyboard.press('Enter');
    await messagesOf(page).getByText('Hello Ann').waitFor();
  });

  test('signing out leaves no readable data, and asks before it discards messages', async () => {
    const { url } = await startServer();
    await openConversations(url, 1);
    const line = await wire(url);
    const { page } = await open(line.url);
    await signIn(page, ANN);
    await openChat(page, /programme-1/);
    await messagesOf(page).getByText('Hello Ann').waitFor();
    line.aim(url, true);
    line.cut();
    await page.getByText('Offline.').waitFor();
    await write(page, 'Never sent');
    await page.getByRole('textbox', { name: 'Message' }).fill('Never finished');
    await eventually(() => stored(page)).toMatch(/Never finished.*Never sent/);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('One message was not sent.').waitFor();
    expect(await barriers(page)).toEqual([]);
    await page.keyboard.press('Escape');
    expect(await texts(page)).toContain('Never sent');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Discard and sign out' }).click();
    await page.getByLabel('Your address').waitFor();
    expect(await stored(page)).toBe('[{},{}]');
    expect(new URL(page.url()).hash).toBe('#/');
    line.aim(url);
    await signIn(page, ANN);
    await openChat(page, /programme-1/);
    await eventually(() => texts(page)).toEqual(['Hello Ann']);
  });

  test('signing out asks about unsent messages of another tab, and discards them', async () => {
    const { page, other } = await openTwoTabs();
    await write(other, 'Never sent');
    await other.getByRole('img', { name: 'Sending' }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('One message was not sent.').waitFor();
    expect(await texts(other)).toContain('Never sent');
    await page.getByRole('button', { name: 'Discard and sign out' }).click();
    await page.getByLabel('Your address').waitFor();
    await eventually(() => texts(other)).not.toContain('Never sent');
    expect(await stored(page)).toBe('[{},{}]');
  });

  test('signing out before the server was reached asks and leaves no data, either', async () => {
    const { url } = await startServer();
    await openConversations(url, 1);
    const line = await wire(url);
    const { page } = await open(line.url);
    await signIn(page, ANN);
    await openChat(page, /programme-1/);
    await messagesOf(page).getByText('Hello Ann').waitFor();
    line.aim(url, true);
    line.cut();
    await page.getByText('Offline.').waitFor();
    await write(page, 'Never sent');
    await eventually(() => stored(page)).toContain('Never sent');
    await page.reload();
    await page.getByText('Offline.').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('One message was not sent.').waitFor();
    await page.getByRole('button', { name: 'Discard and sign out' }).click();
    await page.getByLabel('Your address').waitFor();
    expect(await stored(page)).toBe('[{},{}]');
  });

  test('signing out no longer asks once another tab has sent its messages', async () => {
    const { url, line, page, other } = await openTwoTabs();
    await write(other, 'Not sent yet');
    await eventually(() => stored(other)).toContain('Not sent yet');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('One message was not sent. Signing out discards it.').waitFor();
    await page.keyboard.press('Escape');
    line.aim(url);
    await other.getByRole('img', { name: 'Sent' }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Your address').waitFor();
  });

  test('a draft of a refused viewer is kept for that viewer only', async () => {
    const { url } = await startServer();
    await openConversations(url, 1);
    const { page } = await open(url);
    await signIn(page, ANN);
    await openChat(page, /programme-1/);
    await page.getByRole('textbox', { name: 'Message' }).fill('Ann’s secret');
    await eventually(() => stored(page)).toContain('Ann’s secret');
    await page.evaluate(() => sessionStorage.setItem('kredichat:credential', 'nobody'));
    await page.reload();
    await page.getByRole('alert').waitFor();
    expect(await stored(page)).toContain('Ann’s secret');
    await signIn(page, BOB);
    await eventually(() => stored(page)).not.toContain('Ann’s secret');
  });

  test('two tabs of one viewer agree on failed, discarded and sent messages', async () => {
    const { url, id, line, page, tabs, other } = await openTwoTabs();
    await write(page, 'First');
    await write(page, 'Second');
    await page.getByRole('img', { name: 'Sending' }).nth(1).waitFor();
    const close =
      'mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { id } } }';
    const closed = await post(url, `${BOB}:BANK`, close, { input: { conversationId: id, status: 'CLOSED' } });
    expect(closed.errors).toBeUndefined();
    line.aim(url);
    for (const tab of tabs) await eventually(() => tab.getByRole('button', { name: 'Try again' }).count()).toBe(2);

    await page.getByRole('button', { name: 'Discard' }).first().click();
    for (const tab of tabs) {
      await eventually(() => tab.getByRole('button', { name: 'Try again' }).count()).toBe(1);
    }
    const reopened = await post(url, `${BOB}:BANK`, close, { input: { conversationId: id, status: 'OPEN' } });
    expect(reopened.errors).toBeUndefined();
    await other.getByRole('button', { name: 'Try again' }).click();
    for (const tab of tabs) {
      await eventually(() => tab.getByRole('button', { name: 'Try again' }).count()).toBe(0);
      await eventually(async () => (await texts(tab)).filter((text) => text === 'Second')).toEqual(['Second']);
      expect(await texts(tab)).not.toContain('First');
    }
    expect(await stored(page)).not.toContain('Second');
  });

  test('a list on a high screen is loaded to its end, and so is a conversation', async () => {
    const { url } = await startServer();
    const id = await openConversations(url, 95);
    const bob = clientOf(url, BOB);
    await Promise.all(Array.from({ length: 170 }, (_, i) => sent(bob, { to: { id }, text: `Line ${i}` })));
    const read = 'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }';
    expect((await post(url, ANN, read, { input: { conversationId: id, seq: 171 } })).errors).toBeUndefined();
    const { page } = await open(url, { viewport: { width: 1200, height: 12_000 } });
    await signIn(page, ANN);
    await eventually(() => rows(page)).toBe(95);
    await openChat(page, /programme-95/);
    await eventually(async () => (await texts(page)).length).toBe(171);
  });

  test('a failed page of the list is reported, and loaded when the store is back', async () => {
    const store = { ...(await openSqlite(':memory:')) };
    const { chatList } = store;
    const { url } = await startServer({}, { store });
    await openConversations(url, 40);
    let away = true;
    store.chatList = (reader, filter, slice) =>
      away && slice.after
        ? // Unlike UNAVAILABLE it is not repeated by itself, so that the button is what loads it.
          Promise.reject(new ChatError('NOT_FOUND', 'The page is away.'))
        : chatList(reader, filter, slice);
    const { page } = await open(url, { viewport: { width: 1200, height: 6000 } });
    await signIn(page, ANN);
    await page.getByRole('alert').getByText('More conversations could not be loaded').waitFor();
    expect(await barriers(page)).toEqual([]);
    away = false;
    await page.getByRole('button', { name: 'Try again' }).click();
    await eventually(() => rows(page)).toBe(40);
    await page.getByRole('alert').waitFor({ state: 'detached' });
  });

  test('ignores dropped files and links, and says that files cannot be sent', async () => {
    const { url } = await startServer();
    await openConversations(url, 1);
    const { page } = await open(url);
    expect(await drop(page, 'h1', 'file')).toEqual(['dragover', 'drop']);
    await page.getByRole('status').getByText('Files cannot be sent yet').waitFor();
    expect(await barriers(page)).toEqual([]);
    await signIn(page, ANN);
    await openChat(page, /programme-1/);
    await page.getByRole('textbox', { name: 'Message' }).waitFor();
    for (const at of ['body', '.messages', 'textarea']) {
      expect(await drop(page, at, 'file'), at).toEqual(['dragover', 'drop']);
    }
    expect(await drop(page, '.messages', 'text')).toEqual(['dragover', 'drop']);
    expect(await drop(page, 'textarea', 'text')).toEqual([]);
  });
});
