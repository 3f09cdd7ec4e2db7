import { createHash, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createSigner,
  formatCheckpoint,
  fromBase64,
  openCheckpoint,
  openNote,
  parseCheckpoint,
  parseVkey,
  signNote,
} from '../../src/record/signed-note.ts';

/** The example of C2SP signed-note. */
const VKEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k';
const TEXT = 'This is an example message.\n';
const SIGNATURE =
  '— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n';
const NOTE = `${TEXT}\n${SIGNATURE}`;

const key = generateKeyPairSync('ed25519').privateKey;
const signer = createSigner('example.com/log', key);
const other = createSigner('example.com/other', generateKeyPairSync('ed25519').privateKey);

test('the example of C2SP signed-note verifies', () => {
  expect(openNote(NOTE, [VKEY])).toEqual({ text: TEXT, keys: [VKEY] });
  expect(parseVkey(VKEY)).toMatchObject({ name: 'example.com/foo', id: '530d903a' });
});

test('a note of several signers opens with any of their keys, and tells which', () => {
  const text = 'a\n\n\nGrüße 👋\n';
  const note = signNote(text, [signer, other]);
  expect(note).toBe(`${text}\n${signer.sign(text)}\n${other.sign(text)}\n`);
  expect(openNote(note, [signer.vkey, other.vkey])).toEqual({ text, keys: [signer.vkey, other.vkey] });
  expect(openNote(note, [VKEY, other.vkey])).toEqual({ text, keys: [other.vkey] });
  expect(() => openNote(note, [VKEY])).toThrow('no signature by a known key');
  expect(() => openNote(note, [])).toThrow('no signature by a known key');
});

test('key ids are those of C2SP signed-note, "Ed25519 signatures"', () => {
  const [name, id, base64 = ''] = signer.vkey.split('+');
  const typeAndKey = Buffer.from(signer.vkey.slice(`${name}+${id}+`.length), 'base64');
  const hashed = createHash('sha256').update(Buffer.from('example.com/log\n')).update(typeAndKey).digest();
  expect(base64).not.toBe('');
  expect(typeAndKey[0]).toBe(1);
  expect(id).toBe(hashed.subarray(0, 4).toString('hex'));
  expect(Buffer.from(signer.sign('x\n').split(' ')[2] ?? '', 'base64').toString('hex', 0, 4)).toBe(id);
});

test('every change of a byte is refused, or changes nothing that is verified', () => {
  const text = formatCheckpoint('example.com/log', 20_852, Buffer.alloc(32, 7));
  const bytes = Buffer.from(signNote(text, [signer, other]));
  // The signature of a key that is not known may change: it is ignored.
  const known = Buffer.from(signNote(text, [signer])).length;
  const change = fc.record({ at: fc.nat({ max: bytes.length - 1 }), byte: fc.nat({ max: 255 }) });
  let refused = 0;
  fc.assert(
    fc.property(change, ({ at, byte }) => {
      fc.pre(bytes[at] !== byte);
      const changed = Buffer.from(bytes);
      changed[at] = byte;
      try {
        expect(openNote(changed.toString(), [signer.vkey])).toEqual({ text, keys: [signer.vkey] });
        expect(at).toBeGreaterThanOrEqual(known);
      } catch (error) {
        if (!(error instanceof Error) || error.name !== 'Error') throw error;
        refused++;
      }
    }),
    { numRuns: 3000 },
  );
  expect(refused).toBeGreaterThan(1000);
});

test('a note that is cut off, or to which something is added, is refused', () => {
  const note = signNote(TEXT, [signer]);
  for (let end = 0; end < note.length; end++) expect(() => openNote(note.slice(0, end), [signer.vkey])).toThrow();
  for (const wrong of [`${note}\n`, `${note}x`, `${note}— a b\n`, `x${note}`, `\n${note}`, note.replace('— ', '- ')])
    expect(() => openNote(wrong, [signer.vkey]), wrong).toThrow();
});

test('malformed notes are refused', () => {
  const malformed = [
    ['tab\t\n', 'malformed'],
    ['return\r\n', 'malformed'],
    ['zero\0\n', 'malformed'],
    ['surrogate \ud800\n', 'malformed'],
  ] as const;
  for (const [text, message] of malformed) {
    expect(() => signNote(text, [signer])).toThrow('A note has a text');
    expect(() => openNote(`${text}\n${signer.sign(text)}\n`, [signer.vkey]), text).toThrow(message);
  }
  expect(() => signNote('no newline', [signer])).toThrow('A note has a text');
  expect(() => signNote(TEXT, [])).toThrow('and signers');
  const lines = [
    '— example.com/log\n',
    '— example.com/log =\n',
    '— example.com/log AAAAAA==\n',
    `${signer.sign(TEXT).slice(0, -1)}\n`,
    `${signer.sign(TEXT)} \n`,
    '— a+b AAAAAAAA\n',
    '— a\u2003b AAAAAAAA\n',
  ];
  for (const line of lines)
    expect(() => openNote(`${signNote(TEXT, [signer])}${line}`, [signer.vkey]), line).toThrow('line of the note');
});

