import { expect, test } from 'vitest';
import { snippet } from '../../web/inbox/sidebar/snippet.ts';

const show = (text: string, query: string) =>
  snippet(text, query)
    .map(({ text, found }) => (found ? `[${text}]` : text))
    .join('');

test.each([
  ['INVOICE-17 is due', 'due inv*', '[INVOICE]-17 is [due]'],
  ['nothing', 'else', 'nothing'],
  ['すべての請求書を確認', '請求書', 'すべての[請求書]を確認'],
  ['계산서를확인했습니다', '확인', '계산서를[확인]했습니다'],
  ['a multi\u00adpart form', 'multipart', 'a [multi\u00adpart] form'],
  ['إلى مُحَمَّد', 'محمد', 'إلى [مُحَمَّد]'],
  ['Große ﬁnance, then more', 'grosse more', '[Große] ﬁnance, then [more]'],
  ['हिन्दी हन्दी', 'हिन्दी', '[हिन्दी] हन्दी'],
  ['上海上海东', '上海东 海上', '上[海上海东]'],
])('%s, for the query %s', (text, query, expected) => {
  expect(show(text, query)).toBe(expected);
});

test('starts with a word before the first match, and ends with a whole character', () => {
  const words = 'word '.repeat(30);
  expect(show(`${words}found ${words}`, 'found')).toMatch(/^… (word ){5,6}\[found\] (word ?)+$/);
  const smileys = '\u{1F600}'.repeat(99);
  const faces = show(`${smileys}上海${smileys}`, '上海');
  expect(faces).toMatch(/^… \u{1F600}{15}\[上海\]\u{1F600}+$/u);
  expect(faces.isWellFormed()).toBe(true);
  expect(show(`${'字'.repeat(200)}上海`, '上海')).toBe(`… ${'字'.repeat(30)}[上海]`);
});
