import axe from 'axe-core';
import type { Page } from 'playwright-core';

/** A phone's window. */
export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

/** Signs in; `role` as in the list of the form. */
export async function signIn(page: Page, address: string, role = 'None'): Promise<void> {
  await page.getByLabel('Your address').fill(address);
  await page.getByLabel('Role').selectOption(role);
  await page.getByRole('button', { name: 'Open inbox' }).click();
  await page.getByRole('navigation', { name: 'Conversations' }).waitFor();
}

/** Sends a message: by Enter, or on touch, where that begins a line, by the button. */
export async function write(page: Page, text: string): Promise<void> {
  await page.getByRole('textbox', { name: 'Message', exact: true }).fill(text);
  if (await page.evaluate(() => matchMedia('(pointer: coarse)').matches))
    await page.getByRole('button', { name: 'Send' }).tap();
  else await page.keyboard.press('Enter');
}

/** Opens a conversation from the list. */
export const openChat = (page: Page, name: RegExp) => page.getByRole('link', { name }).click();

/** The messages of the open conversation. The list of conversations shows the text of the last one as well, earlier. */
export const messagesOf = (page: Page) => page.getByRole('region', { name: 'Messages' });

/** The texts in the page, in order. */
export const texts = (page: Page) => page.locator('.messages li .text').allTextContents();

/** Violations of WCAG 2.2 AA that axe finds. */
export async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const run = `axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
    .then(({ violations }) =>
    violations.map(({ id, nodes }) => id + ': ' +
       nodes.map(({ html, any }) => html + ' ' + any.map(({ message }) => message)).join('\\n')))`;
  return page.evaluate(run);
}