test('a wrong signature of a known key is refused beside a right one; of another key it is ignored', () => {
  const note = signNote(TEXT, [signer]);
  const wrong = `${other.sign('another\n')}\n`;
  expect(() => openNote(note + wrong, [signer.vkey, other.vkey])).toThrow('example.com/other+');
  expect(openNote(note + wrong, [signer.vkey]).keys).toEqual([signer.vkey]);
  // The same name with another id, and the same id with another name, are other keys.
  const id = Buffer.from(signer.sign(TEXT).split(' ')[2] ?? '', 'base64').subarray(0, 4);
  const sameName = `— example.com/log ${Buffer.concat([Buffer.alloc(4), Buffer.alloc(64)]).toString('base64')}\n`;
  const sameId = `— example.com/x ${Buffer.concat([id, Buffer.alloc(64)]).toString('base64')}\n`;
  const both = `— example.com/log ${Buffer.concat([id, Buffer.alloc(64)]).toString('base64')}\n`;
  const short = `— example.com/log ${Buffer.concat([id, Buffer.alloc(7)]).toString('base64')}\n`;
  expect(openNote(note + sameName + sameId, [signer.vkey]).keys).toEqual([signer.vkey]);
  for (const line of [both, short]) expect(() => openNote(note + line, [signer.vkey])).toThrow('is wrong');
});

test('notes have at most 100 signatures, and a length', () => {
  const others = (count: number) => `${other.sign(TEXT)}\n`.repeat(count);
  expect(openNote(signNote(TEXT, [signer]) + others(99), [signer.vkey]).keys).toEqual([signer.vkey]);
  expect(() => openNote(signNote(TEXT, [signer]) + others(100), [signer.vkey])).toThrow('more than 100 signatures');
  const long = `${'x'.repeat(2 ** 20)}\n`;
  expect(() => openNote(signNote(long, [signer]), [signer.vkey])).toThrow('characters');
});

test('what is no verifier key is refused', () => {
  const [name, id, base64] = ['example.com/foo', '530d903a', VKEY.slice(-44)];
  const typeAndKey = Buffer.from(base64, 'base64');
  const otherType = Buffer.concat([Buffer.of(4), typeAndKey.subarray(1)]);
  const longKey = Buffer.concat([typeAndKey, Buffer.of(0)]);
  const idOf = (bytes: Buffer) => createHash('sha256').update(`${name}\n`).update(bytes).digest('hex').slice(0, 8);
  expect(idOf(typeAndKey)).toBe(id);
  const wrong = [
    '',
    VKEY.slice(0, -1),
    `${VKEY}\n`,
    `${VKEY} `,
    `${name}+${id}`,
    `${name}+530d903b+${base64}`,
    `${name}+530D903A+${base64}`,
    `example.com/fou+${id}+${base64}`,
    `+${id}+${base64}`,
    `a b+${id}+${base64}`,
    // Another type of signature, with the id that follows from it.
    `${name}+${idOf(otherType)}+${otherType.toString('base64')}`,
    `${name}+${idOf(longKey)}+${longKey.toString('base64')}`,
  ];
  for (const vkey of wrong) expect(() => parseVkey(vkey), vkey).toThrow('Not a verifier key');
  expect(() => openNote(NOTE, ['x'])).toThrow('Not a verifier key');
});

test('a signer needs a name without spaces and plus, and an Ed25519 private key', () => {
  for (const name of ['', 'a b', 'a+b', 'a\u00a0b', 'a\u0085b', 'a\nb', 'a\0'])
    expect(() => createSigner(name, key), name).toThrow('cannot have the name');
  expect(() => createSigner('a', generateKeyPairSync('ed25519').publicKey)).toThrow('Ed25519 private key');
  expect(() => createSigner('a', generateKeyPairSync('x25519').privateKey)).toThrow('Ed25519 private key');
});

test('checkpoints are read as they are written', () => {
  const example = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';
  const { origin, size, root } = parseCheckpoint(example);
  expect([origin, size]).toEqual(['example.com/behind-the-sofa', 20_852_163]);
  expect(formatCheckpoint(origin, size, root)).toBe(example);
  expect(parseCheckpoint(`${example}extension\nanother\n`)).toEqual({ origin, size, root });
  expect(parseCheckpoint(formatCheckpoint('a', 0, root)).size).toBe(0);
  const [line1, line2, line3] = example.split('\n');
  const wrong = [
    '',
    example.slice(0, -1),
    `${example}\n`,
    `${example}extension`,
    `${example}\nextension\n`,
    `\n${line2}\n${line3}\n`,
    ...['', '01', '-1', '+1', '1.0', '1e3', ' 1', '0x1', '1000000000000000', '１'].map(
      (size) => `${line1}\n${size}\n${line3}\n`,
    ),
    ...['', 'AAAA', line3?.slice(0, -1), `${line3} `, line3?.replace('2I=', '2J='), line3?.replace('/', '_')].map(
      (root) => `${line1}\n${line2}\n${root}\n`,
    ),
    example.replaceAll('\n', '\r\n'),
  ];
  for (const text of wrong) expect(() => parseCheckpoint(text), JSON.stringify(text)).toThrow('malformed');
});

test('a checkpoint is signed by a key that has its origin as name', () => {
  const text = formatCheckpoint('example.com/log', 3, Buffer.alloc(32));
  const open = (vkeys: string[]) => openCheckpoint(signNote(text, [signer, other]), vkeys);
  expect(open([signer.vkey, other.vkey])).toMatchObject({ size: 3, keys: [signer.vkey, other.vkey] });
  expect(open([signer.vkey]).keys).toEqual([signer.vkey]);
  expect(() => open([other.vkey])).toThrow('not signed by a known key of that name');
});

test('base64 has one spelling', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const text = Buffer.from(bytes).toString('base64');
      expect(fromBase64(text)).toEqual(Buffer.from(bytes));
      if (text.endsWith('=')) expect(fromBase64(text.replaceAll('=', ''))).toBeNull();
      expect(fromBase64(`${text}\n`)).toBeNull();
    }),
  );
  for (const wrong of ['AB==', 'AA=', 'A', 'AA==AA==', '_-_-', ' AAA']) expect(fromBase64(wrong)).toBeNull();
});
