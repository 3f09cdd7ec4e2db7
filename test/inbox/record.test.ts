import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { leafHash } from '../../src/record/merkle.ts';
import { verifyMessageProof } from '../../src/record/tlog-proof.ts';
import { describeInBrowser } from '../support/browser.ts';
import { post } from '../support/clients.ts';
import { barriers, openChat, PHONE, signIn } from '../support/inbox.ts';
import { clientOf, sent, when } from '../support/kredichat.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, BANK] = ['ann@example.com', 'bob@example.com', 'bank@example.com'];
const KEY = { configId: 'programme-1', members: [ANN, BOB, BANK] };
/** Ends what it is in, turns the direction of what follows, and runs. */
const HOSTILE =
  '</td></table><script>window.ran = true</script><img src="x" onerror="window.ran = true">\u202Eabc &lt;';

/** Names may not turn directions. */
const SUBJECT = HOSTILE.replace('\u202E', '');

async function begun(environment: Record<string, string> = {}) {
  const { url } = await startServer(environment);
  const ann = clientOf(url, ANN);
  const { conversationId: id } = await sent(ann, { to: { key: KEY }, text: 'Hello from Ann', subject: SUBJECT });
  const keys: string[] = (await post(url, ANN, '{ recordKeys }')).data.recordKeys;
  return { url, id, ann, keys };
}

/** Waits until the newest change of a message is signed. */
async function signed(url: string, id: string, seq: number): Promise<void> {
  const view = clientOf(url, ANN).conversation({ id });
  await when(view, ({ phase }) => phase === 'ready');
  await expect.poll(() => view.proof(seq), { timeout: 30_000 }).not.toBeNull();
}

/** Presses a button that saves a file; resolves with its name and its path. */
async function saved(page: Page, button: string): Promise<{ name: string; path: string }> {
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('dialog').getByRole('button', { name: button }).press('Enter'),
  ]);
  const path = join(mkdtempSync(join(tmpdir(), 'kredichat-')), file.suggestedFilename());
  await file.saveAs(path);
  return { name: file.suggestedFilename(), path };
}

async function openDetails(page: Page): Promise<void> {
  await page.getByRole('button', { name: /members: details/ }).press('Enter');
  await page.getByRole('dialog').waitFor();
}

/** Rows of a transcript that is open. */
const rowsOf = (page: Page) =>
  page.locator('tbody tr').evaluateAll((rows) =>
    rows.map((row) => {
      const [seq, time, author, , hash] = [...row.children].map(({ textContent }) => textContent);
      const [text, proof] = ['.text', 'pre'].map((part) => row.querySelector(part)?.textContent ?? '');
      const notes = [...row.querySelectorAll('.note')].map(({ textContent }) => textContent);
      return { seq, time, author, text, notes, proof, hash };
    }),
  );

