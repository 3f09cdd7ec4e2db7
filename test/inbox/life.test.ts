import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { describeInBrowser, eventually } from '../support/browser.ts';
import { barriers, openChat, PHONE, signIn, texts, write } from '../support/inbox.ts';
import { clientOf, sent, when } from '../support/kredichat.ts';
import { startServer } from '../support/server.ts';

const [ANN, BOB, CY, BANK] = ['ann@example.com', 'bob@example.com', 'cy@example.com', 'bank@example.com'];
const KEY = { configId: 'programme-1', members: [ANN, BOB, BANK] };

/** A server with a conversation that has a message of Ann. */
async function begun() {
  const { url } = await startServer();
  const ann = clientOf(url, ANN);
  const { conversationId: id } = await sent(ann, { to: { key: KEY }, text: 'Hello from Ann', subject: 'Invoice 7' });
  return { url, id, ann };
}

/** Chooses from the menu of the newest message, or of the newest among some. */
async function choose(page: Page, item: string, among = '.messages li'): Promise<void> {
  const button = page.locator(among).getByRole('button', { name: 'Message menu' }).last();
  await button.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('menuitem', { name: item }).press('Enter');
}

async function chooseForAll(page: Page, item: string): Promise<void> {
  await page.getByRole('button', { name: 'Conversation menu' }).click();
  await page.getByRole('menuitem', { name: item }).click();
}

