import type { Locator, Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { describeInBrowser, eventually } from '../support/browser.ts';
import { barriers, openChat, PHONE, signIn, texts, write } from '../support/inbox.ts';
import { clientOf, sent, when } from '../support/kredichat.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CY, DEE] = ['ann@example.com', 'bob@example.com', 'cy@example.com', 'dee@example.com'];
const KEY = { configId: 'programme-1', members: [ANN, BOB] };

/** A server with a conversation that Ann opened. */
async function begun() {
  const { url } = await startServer();
  const ann = clientOf(url, ANN);
  const { conversationId: id } = await sent(ann, { to: { key: KEY }, text: 'Hello', subject: 'Invoice 7' });
  return { url, id, ann };
}

/** A keydown that an input method handles: Chrome during the composition, WebKit after it. */
function takenKey(field: Locator, key: string, isComposing: boolean): Promise<void> {
  return field.evaluate(
    (element, init) => {
      if (!init.isComposing) element.dispatchEvent(new CompositionEvent('compositionend', { bubbles: true }));
      element.dispatchEvent(new KeyboardEvent('keydown', { ...init, bubbles: true, cancelable: true }));
    },
    { key, isComposing, keyCode: 229 },
  );
}

/** Pastes text, a file or both; resolves with whether the browser's default action runs. */
function paste(field: Locator, content: { readonly text?: string; readonly file?: string }): Promise<boolean> {
  return field.evaluate((element, { text, file }) => {
    const clipboardData = new DataTransfer();
    if (text !== undefined) clipboardData.setData('text/plain', text);
    if (file !== undefined) clipboardData.items.add(new File(['data'], file));
    return element.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
  }, content);
}

const composer = (page: Page) => page.getByRole('textbox', { name: 'Message', exact: true });

describeInBrowser('Writing in the inbox page', (open) => {
  test('keys that an input method handles do nothing else, in any field', async () => {
    const { url } = await begun();
    const { page } = await open(url);
    await signIn(page, BOB);
    await openChat(page, /Invoice 7/);
    await page.getByText('Hello').last().waitFor();
    for (const composing of [true, false]) {
      await composer(page).fill('半');
      await takenKey(composer(page), 'Enter', composing);
      await composer(page).press('End');
      await page.keyboard.type('分');
      await page.keyboard.press('Enter');
    }
    await eventually(() => texts(page)).toEqual(['Hello', '半分', '半分']);

    const edited = page.getByRole('textbox', { name: 'Edited message' });
    for (const [i, composing] of [true, false].entries()) {
      await composer(page).press('ArrowUp');
      await edited.fill('全');
      for (const key of ['Enter', 'Escape']) await takenKey(edited, key, composing);
      await edited.fill(`全部${i}`);
      await page.keyboard.press('Enter');
      await edited.waitFor({ state: 'detached' });
    }
    await eventually(() => texts(page)).toEqual(['Hello', '半分', '全部1']);
    await page.getByRole('button', { name: 'edited' }).click();
    const earlier = page.getByRole('list', { name: 'Earlier texts' }).locator('del');
    await eventually(() => earlier.allTextContents()).toEqual(['半分', '全部0']);

    const search = page.getByRole('searchbox');
    await search.fill('半');
    await takenKey(search, 'Escape', false);
    expect(await search.inputValue()).toBe('半');
    await search.press('Escape');
    await eventually(() => search.inputValue()).toBe('');

    await page.getByRole('button', { name: /members: details/ }).click();
    await page.getByLabel('New label').fill('至');
    const devtools = await page.context().newCDPSession(page);
    const enter = { key: 'Enter', code: 'Enter', text: '\r', windowsVirtualKeyCode: 229 };
    await devtools.send('Input.dispatchKeyEvent', { type: 'keyDown', ...enter });
    await page.getByLabel('New label').fill('至急');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Remove the label 至急' }).waitFor();
    expect(await page.getByRole('button', { name: 'Remove the label' }).count()).toBe(1);
  });

  test('on touch, Enter begins a line, and the button sends', async () => {
    const { url } = await begun();
    for (const viewport of [PHONE.viewport, { width: 1180, height: 820 }]) {
      const { page } = await open(url, { ...PHONE, viewport });
      await signIn(page, BOB);
      await openChat(page, /Invoice 7/);
      await composer(page).fill('One');
      await composer(page).press('Enter');
      await page.keyboard.type('Two');
      expect(await composer(page).inputValue()).toBe('One\nTwo');
      expect(await composer(page).getAttribute('enterkeyhint')).toBe('enter');
      await page.getByRole('button', { name: 'Send' }).tap();
      await eventually(async () => (await texts(page)).at(-1)).toBe('One\nTwo');
      // Simulates a hardware keyboard of a tablet.
      await composer(page).fill('Three');
      await composer(page).press('Control+Enter');
      await eventually(async () => (await texts(page)).at(-1)).toBe('Three');
    }
  });

  test('no text field is so small that a touch device zooms into it', async () => {
    const { url } = await begun();
    const sizes = [
      PHONE.viewport,
      { width: 844, height: 390 },
      { width: 820, height: 1180 },
      { width: 1180, height: 820 },
    ];
    for (const viewport of sizes) {
      const { page } = await open(url, { ...PHONE, viewport });
      const fields = () =>
        page.evaluate(() =>
          [...document.querySelectorAll('input, select, textarea')].map((field) =>
            Number.parseFloat(getComputedStyle(field).fontSize),
          ),
        );
      const all = await fields();
      await signIn(page, BOB);
      await page.getByRole('button', { name: 'New conversation' }).first().click();
      all.push(...(await fields()));
      await page.keyboard.press('Escape');
      await openChat(page, /Invoice 7/);
      await page.getByRole('button', { name: /members: details/ }).click();
      all.push(...(await fields()));
      expect(all.length).toBeGreaterThan(10);
      expect(Math.min(...all)).toBeGreaterThanOrEqual(16);
    }
  });

  test('a pasted picture is refused with a message, and text with a picture is pasted', async () => {
    const { url } = await begun();
    const { page } = await open(url);
    await signIn(page, BOB);
    await openChat(page, /Invoice 7/);
    const refusal = page.getByRole('alert').getByText('cannot be sent yet');
    await paste(composer(page), { file: 'photo.png' });
    await refusal.waitFor();
    expect(await barriers(page)).toEqual([]);
    await composer(page).fill('In words, then');
    await refusal.waitFor({ state: 'detached' });

    await paste(composer(page), { file: 'photo.png' });
    await refusal.waitFor();
    expect(await paste(composer(page), { text: 'A1\tB1', file: 'cells.png' })).toBe(true);
    await refusal.waitFor({ state: 'detached' });
    expect(await composer(page).inputValue()).toBe('In words, then');
  });

  test('member addresses are accepted as mail programs and spreadsheets copy them', async () => {
    const { url } = await startServer();
    const { page } = await open(url);
    await signIn(page, ANN);
    const start = page.getByRole('button', { name: 'New conversation' }).first();
    const field = page.getByLabel('Members');
    const membersOf = async () =>
      (await when(clientOf(url, ANN).chatList(), ({ conversations }) => conversations.length > 0)).conversations
        .flatMap(({ firstMembers }) => firstMembers.map(({ email }) => email))
        .sort();

    const lists = [
      'Bob <bob@example.com>; cy@example.com',
      '"Lee, Bob" <bob@example.com>, <cy@example.com>;',
      'Lee, Bob <BOB@example.com>; Cy Young <cy@example.com>; cy@example.com',
      'bob@example.com cy@example.com',
      "'bob@example.com', mailto:cy@example.com",
      'mallory@example.com <bob@example.com>, "cy@example.com"',
      'bob@example.com\r\ncy@example.com\r\n',
      'Bob\t<bob@example.com>\ncy@example.com\tann@example.com',
      '• bob@example.com\n• cy@example.com',
      '1. bob@example.com\n2) cy@example.com',
      'bob@example.com；cy@example.com，ann@example.com、bob@example.com',
      '\u202abob@example.com\u202c \u200bcy@example.com\u200b',
      'mailto:bob@example.com?subject=Invoice, <mailto:cy@example.com>',
    ];
    for (const [i, list] of lists.entries()) {
      await start.click();
      await page.getByLabel('Document configuration').fill(`programme-${i}`);
      // The browser's default action pastes a single line as it is.
      if (await paste(field, { text: list })) await field.fill(list);
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByRole('heading', { name: 'bob, cy', exact: true }).waitFor();
      await eventually(() => page.locator('.pane-head .about').first().textContent()).toContain(`programme-${i} `);
    }
    for (const [list, wrong] of [
      ['bob; cy@example.com', 'bob'],
      ['bob@example.com, Cy <cy@>', 'cy@'],
      ['cy@example.com <bob>', 'bob'],
    ]) {
      await start.click();
      await field.fill(list ?? '');
      expect(await field.evaluate((input: HTMLInputElement) => input.validationMessage)).toContain(`“${wrong}”`);
      await page.keyboard.press('Escape');
    }
    await composer(page).fill('The first');
    await composer(page).press('Enter');
    await page.getByRole('img', { name: 'Sent' }).waitFor();
    expect(await membersOf()).toEqual([ANN, BOB, CY]);

    await page.getByRole('button', { name: /members: details/ }).click();
    await paste(page.getByLabel('New member'), { text: `Dee <${DEE}>\neve@example.com` });
    await page.getByRole('button', { name: 'Add member' }).click();
    await page.getByRole('dialog').getByRole('listitem').getByText('eve', { exact: true }).waitFor();
    expect(await membersOf()).toEqual([ANN, BOB, CY, DEE, 'eve@example.com']);
    await eventually(() => page.getByLabel('New member').inputValue()).toBe('');
  });

  test('links work, lead where they appear to, and are only web and mail addresses', async () => {
    const lines: readonly (readonly [string, ...string[]])[] = [
      ['See https://example.com/a?b=c&d#e.', 'https://example.com/a?b=c&d#e'],
      ['(http://example.com/x_(y)), and <HTTPS://EXAMPLE.COM>!', 'http://example.com/x_(y)', 'HTTPS://EXAMPLE.COM'],
      ['“https://example.com/“ https://example.com/…', 'https://example.com/', 'https://example.com/'],
      ['请看https://example.com/路径。谢谢', 'https://example.com/路径'],
      ['https://example.com/😀 xhttps://example.com', 'https://example.com/'],
      ['mailto:ann@example.com, mailto:nobody', 'mailto:ann@example.com'],
      ['javascript:alert(1) data:text/html,x ftp://example.com www.example.com'],
      ['https://bank.example@evil.example https://bank.example:pass@evil.example/'],
      ['https://evil.example/\u202Emoc.knab', 'https://evil.example/'],
      ['https://אב.example/גד http:// https://?'],
      ['https://example.com/\\..', 'https://example.com/'],
      [
        'https://bank.example\u2215x.evil.example ' +
          'https://bank.example\u2044x.evil.example https://bank.example·x.evil.example',
      ],
      ['https://bank.example\u2571x.evil.example https://bank.example\uA4FD.evil.example https://bank%2Eexample'],
      ['https://b\u0430nk.example mailto:ann@b\u0430nk.example https://bank.exampleㆍevil.example'],
      [
        'https://bücher.example https://例え.jp/x https://銀行bank.example',
        'https://bücher.example',
        'https://例え.jp/x',
        'https://銀行bank.example',
      ],
      [
        'https://пример.рф http://[::1]:80/ http://a_b.example',
        'https://пример.рф',
        'http://[::1]:80/',
        'http://a_b.example',
      ],
    ];
    const { url, id, ann } = await begun();
    for (const [text] of lines) await sent(ann, { to: { id }, text });
    const { page, complaints } = await open(url);
    await signIn(page, BOB);
    await openChat(page, /Invoice 7/);
    const rows = page.locator('.messages li .text');
    await eventually(() => rows.count()).toBe(lines.length + 1);
    expect((await texts(page)).slice(1)).toEqual(lines.map(([text]) => text));
    for (const [i, [, ...links]] of lines.entries()) {
      const found = rows.nth(i + 1).getByRole('link');
      expect(await found.evaluateAll((all) => all.map((link) => link.getAttribute('href')))).toEqual(links);
      expect(await found.allTextContents()).toEqual(links);
      for (const link of await found.all()) {
        expect(await link.getAttribute('rel')).toBe('noopener noreferrer');
        expect(await link.getAttribute('target')).toBe('_blank');
        await link.focus();
      }
    }
    await write(page, 'Mine: https://example.com/mine');
    await page.getByRole('link', { name: 'https://example.com/mine', exact: true }).waitFor();
    expect(await barriers(page)).toEqual([]);

    // Long, and made for repeated backtracking.
    for (const part of ['http://', 'https://a).', `https://a/${')'.repeat(1000)}`, 'mailto:'])
      await sent(ann, { to: { id }, text: part.repeat(10_000 / part.length) });
    await sent(ann, { to: { id }, text: 'The last' });
    await page.locator('.messages').getByText('The last').waitFor();
    expect(await page.getByRole('link').count()).toBeLessThan(300);
    expect(complaints).toEqual([]);
  });
});