describeInBrowser('The record in the inbox page', (open) => {
  test('a message is not signed yet, then signed; its proof is a file that verifies', async () => {
    const { url, id, ann, keys } = await begun();
    const { page, foreign, complaints } = await open(url);
    await signIn(page, BOB);
    await openChat(page, /Hello from Ann/);
    await signed(url, id, 1);
    await sent(ann, { to: { id }, text: 'The second' });
    const row = page.locator('.messages [data-seq="2"]');
    await row.getByRole('button', { name: 'Message menu' }).press('Enter');
    await page.getByRole('menuitem', { name: 'Details' }).press('Enter');
    const dialog = page.getByRole('dialog', { name: 'About this message' });
    await dialog.getByText('Not signed yet').waitFor();
    expect(await dialog.getByRole('button', { name: 'Download proof' }).count()).toBe(0);
    expect(await barriers(page)).toEqual([]);
    await dialog.getByText('Registered, signed').waitFor();
    await dialog.getByText(/^Sent .*, as the record says/).waitFor();
    expect(await barriers(page)).toEqual([]);
    const { name, path } = await saved(page, 'Download proof');
    expect(name).toBe(`${id}-2.tlog-proof`);
    const { entry, disclosures } = verifyMessageProof(readFileSync(path, 'utf8'), keys);
    expect(entry.slice(1, 5)).toEqual([id, 2, 'ADDED', 2]);
    expect(disclosures[0]?.value).toBe('The second');

    // An edit is a change of its own, with a proof of its own.
    const view = ann.conversation({ id });
    const { messages } = await when(view, (state) => state.messages.length === 2);
    await view.edit(messages[1] ?? { seq: 0, rev: 0 }, 'The last');
    await dialog.getByText('Not signed yet').waitFor();
    await dialog.getByText(/^Edited .*, as the record says/).waitFor();
    const edited = verifyMessageProof(readFileSync((await saved(page, 'Download proof')).path, 'utf8'), keys);
    expect([edited.entry[3], edited.disclosures[0]?.value]).toEqual(['EDITED', 'The last']);
    await page.keyboard.press('Escape');
    expect(await dialog.count()).toBe(0);
    expect([foreign, complaints]).toEqual([[], []]);
  });

  // With the smallest answers that a server can be set to, the page has to ask for few messages at a time.
  test.each<Record<string, string>>([{}, { MAX_RESPONSE_BYTES: '65536' }])(
    'a transcript has all messages with proofs, and nothing in it runs: %o',
    { timeout: 60_000 },
    async (environment: Record<string, string>) => {
      const { url, id, ann, keys } = await begun(environment);
      const texts = ['Hello from Ann', HOSTILE, 'Before', 'A secret', '\u05E9\u05DC\u05D5\u05DD\nshalom'];
      for (let i = 6; i <= 45; i++) texts.push(i % 9 === 0 ? `${i} ${'long 👋 '.repeat(400)}` : `Message ${i}`);
      for (const text of texts.slice(1)) await sent(ann, { to: { id }, text });
      const view = ann.conversation({ id }, { at: 1 });
      const bank = clientOf(url, `${BANK}:BANK`).conversation({ id });
      for (const one of [view, bank]) await when(one, ({ phase }) => phase === 'ready');
      await view.edit(view.get().messages[2] ?? { seq: 0, rev: 0 }, 'After');
      await bank.redact(4, 'Sent <b>wrongly</b>');
      await signed(url, id, 4);

      const { page, foreign, complaints } = await open(url);
      await signIn(page, BOB);
      await openChat(page, /45 long/);
      await openDetails(page);
      const { name, path } = await saved(page, 'Download transcript');
      expect(name).toBe(`transcript-${id}.html`);
      await page.getByRole('status').getByText('Downloaded.').waitFor();
      expect([foreign, complaints]).toEqual([[], []]);

      const html = readFileSync(path, 'utf8');
      const opened = await open(`file://${path}`);
      expect(await opened.page.locator('script, img, link, [onerror]').count()).toBe(0);
      expect(await opened.page.evaluate('window.ran')).toBeUndefined();
      expect(html).not.toMatch(/<script|<img|A secret/);
      expect(await opened.page.locator('h2 bdi').allTextContents()).toEqual([KEY.configId, SUBJECT]);
      expect(await barriers(opened.page)).toEqual([]);
      expect([opened.foreign, opened.complaints]).toEqual([[], []]);

      const rows = await rowsOf(opened.page);
      expect(rows.map(({ seq }) => seq)).toEqual(texts.map((_, i) => `${i + 1}`));
      expect(rows.map(({ text }) => text)).toEqual(texts.with(2, 'After').with(3, ''));
      for (const { seq, time, author, text, proof, hash } of rows) {
        const { entry, disclosures } = verifyMessageProof(proof ?? '', keys);
        const [, of, , type, proven, at, by] = entry;
        expect([of, `${proven}`]).toEqual([id, seq]);
        expect(hash).toBe(leafHash(JSON.stringify(entry)).toString('hex').slice(0, 12));
        if (type === 'ADDED') expect([by, new Date(at).toISOString()]).toEqual([author, time]);
        if (type !== 'REDACTED') expect(disclosures[0]?.value).toBe(text);
      }
      expect(rows[2]?.notes).toEqual([
        expect.stringMatching(/until \S+Z: Before/),
        expect.stringMatching(/edited \S+Z/),
      ]);
      expect(rows[3]?.notes).toEqual([
        expect.stringMatching(/^\[redacted \S+Z by bank@example\.com: Sent <b>wrongly<\/b>\]$/),
      ]);
      await opened.page.getByText('All messages are signed.').waitFor();
    },
  );

  test('a transcript can be cancelled and made again, and says what is not signed', async () => {
    const { url, id, ann } = await begun();
    for (let i = 2; i <= 120; i++) await sent(ann, { to: { id }, text: `Message ${i}` });
    await signed(url, id, 120);
    const { page, complaints } = await open(url);
    let downloads = 0;
    page.on('download', () => downloads++);
    // Holds the second page of the transcript.
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let pages = 0;
    await page.routeWebSocket(/graphql/, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage(async (message) => {
        if (String(message).includes('query ProvenMessages') && ++pages === 2) await held;
        server.send(message);
      });
    });
    await page.reload();
    await signIn(page, BOB);
    await openChat(page, /Message 120/);
    await openDetails(page);
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Download transcript' }).press('Enter');
    await dialog.getByText('20 of 120').waitFor();
    expect(await dialog.getByRole('progressbar').getAttribute('value')).toBe('20');
    expect(await barriers(page)).toEqual([]);
    // The focus is still on it.
    await page.keyboard.press('Enter');
    await dialog.getByRole('status').getByText('Cancelled.').waitFor();
    release();
    expect(await dialog.getByRole('progressbar').count()).toBe(0);

    await sent(ann, { to: { id }, text: 'Just now' });
    const { path } = await saved(page, 'Download transcript');
    const opened = await open(`file://${path}`);
    const rows = await rowsOf(opened.page);
    expect(rows.length).toBe(121);
    expect(rows.at(-1)).toMatchObject({ text: 'Just now', proof: '', hash: 'Not signed yet' });
    await opened.page.getByText('Messages that are not signed yet: 1.').waitFor();
    expect([downloads, complaints]).toEqual([1, []]);
  });

  test('has no barriers on a phone and in the dark; a transcript fits a phone and paper', async () => {
    const { url, id, ann } = await begun();
    await sent(ann, { to: { id }, text: `A word: ${'x'.repeat(300)}` });
    await signed(url, id, 2);
    const { page } = await open(url, { ...PHONE, colorScheme: 'dark' });
    await signIn(page, BOB);
    await openChat(page, /A word/);
    await openDetails(page);
    expect(await barriers(page)).toEqual([]);
    const { path } = await saved(page, 'Download transcript');
    for (const options of [PHONE, { ...PHONE, colorScheme: 'dark' as const }, {}]) {
      const opened = await open(`file://${path}`, options);
      await opened.page.getByText('Proof of No. 1').click();
      await opened.page.getByText('c2sp.org/tlog-proof@v1').first().waitFor();
      expect(await barriers(opened.page)).toEqual([]);
      expect(await opened.page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      await opened.page.emulateMedia({ media: 'print' });
      expect(await opened.page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(255, 255, 255)');
    }
  });
});
