import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createScorer, keysOf, matchesIn, termsOf, wordsOf } from '../../src/store/tokenizer.ts';

/** Every key of a query that a store would look up is in the index of the text. */
function isIndexed(text: string, query: string): boolean {
  const words = wordsOf(text);
  return termsOf(query)
    .flatMap(keysOf)
    .every((key) => words.some((word) => (key.prefix ? word.startsWith(key.word) : word === key.word)));
}
const scoreOf = (text: string, query: string) => createScorer(termsOf(query))(text);
const marked = (text: string, query: string) =>
  matchesIn(text, termsOf(query)).map(({ from, to }) => text.slice(from, to));

describe('a query finds a text, and marks in it', () => {
  test.each([
    ['Chinese', '我家在上海东边', '上海', ['上海']],
    ['one character', '请支付三月的发票', '月', ['月']],
    ['the last character', '发票', '票', ['票']],
    ['ideographs beyond the basic plane', '𠀀𠀁𠀂', '𠀁𠀂', ['𠀁𠀂']],
    ['Chinese around Latin', '请查收INV-17文件', '查收 inv 文件', ['查收', 'INV', '文件']],
    ['Latin attached to Chinese', '合同ABC123已签', 'abc123', ['ABC123']],
    ['Japanese', 'すべての請求書を確認してください', '請求書 確認', ['請求書', '確認']],
    ['kana across scripts', 'お支払いデータ管理', '払いデータ', ['払いデータ']],
    ['half-width kana', 'ﾌﾘｺﾐｶﾞｲｼｬ', 'ガイシャ', ['ｶﾞｲｼｬ']],
    ['Korean without spaces', '계산서를확인했습니다', '확인', ['확인']],
    ['Korean with a particle', '계산서를 보냈습니다', '계산서', ['계산서']],
    ['decomposed Korean', '계산서를'.normalize('NFD'), '계산서', ['계산서'.normalize('NFD')]],
    ['Thai', 'กรุณาชำระใบแจ้งหนี้ภายในวันศุกร์', 'ใบแจ้งหนี้', ['ใบแจ้งหนี้']],
    ['Thai with a zero-width space', 'ใบแจ้ง\u200bหนี้', 'ใบแจ้งหนี้', ['ใบแจ้ง\u200bหนี้']],
    ['Lao', 'ກະລຸນາຈ່າຍໃບແຈ້ງໜີ້', 'ຈ່າຍ', ['ຈ່າຍ']],
    ['Khmer', 'សូមបង់វិក្កយបត្រ', 'វិក្កយបត្រ', ['វិក្កយបត្រ']],
    ['Burmese', 'ငွေတောင်းခံလွှာကိုပေးချေပါ', 'ပေးချေ', ['ပေးချေ']],
    ['full-width letters and digits', 'ＩＮＶＯＩＣＥ１２', 'invoice12', ['ＩＮＶＯＩＣＥ１２']],
    ['Arabic with vowel signs', 'إلى مُحَمَّد اليوم', 'محمد', ['مُحَمَّد']],
    ['Arabic without them', 'إلى محمد اليوم', 'مُحَمَّد', ['محمد']],
    ['Arabic stretched', 'الحـــساب', 'الحساب', ['الحـــساب']],
    ['Arabic presentation forms', '\ufee3\ufea4\ufee4\ufeaa', 'محمد', ['\ufee3\ufea4\ufee4\ufeaa']],
    ['alef with hamza', 'أحمد', 'احمد', ['أحمد']],
    ['Persian with a non-joiner', 'می\u200cخواهم', 'میخواهم', ['می\u200cخواهم']],
    ['Hebrew with points', 'שָׁלוֹם לכולם', 'שלום', ['שָׁלוֹם']],
    ['Arabic-Indic digits', 'فاتورة ١٢٣٤٥', '12345', ['١٢٣٤٥']],
    ['Persian digits by Arabic-Indic ones', '۱۲۳', '١٢٣', ['۱۲۳']],
    ['Devanagari digits', 'राशि ५०००', '5000', ['५०००']],
    ['Bengali, Thai and Khmer digits', '১২ ๓๔ ៥៦', '12 34 56', ['১২', '๓๔', '៥៦']],
    ['digits beyond the basic plane', '𞥑𞥒 𝟡', '12 9', ['𞥑𞥒', '𝟡']],
    ['Hindi', 'हिन्दी में', 'हिन्दी', ['हिन्दी']],
    ['a soft hyphen', 'multi\u00adpart form', 'multipart', ['multi\u00adpart']],
    ['a zero-width space', 'multi\u200bpart', 'multipart', ['multi\u200bpart']],
    ['a word joiner', 'multi\u2060part', 'multipart', ['multi\u2060part']],
    ['a byte order mark', 'multi\ufeffpart', 'multipart', ['multi\ufeffpart']],
    ['a direction mark', 'inv\u200eoice', 'invoice', ['inv\u200eoice']],
    ['invisible characters in the query', 'multipart', 'mul\u00adti\u200bpart', ['multipart']],
    ['German', 'GROẞE Straße', 'grosse strasse', ['GROẞE', 'Straße']],
    ['Turkish', 'İstanbul’da ılık', 'istanbul ilik', ['İstanbul', 'ılık']],
    ['strokes and ligatures', 'Łódź Ørsted Œuvre Æon', 'lodz orsted oeuvre aeon', ['Łódź', 'Ørsted', 'Œuvre', 'Æon']],
    ['decomposed accents', 'Cafe\u0301 noir', 'café', ['Cafe\u0301']],
    ['a prefix', 'Überweisungen heute', 'uber*', ['Überweisungen']],
    ['Greek', 'ΟΔΟΣ οδος', 'οδός', ['ΟΔΟΣ', 'οδος']],
    ['Vietnamese', 'Hóa đơn tháng này', 'hoa don', ['Hóa', 'đơn']],
  ])('%s', (_, text, query, expected) => {
    expect(marked(text, query)).toEqual(expected);
    expect(scoreOf(text, query)).toBe(expected.length);
    expect(isIndexed(text, query)).toBe(true);
  });
});

