import fc from 'fast-check';

/** A depth that the JSON parser accepts and recursive functions do not. */
const DEEP = 10_000;

/** Texts that have broken something somewhere. */
const TEXTS = [
  ...[
    '',
    ' ',
    '0',
    'null',
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    '$ne',
    'a.b',
    '$where',
  ],
  ...['\0', 'a\0b', '\ud800', '\udfff\ud800', 'x\ud83d', '\u{1F600}', '\u202etxt', '\ufeff', '\u2028', "'; --", '%00'],
  ...['x'.repeat(10_000), 'x'.repeat(10_001), '\u{1F600}'.repeat(10_000), 'y'.repeat(65_000), '9'.repeat(400)],
  ...['mallory@example.com', 'MALLORY@Example.COM', 'victim@example.com', '@', 'a@b', `${'a'.repeat(300)}@b.cd`],
];

/** Numbers as JSON writes them, those included that a double cannot hold. */
const NUMBERS = [
  ...['0', '-0', '1', '-1', '1.5', '1e3', '2147483648', '-2147483649', '9007199254740993', '1e308', '1e999', '-1e999'],
  ...['12345678901234567890', '0.1e-400'],
];

export const oddText = fc.oneof(
  fc.constantFrom(...TEXTS),
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
);

/** JSON of any shape, as text, so that it can hold forms that no JavaScript value has, such as a repeated key. */
export const oddJson: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...NUMBERS),
  fc.constantFrom('null', 'true', 'false', '[]', '{}', '[[]]', '[null]', '[{}]', '""'),
  oddText.map((text) => JSON.stringify(text)),
  fc.json({ maxDepth: 4 }),
  fc.constantFrom(
    ...['{"$ne":null}', '{"$gt":""}', '{"$where":"sleep(1)"}', '{"$oid":"64be430ccac4e62378a1ae89"}'],
    ...['{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{"x":1}}}', '{"toString":null,"valueOf":1}'],
    ...['{"length":4294967295}', '{"then":1}', '{"kind":"Document"}', '{"toJSON":"x"}', '{"a":1,"a":2}'],
    ...['["mallory@example.com",{"$ne":null}]', '{"0":"mallory@example.com","length":1}'],
  ),
  fc.constantFrom(
    `${'['.repeat(DEEP)}${']'.repeat(DEEP)}`,
    `${'{"a":'.repeat(DEEP)}1${'}'.repeat(DEEP)}`,
    `[${'0,'.repeat(20_000)}0]`,
    `["${'a@b.cd","'.repeat(5000)}"]`,
  ),
);

/** The places in a value, each as the path to it. */
function places(value: unknown, at = '$'): string[] {
  const inner = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return [at, ...inner.flatMap(([key, member]) => places(member, `${at}.${key}`))];
}

/** The JSON of a value with other texts in some places. */
function write(value: unknown, other: ReadonlyMap<string, string>, at = '$'): string {
  const replacement = other.get(at);
  if (replacement !== undefined) return replacement;
  const inner = (key: string | number, member: unknown) => write(member, other, `${at}.${key}`);
  if (Array.isArray(value)) return `[${value.map((member, i) => inner(i, member)).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}:${inner(key, member)}`);
  return `{${members.join()}}`;
}

/** Adds a member to the text of an object, before or after the others; a key it has already is then there twice. */
function withMember(text: string, key: string, json: string, first: boolean): string {
  if (!text.startsWith('{') || text === '{}') return text;
  const member = `${JSON.stringify(key)}:${json}`;
  return first ? `{${member},${text.slice(1)}` : `${text.slice(0, -1)},${member}}`;
}

/** Null, but for one time in so many. */
function seldom<T>(times: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof({ weight: times - 1, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
}

/** Variants of these values: parts replaced, added or cut off; as JSON, or nearly. */
export function nearly(values: readonly object[]): fc.Arbitrary<string> {
  return fc.constantFrom(...values).chain((value) => {
    const places_ = places(value);
    const replacements = fc.uniqueArray(fc.tuple(fc.constantFrom(...places_), oddJson), {
      selector: ([place]) => place,
      maxLength: 2,
      // As small as can be for small values: some of them are to be valid.
      size: 'xsmall',
    });
    const keys = fc.constantFrom(...Object.keys(value), '__proto__', 'constructor', 'toString', 'extra');
    const added = seldom(4, fc.tuple(keys, oddJson, fc.boolean()));
    const cut = seldom(20, fc.double({ min: 0, max: 1, noNaN: true }));
    return fc.tuple(replacements, added, cut).map(([replaced, member, part]) => {
      const text = write(value, new Map(replaced));
      const whole = member ? withMember(text, ...member) : text;
      return part === null ? whole : whole.slice(0, Math.floor(whole.length * part));
    });
  });
}

/** A text in valid or slightly invalid UTF-8. */
export function nearlyUtf8(texts: fc.Arbitrary<string>): fc.Arbitrary<Buffer> {
  const bytes = texts.map((text) => Buffer.from(text));
  const broken = fc.tuple(
    bytes,
    fc.constantFrom('ff', 'c080', 'eda080', 'f8888080', '80'),
    fc.double({ min: 0, max: 1, noNaN: true }),
  );
  return fc.oneof(
    { weight: 19, arbitrary: bytes },
    {
      weight: 1,
      arbitrary: broken.map(([whole, hex, part]) => {
        const at = Math.floor(whole.length * part);
        return Buffer.concat([whole.subarray(0, at), Buffer.from(hex, 'hex'), whole.subarray(at)]);
      }),
    },
  );
}
