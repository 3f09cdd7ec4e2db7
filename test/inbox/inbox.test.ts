import { expect, test } from 'vitest';
import { describeInBrowser, eventually } from '../support/browser.ts';
import { legacyOnce, post } from '../support/clients.ts';
import { barriers, messagesOf, openChat, PHONE, signIn, texts, write } from '../support/inbox.ts';
import { clientOf, sent } from '../support/kredichat.ts';
import { processes } from '../support/process.ts';
import { wire } from '../support/proxy.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CY] = ['ann@example.com', 'bob@example.com', 'cy@example.com'];
const KEY = { configId: 'programme-1', members: [ANN, BOB] };

/** Stores `count` messages of Bob, and resolves with the conversation's id. */
async function fill(url: string, count: number, key = KEY): Promise<string> {
  let id = '';
  for (let from = 1; from <= count; from += 100) {
    const messages = Array.from({ length: Math.min(100, count - from + 1) }, (_, i) => ({
      text: `Message ${from + i}. ${'More of it. '.repeat((from + i) % 7)}`,
    }));
    const send = 'mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { conversation { id } } }';
    id = (await post(url, BOB, send, { input: { to: { key }, messages } })).data.sendMessages.conversation.id;
  }
  return id;
}

async function markRead(url: string, conversationId: string, seq: number): Promise<void> {
  const mark = 'mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }';
  expect((await post(url, ANN, mark, { input: { conversationId, seq } })).errors).toBeUndefined();
}