describe('a query does not find', () => {
  test.each([
    ['pairs that do not meet', '上海和海东', '上海东'],
    ['characters across a space', '上 海', '上海'],
    ['a run that is longer than the text', '哈哈', '哈哈哈'],
    ['another voicing', 'がき', 'かき'],
    ['another vowel of Hindi', 'हिन्दी', 'हन्दी'],
    ['the middle of a Latin word', 'invoice', 'voice'],
    ['one word without the other', '请查收发票', '查收 合同'],
  ])('%s', (_, text, query) => {
    expect(scoreOf(text, query)).toBe(0);
  });
});

test('a run without spaces is one term with few pairs', () => {
  const run = Array.from({ length: 900 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join('');
  expect(termsOf(`${run}* ab*`)).toEqual([
    { word: run, match: 'part' },
    { word: 'ab', match: 'prefix' },
  ]);
  expect(termsOf(run).flatMap(keysOf)).toHaveLength(4);
  expect(isIndexed(`x${run}y`, run)).toBe(true);
  expect(keysOf({ word: '上', match: 'part' })).toEqual([{ word: '上', prefix: true }]);
});

test('an index holds no more words than a text has characters', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      expect(wordsOf(text).length).toBeLessThanOrEqual([...text.normalize('NFKD')].length);
    }),
  );
});

test('every word that a scorer counts is in the index and marked, in any text', () => {
  const unit = fc.oneof(
    fc.constantFrom(...'ab上海のがｶﾞ한글ㅅㅏกี้ẞİ١\u0301\u00ad\u200d\u3099\uff9e𠀀 '),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  );
  const text = fc.array(unit, { maxLength: 30 }).map((units) => units.join(''));
  fc.assert(
    fc.property(text, fc.nat(30), fc.integer({ min: 1, max: 4 }), (text, from, length) => {
      const query = [...text].slice(from, from + length).join('');
      const marks = marked(text, query);
      if (scoreOf(text, query) === 0) return;
      expect(isIndexed(text, query)).toBe(true);
      expect(marks.length).toBeGreaterThan(0);
      expect(marks.join('')).not.toBe('');
    }),
    { numRuns: 2000 },
  );
});