describeInBrowser('A conversation in the inbox page', (open) => {
  test('two people see each other type, edit and redact; the bank may redact anything', async () => {
    const { url } = await begun();
    const [ann, bob, bank] = [await open(url), await open(url), await open(url)];
    await signIn(ann.page, ANN);
    await signIn(bob.page, BOB);
    await signIn(bank.page, BANK, 'Bank');
    for (const { page } of [ann, bob, bank]) await openChat(page, /Invoice 7/);
    for (const { page } of [ann, bob, bank]) await eventually(() => texts(page)).toEqual(['Hello from Ann']);

    await bob.page.getByRole('textbox', { name: 'Message' }).fill('My pass');
    await ann.page.getByText('bob is typing…').waitFor();
    await write(bob.page, 'My password is 1234');
    await ann.page.getByText('bob is typing…').waitFor({ state: 'detached' });
    await eventually(() => texts(ann.page)).toEqual(['Hello from Ann', 'My password is 1234']);

    // Members can change only their own messages, the bank all; details have all.
    const items = async ({ page }: { page: Page }, nth: number) => {
      const button = page.getByRole('button', { name: 'Message menu' }).nth(nth);
      await button.press('Enter');
      const labels = await page.getByRole('menuitem').allTextContents();
      await page.keyboard.press('Escape');
      return labels;
    };
    await eventually(() => bank.page.getByRole('button', { name: 'Message menu' }).count()).toBe(2);
    expect([await items(ann, 0), await items(ann, 1)]).toEqual([['Edit', 'Details', 'Redact …'], ['Details']]);
    for (const nth of [0, 1]) expect(await items(bank, nth)).toEqual(['Details', 'Redact …']);
    await choose(ann.page, 'Edit', '.mine');
    const field = ann.page.getByRole('textbox', { name: 'Edited message' });
    expect(await field.inputValue()).toBe('Hello from Ann');
    await field.fill('Good morning from Ann');
    await ann.page.keyboard.press('Enter');
    await ann.page.getByRole('textbox', { name: 'Message', exact: true }).waitFor();
    await eventually(async () => (await texts(bob.page))[0]).toBe('Good morning from Ann');
    await bob.page.getByRole('button', { name: 'edited' }).click();
    await bob.page.getByRole('list', { name: 'Earlier texts' }).getByText('Hello from Ann').waitFor();

    // An edit in another session is shown before it is replaced.
    await choose(ann.page, 'Edit', '.mine');
    const elsewhere = clientOf(url, ANN).conversation({ key: KEY });
    const [message] = (await when(elsewhere, ({ messages }) => messages.length === 2)).messages;
    await elsewhere.edit(message ?? { seq: 0, rev: 0 }, 'From my phone');
    await field.fill('From my desk');
    await ann.page.keyboard.press('Enter');
    await ann.page.getByRole('alert').getByText('It was changed meanwhile, to “From my phone”').waitFor();
    await ann.page.getByRole('button', { name: 'Save' }).click();
    await eventually(async () => (await texts(bob.page))[0]).toBe('From my desk');
    await eventually(() => bob.page.getByRole('list', { name: 'Earlier texts' }).getByRole('listitem').count()).toBe(3);

    // Arrow up edits the viewer's last text, and Escape leaves it as it is.
    await bob.page.getByRole('textbox', { name: 'Message', exact: true }).press('ArrowUp');
    expect(await bob.page.getByRole('textbox', { name: 'Edited message' }).inputValue()).toBe('My password is 1234');
    await bob.page.keyboard.press('Escape');
    await bob.page.getByRole('textbox', { name: 'Message', exact: true }).waitFor();

    await choose(bank.page, 'Redact');
    await bank.page.getByRole('textbox', { name: 'Reason' }).fill('A secret');
    await bank.page.keyboard.press('Enter');
    for (const { page } of [ann, bob, bank]) {
      await eventually(() => texts(page)).toEqual(['From my desk', 'Message removed']);
      expect(await page.locator('body').textContent()).not.toContain('1234');
    }
    for (const { foreign, complaints } of [ann, bob, bank]) expect([foreign, complaints]).toEqual([[], []]);
  });

  test('status, assignee, labels and members change for all members; a removed member gets a notice', async () => {
    const { url } = await begun();
    const [ann, bank] = [await open(url), await open(url)];
    await signIn(ann.page, ANN);
    await signIn(bank.page, BANK, 'Bank');
    for (const { page } of [ann, bank]) await openChat(page, /Invoice 7/);
    await ann.page.getByText('Hello from Ann').last().waitFor();

    const [mine, theirs] = [ann.page.getByRole('dialog'), bank.page.getByRole('dialog')];
    await chooseForAll(ann.page, 'Details');
    await mine.getByLabel('Status').selectOption('Pending');
    await mine.getByLabel('Assignee').selectOption('bob');
    await mine.getByLabel('New label').fill('urgent');
    await ann.page.keyboard.press('Enter');
    await mine.getByRole('button', { name: 'Remove the label urgent' }).waitFor();
    await mine.getByLabel('New member').fill(CY);
    await ann.page.keyboard.press('Enter');
    await mine.getByRole('listitem').getByText('cy', { exact: true }).waitFor();
    // Only the bank can remove other members.
    expect(await mine.getByRole('button', { name: /^Remove .*@/ }).count()).toBe(0);
    await ann.page.keyboard.press('Escape');
    const head = bank.page.locator('.pane-head');
    for (const text of ['Pending', 'next: bob', 'urgent']) await head.getByText(text).waitFor();
    await eventually(() => texts(bank.page)).toEqual([
      'Hello from Ann',
      'status: OPEN → PENDING',
      `assignee: nobody → ${BOB}`,
      'labels: +"urgent"',
      `members: +${CY}`,
    ]);

    await bank.page.getByRole('button', { name: /members: details/ }).click();
    await theirs.getByLabel('Status').selectOption('Closed');
    await ann.page.getByText('This conversation is closed').waitFor();
    // The bank has written by this: only it can reopen.
    await ann.page.getByText('A bank member can reopen it.').waitFor();
    await expect(ann.page.getByRole('button', { name: 'Reopen' }).count()).resolves.toBe(0);
    expect(await barriers(ann.page)).toEqual([]);
    await bank.page.keyboard.press('Escape');
    await bank.page.getByRole('button', { name: 'Reopen' }).click();
    await ann.page.getByRole('textbox', { name: 'Message', exact: true }).waitFor();

    await ann.page.getByRole('button', { name: /members: details/ }).click();
    await mine.waitFor();
    await bank.page.getByRole('button', { name: /members: details/ }).click();
    await theirs.getByRole('button', { name: `Remove ${ANN}` }).click();
    await theirs.getByRole('button', { name: `Really? Remove ${ANN}` }).click();
    await ann.page.getByRole('heading', { name: 'You are not in this conversation any more' }).waitFor();
    await ann.page.getByRole('link', { name: /Invoice 7/ }).waitFor({ state: 'detached' });
    expect(await barriers(ann.page)).toEqual([]);
    await theirs.getByLabel('New member').fill(ANN);
    await bank.page.keyboard.press('Enter');
    await ann.page.getByText(`members: +${ANN}`).last().waitFor();
    expect(await mine.count()).toBe(0);
    for (const { foreign, complaints } of [ann, bank]) expect([foreign, complaints]).toEqual([[], []]);
  });

  test('can be pinned, muted and archived, and taken out of the archive', async () => {
    const { url, id, ann } = await begun();
    await sent(ann, { to: { key: { configId: 'programme-2', members: [ANN, BOB] } }, text: 'Newer' });
    const { page, complaints } = await open(url);
    await signIn(page, BOB);
    const names = () => page.locator('.sidebar .chat-name small').allTextContents();
    await eventually(names).toEqual(['programme-2', 'programme-1']);
    await openChat(page, /Invoice 7/);
    await chooseForAll(page, 'Pin');
    await eventually(names).toEqual(['programme-1', 'programme-2']);
    await chooseForAll(page, 'Mute');
    await page.getByRole('link', { name: /Invoice 7.*pinned.*muted/ }).waitFor();
    await chooseForAll(page, 'Archive');
    await eventually(names).toEqual(['programme-2']);
    const archive = page.getByRole('button', { name: 'Archived conversations' });
    await archive.click();
    await eventually(names).toEqual(['programme-1']);
    expect(await barriers(page)).toEqual([]);
    // A muted conversation stays archived.
    await sent(ann, { to: { id }, text: 'Are you there?' });
    await page.getByRole('link', { name: /Are you there/ }).click();
    await chooseForAll(page, 'Unmute');
    await sent(ann, { to: { id }, text: 'Hello?' });
    await page.getByText('Nothing is archived.').waitFor();
    await archive.click();
    await eventually(names).toEqual(['programme-1', 'programme-2']);
    expect(complaints).toEqual([]);
  });

  test('a search leads to a message at any distance, repeatedly', async () => {
    const { url, id, ann } = await begun();
    for (let i = 2; i <= 300; i++)
      await sent(ann, { to: { id }, text: i % 100 === 50 ? `The Überweisung number ${i}` : `Message ${i}` });
    const view = ann.conversation({ id });
    await when(view, ({ phase }) => phase === 'ready');
    await view.edit(
      (await when(view, ({ messages }) => messages[0])).messages.at(-1) ?? { seq: 0, rev: 0 },
      'A last überweisung',
    );
    const { page, complaints } = await open(url);
    await signIn(page, BOB);
    await page.getByRole('searchbox', { name: 'Search messages' }).fill('uberw');
    const found = page.getByRole('list', { name: 'Found messages' }).getByRole('link');
    await eventually(() => found.count()).toBe(4);
    expect(await page.locator('mark').allTextContents()).toContain('Überweisung');
    expect(await barriers(page)).toEqual([]);

    for (const round of [1, 2]) {
      for (const seq of [50, 250]) {
        await found.filter({ hasText: `number ${seq}` }).click();
        const row = page.locator(`.messages [data-seq="${seq}"].found`);
        await row.waitFor();
        await eventually(() =>
          row.evaluate((element) => {
            const { top, bottom } = element.getBoundingClientRect();
            return top > 60 && bottom < innerHeight - 60;
          }),
        ).toBe(true);
        expect(round).toBeGreaterThan(0);
      }
    }
    await chooseForAll(page, 'Search here');
    await page.getByRole('searchbox').fill('Message 299');
    await eventually(() => found.count()).toBe(1);
    const bank = clientOf(url, `${BANK}:BANK`).conversation({ id });
    await when(bank, ({ phase }) => phase === 'ready');
    await bank.update({ removeMembers: [BOB] });
    await eventually(() => found.count()).toBe(0);
    await page.getByRole('searchbox').press('Escape');
    await eventually(() => page.getByRole('link', { name: /Invoice 7/ }).count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  test('has no barriers that axe knows in its menus and dialogs: any size, any colours', {
    timeout: 180_000,
  }, async () => {
    const { url, id, ann } = await begun();
    const bank = clientOf(url, `${BANK}:BANK`).conversation({ id });
    const view = ann.conversation({ id });
    for (const one of [bank, view]) await when(one, ({ phase }) => phase === 'ready');
    await sent(ann, { to: { id }, text: 'A secret' });
    const { messages } = await when(view, (state) => state.messages.length === 2);
    await view.edit(messages[0] ?? { seq: 0, rev: 0 }, 'Hello again from Ann');
    await bank.redact(2, 'because');
    await view.update({ addLabels: ['urgent'], assignee: ANN, status: 'RESOLVED' });
    const bob = clientOf(url, BOB).conversation({ id });
    await when(bob, ({ phase }) => phase === 'ready');

    const dark = { colorScheme: 'dark' } as const;
    for (const options of [{}, dark, PHONE, { ...PHONE, ...dark }]) {
      const { page, complaints } = await open(url, options);
      await signIn(page, ANN);
      await openChat(page, /Invoice 7/);
      await page.getByRole('button', { name: 'edited' }).click();
      await page.getByRole('list', { name: 'Earlier texts' }).locator('del').first().waitFor();
      bob.typing(false);
      bob.typing(true);
      await page.getByText('bob is typing…').waitFor();
      expect(await barriers(page)).toEqual([]);

      await page.getByRole('button', { name: 'Message menu' }).first().press('Enter');
      await page.getByRole('menuitem', { name: 'Edit' }).waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('Enter');
      await page.getByRole('dialog', { name: 'About this message' }).waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Message menu' }).first().press('Enter');
      await page.keyboard.press('End');
      await page.keyboard.press('Enter');
      await page.getByRole('dialog', { name: /^Redact/ }).waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Message menu' }).first().press('Enter');
      await page.keyboard.press('Enter');
      await page.getByRole('textbox', { name: 'Edited message' }).waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.getByRole('button', { name: 'Cancel' }).click();

      await page.getByRole('button', { name: 'Conversation menu' }).press('Enter');
      await page.getByRole('menuitem', { name: 'Archive' }).waitFor();
      expect(await barriers(page)).toEqual([]);
      await page.getByRole('menuitem', { name: 'Details' }).press('Enter');
      await page.getByRole('dialog').waitFor();
      await page.getByRole('button', { name: 'Leave' }).click();
      await page.getByRole('button', { name: /Really/ }).waitFor();
      expect(await barriers(page)).toEqual([]);
      expect(complaints).toEqual([]);
      await page.close();
    }
  });
});
