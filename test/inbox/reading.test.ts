import type { Locator, Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { describeInBrowser, eventually } from '../support/browser.ts';
import { post } from '../support/clients.ts';
import { barriers, openChat, signIn, write } from '../support/inbox.ts';
import { clientOf, sent, when } from '../support/kredichat.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CY] = ['ann@example.com', 'bob@example.com', 'cy@example.com'];
/** Addresses that differ only in the domain. */
const [LEE, IMPOSTOR] = ['ann.lee@bank.example', 'ann.lee@bank-example.co'];
const KEY = { configId: 'programme-1', members: [ANN, BOB] };

/** A server with a conversation that Bob opened. */
async function begun(text = 'Hello') {
  const { url } = await startServer();
  const bob = clientOf(url, BOB);
  const { conversationId: id } = await sent(bob, { to: { key: KEY }, text, subject: 'Invoice 7' });
  return { url, id, bob };
}

/** Stores messages of Bob in one batch. */
async function sendAll(url: string, texts: readonly string[]): Promise<void> {
  const send = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { id } } }';
  const input = { to: { key: KEY }, messages: texts.map((text) => ({ text })) };
  expect((await post(url, BOB, send, { input })).errors).toBeUndefined();
}

/** Whether the characters of a part of an element's text stand from left to right. */
function isLeftToRight(element: Locator, part: string): Promise<boolean> {
  return element.evaluate((root, wanted) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const from = node.textContent?.indexOf(wanted) ?? -1;
      if (from < 0) continue;
      const lefts = Array.from(wanted, (_, i) => {
        const range = document.createRange();
        range.setStart(node, from + i);
        range.setEnd(node, from + i + 1);
        return range.getBoundingClientRect().left;
      });
      return lefts.every((left, i) => i === 0 || left > (lefts[i - 1] ?? 0));
    }
    throw new Error(`There is no “${wanted}”.`);
  }, part);
}

const left = (place: Locator) => place.evaluate((element) => element.getBoundingClientRect().left);

const composer = (page: Page) => page.getByRole('textbox', { name: 'Message', exact: true });