describeInBrowser('The inbox page', (open) => {
  const { start, kill } = processes();

  test('two people and an older client write to each other over a killed server: all is there, once', async () => {
    const file = { STORE_URL: 'sqlite:inbox/kredichat.db' };
    let running = await start(file);
    const line = await wire(running.url);
    const [ann, bob] = [await open(line.url), await open(line.url)];
    await signIn(ann.page, ANN);
    await signIn(bob.page, BOB);

    await ann.page.getByText('No conversations yet').waitFor();
    await ann.page
      .getByRole('region', { name: 'Conversation' })
      .getByRole('button', { name: 'New conversation' })
      .click();
    await ann.page.getByLabel('Document configuration').fill(KEY.configId);
    await ann.page.getByLabel('Members').fill(`${BOB}, ${CY}`);
    await ann.page.getByLabel('Subject').fill('Invoice 7');
    await ann.page.getByRole('button', { name: 'Continue' }).click();
    await write(ann.page, 'Hello from Ann');
    await ann.page.getByRole('img', { name: 'Sent' }).waitFor();

    await bob.page.getByRole('link', { name: /Invoice 7.*1 unread/ }).click();
    await bob.page.getByRole('region', { name: 'Messages' }).getByText('Hello from Ann').waitFor();
    await bob.page.getByRole('link', { name: /unread/ }).waitFor({ state: 'detached' });
    await ann.page.getByRole('img', { name: 'Read by bob' }).waitFor();

    const frame = { type: 'SEND', config_id: KEY.configId, members: [ANN, BOB], message: [{ text: 'Hello from Cy' }] };
    await legacyOnce(running.ws, CY, frame);
    await write(bob.page, 'Hello from Bob');
    const begun = ['Hello from Ann', 'Hello from Cy', 'Hello from Bob'];
    for (const { page } of [ann, bob]) await eventually(() => texts(page)).toEqual(begun);

    await kill(running.child);
    for (const { page } of [ann, bob]) await page.getByText('Offline.').waitFor();
    for (const i of [1, 2, 3]) {
      await write(ann.page, `Ann offline ${i}`);
      await write(bob.page, `Bob offline ${i}`);
    }
    await expect(ann.page.getByRole('img', { name: 'Sending' }).count()).resolves.toBe(3);
    running = await start(file);
    line.aim(running.url);
    for (const { page } of [ann, bob]) await page.getByText('Offline.').waitFor({ state: 'detached' });
    await legacyOnce(running.ws, CY, { ...frame, message: [{ text: 'Cy is back' }] });
    await eventually(async () => (await texts(ann.page)).length).toBe(10);
    await eventually(() => texts(bob.page)).toEqual(await texts(ann.page));

    const received = await legacyOnce(running.ws, CY, {
      type: 'RECEIVE',
      config_id: KEY.configId,
      members: [ANN, BOB],
    });
    const log = received.data[0].message.map(({ text }: { text: string }) => text);
    expect(await texts(ann.page)).toEqual(log);
    for (const who of ['Ann', 'Bob']) {
      expect(log.filter((text: string) => text.startsWith(`${who} offline`))).toEqual(
        [1, 2, 3].map((i) => `${who} offline ${i}`),
      );
    }
    for (const { foreign, complaints } of [ann, bob]) expect([foreign, complaints]).toEqual([[], []]);
  });

  test('a reload keeps unsent messages and drafts', async () => {
    const { url } = await startServer();
    await fill(url, 1);
    const line = await wire(url);
    const { page } = await open(line.url);
    await signIn(page, ANN);
    await openChat(page, /bob/);
    await messagesOf(page).getByText('Message 1.').waitFor();
    // The page still loads, and its socket does not connect.
    line.aim(url, true);
    line.cut();
    await page.getByText('Offline.').waitFor();
    await write(page, 'Written while offline');
    await page.getByRole('img', { name: 'Sending' }).waitFor();
    await page.getByRole('textbox', { name: 'Message' }).fill('Not yet finished');
    await page.reload();
    await page.getByText('Offline.').waitFor();
    line.aim(url);
    await page.reload();
    await page.getByRole('img', { name: 'Sent' }).waitFor();
    await eventually(() => texts(page)).toEqual(['Message 1. More of it. ', 'Written while offline']);
    await expect(page.getByRole('textbox', { name: 'Message' }).inputValue()).resolves.toBe('Not yet finished');
  });

  test('a draft after the first message outlives a reload; an invalid link opens nothing', async () => {
    const { url } = await startServer();
    const { page, complaints } = await open(url);
    await signIn(page, ANN);
    const route = { ref: { key: { configId: 'programme-1', members: [ANN, BOB] } } };
    await page.goto(`${url}/#/new/${encodeURIComponent(JSON.stringify(route))}`);
    await write(page, 'The first');
    await page.getByRole('img', { name: 'Sent' }).waitFor();
    await eventually(() => page.url()).toContain('#/c/');
    await page.getByRole('textbox', { name: 'Message' }).fill('Not yet finished');
    await page.reload();
    await eventually(() => page.getByRole('textbox', { name: 'Message' }).inputValue()).toBe('Not yet finished');

    for (const wrong of [
      { ref: { key: { members: [ANN, BOB] } } },
      { ref: { key: { configId: 'x', members: [1] } } },
      { ...route, subject: {} },
      { ref: { key: null } },
    ]) {
      await page.goto(`${url}/#/new/${encodeURIComponent(JSON.stringify(wrong))}`);
      await page.getByRole('heading', { name: 'Choose a conversation' }).waitFor();
    }
    expect(complaints).toEqual([]);
  });

  test('10,000 messages scroll without a jump, with few of them in the page', { timeout: 180_000 }, async () => {
    const { url } = await startServer();
    const id = await fill(url, 10_000);
    await markRead(url, id, 10_000);
    const { page } = await open(url);
    await signIn(page, ANN);
    await openChat(page, /programme-1/);
    await page.getByText('Message 10000.').last().waitFor();

    const nodes = () => page.evaluate(() => document.querySelectorAll('*').length);
    let most = await nodes();
    // Scrolls up in rendered steps of half a screen; resolves with the distance that visible rows jumped.
    const climb = () =>
      page.evaluate(async () => {
        const element = document.querySelector('.messages') as HTMLElement;
        const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
        const rows = () => [...element.querySelectorAll<HTMLElement>('[data-seq]')];
        const place = (row: HTMLElement) => row.getBoundingClientRect().top;
        let jump = 0;
        for (let i = 0; i < 20; i++) {
          const wanted = Math.min(element.clientHeight / 2, element.scrollTop);
          const middle = rows().find((row) => place(row) > 200);
          const before = middle ? place(middle) : 0;
          element.scrollTop -= wanted;
          await frame();
          await frame();
          if (middle?.isConnected) jump = Math.max(jump, Math.abs(place(middle) - before - wanted));
        }
        return { jump, first: Number(rows()[0]?.dataset.seq), count: document.querySelectorAll('*').length };
      });
    let first = 10_000;
    for (let i = 0; i < 25; i++) {
      const step = await climb();
      expect(step.jump).toBeLessThan(2);
      first = step.first;
      most = Math.max(most, step.count);
    }
    expect(first).toBeLessThan(9500);
    // As by dragging the bar, or the Home key held down.
    await eventually(() =>
      page.evaluate(() => {
        const element = document.querySelector('.messages') as HTMLElement;
        element.scrollTop = 0;
        return Number(element.querySelector<HTMLElement>('[data-seq]')?.dataset.seq);
      }),
    ).toBeLessThan(9000);
    most = Math.max(most, await nodes());
    expect(most).toBeLessThan(700);

    await page.getByRole('button', { name: 'To the newest message' }).click();
    await page.getByText('Message 10000.').last().waitFor();
    expect(await nodes()).toBeLessThan(700);
    // Live messages are followed while the end is visible.
    await sent(clientOf(url, BOB), { to: { id }, text: 'The newest of all' });
    await page.getByRole('region', { name: 'Messages' }).getByText('The newest of all').waitFor();

    // Own messages have menus, so they take the most nodes.
    const own = (await open(url)).page;
    await signIn(own, BOB, 'Bank');
    await openChat(own, /programme-1/);
    await own.getByText('The newest of all').last().waitFor();
    for (let i = 0; i < 20; i++) {
      await own.locator('.messages').evaluate((element) => {
        element.scrollTop -= 600;
      });
      expect(await own.evaluate(() => document.querySelectorAll('*').length)).toBeLessThan(700);
    }
    expect(await own.getByRole('button', { name: 'Message menu' }).count()).toBeGreaterThan(20);
  });

  test('opens at the first unread message, reads visible ones, and stays there when more arrive', async () => {
    const { url } = await startServer();
    const id = await fill(url, 400);
    await markRead(url, id, 150);
    const { page } = await open(url);
    await signIn(page, ANN);
    await openChat(page, /250 unread/);
    await page.getByText('New messages').waitFor();
    const top = () => page.getByText('New messages').evaluate((row) => Math.round(row.getBoundingClientRect().top));
    const before = await top();
    expect(before).toBeGreaterThan(60);
    expect(before).toBeLessThan(400);
    await sent(clientOf(url, BOB), { to: { id }, text: 'One more' });
    await eventually(() => page.getByRole('link', { name: /programme-1/ }).textContent()).toContain('One more');
    expect(await top()).toBe(before);
    // Only the visible messages were marked as read.
    await eventually(() => page.title()).not.toContain('(250)');
    expect(Number(/\d+/.exec(await page.title())?.[0])).toBeGreaterThan(200);
  });

  test('can be used by keyboard, and has no barriers that axe knows: any size, any colours', {
    timeout: 180_000,
  }, async () => {
    const { url } = await startServer();
    await fill(url, 3);
    await fill(url, 2, { configId: 'programme-2', members: [ANN, BOB, CY] });
    const dark = { colorScheme: 'dark' } as const;
    for (const [i, options] of [{}, dark, PHONE, { ...PHONE, ...dark }].entries()) {
      const line = await wire(url);
      const { page, complaints } = await open(line.url, options);
      expect(await barriers(page)).toEqual([]);
      await page.keyboard.type(ANN);
      await page.keyboard.press('Enter');
      await page.getByRole('link', { name: /programme-2/ }).waitFor();
      expect(await barriers(page)).toEqual([]);

      await page.getByRole('link', { name: /programme-2/ }).focus();
      // The conversation with the newest message is above.
      await page.keyboard.press(i === 0 ? 'ArrowDown' : 'ArrowUp');
      await page.keyboard.press('Enter');
      await page.getByText('Message 3.').last().waitFor();
      await write(page, 'A word');
      await page
        .getByRole('img', { name: /Sent|Read/ })
        .last()
        .waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.getByRole('button', { name: /members: details/ }).press('Enter');
      await page.getByText('messages to read').first().waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.keyboard.press('Escape');

      line.aim(null);
      line.cut();
      await page.getByText('Offline.').waitFor();
      await write(page, 'Later');
      expect(await barriers(page)).toEqual([]);
      line.aim(url);
      await page.getByText('Offline.').waitFor({ state: 'detached' });

      await page.goto(`${line.url}/#/`);
      await page.getByRole('button', { name: 'New conversation' }).first().press('Enter');
      await page.getByLabel('Document configuration').waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.keyboard.type('programme-3');
      await page.keyboard.press('Tab');
      await page.keyboard.type(BOB);
      await page.keyboard.press('Enter');
      await page.getByText('Nothing has been said yet').waitFor();
      expect(await barriers(page)).toEqual([]);
      expect(complaints).toEqual([]);
      await page.close();
    }
  });

  test('asks for a token where the server requires one, and reports a refused token', async () => {
    const { url } = await startServer();
    const { page } = await open(url);
    // As the server renders the page with verified tokens; scripts run after this.
    await page.addInitScript(() => {
      document.addEventListener('readystatechange', () => {
        document.querySelector('meta[name="kredichat-auth"]')?.setAttribute('content', 'jwt');
      });
    });
    await page.reload();
    await page.getByLabel('Token').fill('nonsense');
    await page.getByRole('button', { name: 'Open inbox' }).click();
    await page.getByRole('alert').waitFor();
    await page.getByLabel('Token').fill(ANN);
    await page.getByRole('button', { name: 'Open inbox' }).click();
    await page.getByText('No conversations yet').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Token').waitFor();
  });

  test('is small, comes from one place, and its policy allows nothing else', async () => {
    const { url } = await startServer();
    let bytes = 0;
    const { page, foreign, complaints } = await open(url);
    page.on('response', async (response) => {
      bytes += Number(response.headers()['content-length']);
    });
    const [response] = await Promise.all([page.waitForResponse(`${url}/`), page.reload({ waitUntil: 'networkidle' })]);
    expect(response.headers()['content-security-policy']).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    await page.getByLabel('Your address').waitFor();
    expect(bytes).toBeGreaterThan(10_000);
    expect(bytes).toBeLessThan(150_000);
    await page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'window.ran = true';
      document.body.append(script);
    });
    expect(await page.evaluate('window.ran')).toBeUndefined();
    expect(foreign).toEqual([]);
    expect(complaints.filter((text) => !/Content Security Policy/.test(text))).toEqual([]);
  });
});