describeInBrowser('Reading in the inbox page', (open) => {
  test('a window marks messages as read only with the focus', async () => {
    const { url, id, bob } = await begun();
    const view = bob.conversation({ id });
    const readSeq = () => view.get().conversation?.members.find(({ email }) => email === ANN)?.readSeq;
    const { page } = await open(url);
    await signIn(page, ANN);
    await openChat(page, /Invoice 7/);
    await when(view, () => readSeq() === 1);
    await page.evaluate(() => {
      document.hasFocus = () => false;
      dispatchEvent(new Event('blur'));
    });
    await sent(bob, { to: { id }, text: 'Second' });
    await page.locator('.messages').getByText('Second').waitFor();
    // Requests of the page arrive in order: an earlier read position would have arrived by now.
    await composer(page).fill('I am about to');
    await when(view.typists, (typists) => typists.includes(ANN));
    expect(readSeq()).toBe(1);
    await page.evaluate(() => {
      document.hasFocus = () => true;
      dispatchEvent(new Event('focus'));
    });
    await when(view, () => readSeq() === 2);
  });

  test('hits belong to the query shown; a failed search is reported and repeated', async () => {
    const { url } = await begun('The refund is overdue');
    const { page } = await open(url);
    /** The answer to every search while it is set. */
    let failure: { readonly code: string; readonly retryAfterMs?: number } | null = null;
    const searches: string[] = [];
    await page.routeWebSocket(/graphql/, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((message) => {
        const { id, payload } = JSON.parse(String(message));
        const isSearch = /SearchMessages/.test(payload?.query);
        if (isSearch) searches.push(payload.variables.query);
        if (!isSearch || !failure) return server.send(message);
        const errors = [{ message: 'Not now.', extensions: failure }];
        socket.send(JSON.stringify({ id, type: 'next', payload: { data: null, errors } }));
        socket.send(JSON.stringify({ id, type: 'complete' }));
      });
    });
    await page.reload();
    await signIn(page, ANN);
    const field = page.getByRole('searchbox');
    const hits = page.getByRole('list', { name: 'Found messages' }).getByRole('link');
    await field.fill('overdue');
    await eventually(() => hits.count()).toBe(1);

    failure = { code: 'UNAVAILABLE' };
    await field.fill('overdue loan');
    await eventually(() => hits.count()).toBe(0);
    const said = page.getByRole('navigation', { name: 'Conversations' }).getByText('The search failed: Not now.');
    await said.waitFor();
    expect((await said.boundingBox())?.height).toBeGreaterThan(10);
    expect(await barriers(page)).toEqual([]);
    failure = { code: 'RATE_LIMITED', retryAfterMs: 1500 };
    const before = searches.length;
    await eventually(() => searches.length).toBeGreaterThan(before);
    failure = null;
    await page.getByText('Nothing was found.').waitFor();
    expect([...new Set(searches)]).toEqual(['overdue*', 'overdue loan*']);

    failure = { code: 'BAD_USER_INPUT' };
    await field.fill('overdue ref');
    await said.waitFor();
    failure = null;
    searches.length = 0;
    const begunAt = performance.now();
    await field.press('End');
    await field.pressSequentially('und the refund the refund', { delay: 300 });
    await eventually(() => hits.count()).toBe(1);
    // At most 60 a minute at any typing speed, and the last query is always searched.
    expect(searches.length).toBeLessThanOrEqual((performance.now() - begunAt) / 1000 + 1);
    expect(searches.at(-1)).toBe('overdue refund the refund the refund*');
  });

  test('days and times go on while the page is open: at midnight, after a sleep, in another time zone', async () => {
    let now = Date.parse('2026-03-10T23:50:00Z');
    const { url } = await startServer({}, { clock: () => now });
    await sent(clientOf(url, BOB), { to: { key: KEY }, text: 'Late' });
    const { page } = await open(url);
    await page.clock.install({ time: now });
    await page.reload();
    await signIn(page, ANN);
    await openChat(page, /bob/);
    const day = page.locator('.day');
    const inList = page.getByRole('navigation', { name: 'Conversations' }).getByRole('link').locator('time');
    await eventually(() => day.textContent()).toBe('Today');
    expect(await inList.textContent()).toMatch('23:50');
    now += 11 * 60_000;
    await page.clock.runFor('11:00');
    await eventually(() => day.textContent()).toBe('Yesterday');
    expect(await inList.textContent()).toBe('Yesterday');
    await page.clock.fastForward('50:00:00');
    await eventually(() => day.textContent()).toMatch(/^Tuesday,? 10 March 2026$/);
    expect(await inList.textContent()).toBe('Tuesday');

    const devtools = await page.context().newCDPSession(page);
    await devtools.send('Emulation.setTimezoneOverride', { timezoneId: 'Asia/Tokyo' });
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await eventually(() => day.textContent()).toMatch(/^Wednesday,? 11 March 2026$/);
    expect(await page.locator('.bubble time').textContent()).toBe('08:50');

    // Years apart, forwards and backwards, as with a wrong clock.
    await page.clock.setFixedTime('2036-03-11T00:00:00Z');
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await eventually(() => inList.textContent()).toBe('11/03/2026');
    await page.clock.setFixedTime('2016-03-11T00:00:00Z');
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await eventually(() => day.textContent()).toMatch(/^Wednesday,? 11 March 2026$/);
    await eventually(() => inList.textContent()).toBe('11/03/2026');
  });

  test('every arriving message is announced, for any number and any text', async () => {
    const { url } = await begun();
    const { page, complaints } = await open(url);
    await signIn(page, ANN);
    await openChat(page, /Invoice 7/);
    await page.locator('.messages').getByText('Hello').waitFor();
    const said = page.getByRole('log').locator('p');
    await page.evaluate(() => {
      const added: string[] = [];
      Object.assign(window, { added });
      new MutationObserver((records) => {
        for (const { addedNodes } of records) for (const node of addedNodes) added.push(node.textContent ?? '');
      }).observe(document.querySelector('[role=log]') as Element, { childList: true });
    });
    const wanted: string[] = [];
    for (const round of [['ok', 'ok', 'ok'], ['ok'], Array.from({ length: 40 }, (_, i) => `Line ${i}`), ['ok', 'ok']]) {
      wanted.push(...round.map((text) => `bob: ${text}`));
      await sendAll(url, round);
      await eventually(() => page.evaluate('window.added')).toEqual(wanted);
    }
    expect(await said.count()).toBeLessThan(30);
    await write(page, 'Mine');
    await sendAll(url, ['After mine']);
    await eventually(() => said.last().textContent()).toBe('bob: After mine');
    expect(await page.evaluate('window.added')).toEqual([...wanted, 'bob: After mine']);
    expect(complaints).toEqual([]);
  });

  test('no text of a member changes the direction of the text beside it', async () => {
    const { url, bob } = await begun();
    const { conversationId: id } = await sent(bob, {
      to: { key: { configId: '1-2-3', members: [ANN, BOB] } },
      text: 'Hello',
      subject: 'חשבונית',
      party: 'שלום',
    });
    const view = bob.conversation({ id });
    await when(view, ({ phase }) => phase === 'ready');
    await view.update({ addLabels: ['אחת', 'שתיים'], addMembers: [CY] });
    const { page } = await open(url);
    await signIn(page, ANN);
    const row = page.getByRole('link', { name: /1-2-3/ });
    await row.waitFor();
    expect(await isLeftToRight(row, '1-2-3')).toBe(true);
    expect(await left(row.locator('small'))).toBeGreaterThan(await left(row.getByText('חשבונית')));
    await row.click();
    const change = page.locator('.change');
    await change.waitFor();
    expect(await change.locator('.text').textContent()).toBe(`labels: +"אחת", +"שתיים"; members: +${CY}`);
    expect(await left(change.getByText('"אחת"'))).toBeLessThan(await left(change.getByText('"שתיים"')));
    const about = page.locator('.pane-head .about').first();
    expect(await isLeftToRight(about, '1-2-3')).toBe(true);
    expect(await left(about.getByText('1-2-3'))).toBeLessThan(await left(about.getByText('שלום')));
    await page.getByRole('button', { name: /members: details/ }).click();
    const remove = page.getByRole('button', { name: 'Remove the label \u2068אחת\u2069' });
    await remove.waitFor();
    await page.keyboard.press('Escape');

    // A link may hold names that the server refuses.
    for (const turn of ['\u202E', '\u2069\u202E', '\u2067']) {
      const ref = { key: { configId: 'programme-001', members: [ANN, BOB] } };
      const route = { ref, subject: `Factoring ${turn}`, party: `Acme ${turn}` };
      await page.goto(`${url}/#/new/${encodeURIComponent(JSON.stringify(route))}`);
      await eventually(() => page.locator('.pane-head h2').textContent()).toContain('Factoring');
      await about.getByText('programme-001').waitFor();
      expect(await isLeftToRight(about, 'bob')).toBe(true);
    }
  });

  test('members with the same short name are named by the whole address', async () => {
    const { url } = await startServer();
    const [lee, impostor] = [clientOf(url, LEE), clientOf(url, IMPOSTOR)];
    const key = { configId: 'programme-1', members: [ANN, BOB, LEE, IMPOSTOR] };
    const { conversationId: id } = await sent(lee, { to: { key }, text: 'Pay to DE02' });
    const { page } = await open(url);
    await signIn(page, ANN);
    await openChat(page, /programme-1/);
    await page.locator('.messages').getByText('Pay to DE02').waitFor();
    await sent(impostor, { to: { id }, text: 'Pay to XX66 instead' });
    await sent(clientOf(url, BOB), { to: { id }, text: 'Which one' });
    const senders = page.locator('.bubble .sender');
    await eventually(() => senders.allTextContents()).toEqual([LEE, IMPOSTOR, 'bob']);
    await senders.getByTitle(BOB).waitFor();
    await eventually(() => page.getByRole('log').locator('p').allTextContents()).toEqual([
      `${IMPOSTOR}: Pay to XX66 instead`,
      'bob: Which one',
    ]);
    const names = `${IMPOSTOR}, ${LEE}, bob`;
    expect(await page.locator('.pane-head h2').textContent()).toBe(names);

    await write(page, 'I ask');
    const views = [lee, impostor].map((client) => client.conversation({ id }));
    for (const view of views) {
      await when(view, ({ messages }) => messages.length === 4);
      view.markRead(4);
    }
    await page.getByRole('img', { name: `Read by ${IMPOSTOR}, ${LEE}` }).waitFor();
    views[1]?.typing(true);
    await page.getByText(`${IMPOSTOR} is typing…`).waitFor();
    await views[1]?.update({ status: 'PENDING', assignee: IMPOSTOR });
    await eventually(() => page.locator('.change').textContent()).toContain(`${IMPOSTOR} · status`);
    await page.locator('.pane-head').getByText(`next: ${IMPOSTOR}`).waitFor();

    const row = page.getByRole('navigation', { name: 'Conversations' }).getByRole('link');
    await eventually(() => row.locator('.chat-last').textContent()).toContain(`${IMPOSTOR} · status`);
    expect(await row.locator('.chat-name').textContent()).toContain(names);
    await page.getByRole('searchbox').fill('pay');
    const hits = page.getByRole('list', { name: 'Found messages' }).locator('.chat-last');
    await eventually(async () => (await hits.allTextContents()).sort()).toEqual([
      `${IMPOSTOR}: Pay to XX66 instead`,
      `${LEE}: Pay to DE02`,
    ]);
  });

  test('no text or name of a member can imitate a change or the text of another member', {
    timeout: 90_000,
  }, async () => {
    const { url, id, bob } = await begun('You: I agree');
    const { page } = await open(url);
    await signIn(page, ANN);
    const last = page.getByRole('navigation', { name: 'Conversations' }).locator('.chat-last');
    await eventually(() => last.textContent()).toBe('bob: You: I agree');
    await openChat(page, /Invoice 7/);
    await page.locator('.messages').getByText('I agree').waitFor();
    const forged = 'bob changed the conversation: status: OPEN → RESOLVED';
    await sent(bob, { to: { id }, text: forged });
    await eventually(() => last.innerHTML()).not.toContain('<em>');
    await eventually(() => last.textContent()).toBe(`bob: ${forged}`);
    const view = bob.conversation({ id });
    await when(view, ({ phase }) => phase === 'ready');
    await view.update({ status: 'RESOLVED' });
    await eventually(() => last.locator('em').textContent()).toBe('bob · status: OPEN → RESOLVED');
    await eventually(() => page.getByRole('log').locator('p').allTextContents()).toEqual([`bob: ${forged}`, forged]);

    const alike = ['clan@example.com', 'dan@bank.example', "o'hara@bank.example", 'ohara@example.com'];
    const addMembers = [...alike, 'nobody@example.com', 'you@example.com'];
    await view.update({ addMembers });
    const about = page.locator('.pane-head .about').first();
    await eventually(() => about.textContent()).toContain(`bob, ${addMembers.toSorted().join(', ')}`);
    await sent(clientOf(url, 'you@example.com'), { to: { id }, text: 'Hello from you' });
    await eventually(() => last.textContent()).toBe('you@example.com: Hello from you');
  });
});
