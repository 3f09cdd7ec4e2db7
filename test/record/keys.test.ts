import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { createKey, ephemeralKeys, isOrigin, loadKeys, NO_KEYS } from '../../src/record/keys.ts';
import { openNote, signNote } from '../../src/record/signed-note.ts';

const folder = mkdtempSync(join(tmpdir(), 'keys-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
/** A file in the folder. */
function fileOf(contents: string | Buffer, mode = 0o600): string {
  const path = join(folder, `${files++}.pem`);
  writeFileSync(path, contents);
  chmodSync(path, mode);
  return path;
}
const pemOf = (key = generateKeyPairSync('ed25519').privateKey) => key.export({ format: 'pem', type: 'pkcs8' });
function newKey(): string {
  const path = join(folder, `${files++}.pem`);
  createKey(path);
  return path;
}

test('a key that is made can be loaded, is private, and is never overwritten', () => {
  const path = newKey();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const { signers, origin } = loadKeys([path], 'a.example');
  expect([origin, signers.map(({ name }) => name)]).toEqual(['a.example', ['a.example']]);
  const before = readFileSync(path, 'utf8');
  createKey(path);
  expect(readFileSync(path, 'utf8')).toBe(before);
  expect(readdirSync(folder).filter((name) => !/^\d+\.pem$/.test(name))).toEqual([]);
  const other = fileOf('not a key');
  createKey(other);
  expect(readFileSync(other, 'utf8')).toBe('not a key');
});

test('two processes at once use one key', async () => {
  const keys = new URL('../../dist/record/keys.js', import.meta.url).href;
  const path = join(folder, 'both.pem');
  // Each begins at the same instant.
  const program = `
    const { createKey, loadKeys } = await import(${JSON.stringify(keys)});
    while (Date.now() < Number(process.argv[1]));
    createKey(${JSON.stringify(path)});
    console.log(loadKeys([${JSON.stringify(path)}], 'a').signers[0].vkey);`;
  const at = String(Date.now() + 1500);
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, at]);
  const outputs = await Promise.all([run(), run(), run()]);
  expect(new Set(outputs.map(({ stdout }) => stdout)).size).toBe(1);
  expect(readdirSync(folder).filter((name) => name.startsWith('both'))).toEqual(['both.pem']);
});

test('a file that is no Ed25519 private key is refused by its name', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const wrong = [
    fileOf(''),
    fileOf('not a key'),
    fileOf(publicKey.export({ format: 'pem', type: 'spki' })),
    fileOf(privateKey.export({ format: 'der', type: 'pkcs8' })),
    fileOf(privateKey.export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'x' })),
    fileOf(pemOf(generateKeyPairSync('x25519').privateKey)),
    fileOf(pemOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)),
    fileOf(
      pemOf()
        .toString()
        .replace(/.{12}\n-/, '\n-'),
    ),
  ];
  for (const path of wrong)
    expect(() => loadKeys([path], 'a')).toThrow(`${path} is not an Ed25519 private key (PKCS#8 PEM, unencrypted)`);
  expect(() => loadKeys([join(folder, 'none')], 'a')).toThrow(`${join(folder, 'none')} cannot be read`);
  expect(() => loadKeys([folder], 'a')).toThrow(folder);
});

test('a file that others may read or write, or the group may write, is refused by its name', () => {
  for (const mode of [0o604, 0o602, 0o620, 0o644, 0o660, 0o666]) {
    const path = fileOf(pemOf(), mode);
    expect(() => loadKeys([path], 'a'), mode.toString(8)).toThrow(`${path} may be read or written by others`);
  }
  for (const mode of [0o400, 0o600, 0o640, 0o700, 0o611])
    expect(loadKeys([fileOf(pemOf(), mode)], 'a').signers).toHaveLength(1);
});

test('of two keys both sign; three, or the same twice, are refused', () => {
  const [one, two] = [newKey(), newKey()];
  const { signers } = loadKeys([one, two], 'a.example');
  const vkeys = signers.map(({ vkey }) => vkey);
  expect(openNote(signNote('x\n', signers), vkeys).keys).toEqual(vkeys);
  expect(() => loadKeys([one, two, newKey()], 'a')).toThrow('at most 2');
  expect(() => loadKeys([one, one], 'a')).toThrow('the same key');
});

test('a first text is known by its hash, which the first key makes and any checks', () => {
  const [old, next] = [newKey(), newKey()];
  const before = loadKeys([old], 'a');
  const hash = before.hashFirstText('c_1/1', 'yes') ?? '';
  expect(hash).toMatch(/^[\w-]{43}$/);
  expect(loadKeys([old], 'another').hashFirstText('c_1/1', 'yes')).toBe(hash);
  const rotated = loadKeys([next, old], 'a');
  for (const keys of [before, rotated, loadKeys([old, next], 'a')]) {
    expect(keys.isFirstText(hash, 'c_1/1', 'yes')).toBe(true);
    expect(keys.isFirstText(hash, 'c_1/1', 'no')).toBe(false);
    expect(keys.isFirstText(hash, 'c_1/2', 'yes')).toBe(false);
    expect(keys.isFirstText('', 'c_1/1', 'yes')).toBe(false);
    expect(keys.isFirstText(`${hash}AAAA`, 'c_1/1', 'yes')).toBe(false);
  }
  expect(rotated.hashFirstText('c_1/1', 'yes')).not.toBe(hash);
  expect(loadKeys([next], 'a').isFirstText(hash, 'c_1/1', 'yes')).toBe(false);
  expect(ephemeralKeys('a').isFirstText(hash, 'c_1/1', 'yes')).toBe(false);
});

test('the hash of a first text stays the same over versions', () => {
  // The key of RFC 8032, section 7.1, test 1; the hash was made by another program.
  const path = fileOf(`-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
`);
  expect(loadKeys([path], 'a').hashFirstText('c_1/1', 'Grüße')).toBe('lYnnvtICmmzN0xib0ZsB182jEyq2xuoAAz-1QEKYw84');
});

test('without keys nothing is signed or hashed', () => {
  for (const keys of [NO_KEYS('a'), loadKeys([], 'a')]) {
    expect([keys.origin, keys.signers, keys.hashFirstText('c_1/1', 'x')]).toEqual(['a', [], null]);
    expect(keys.isFirstText('', 'c_1/1', 'x')).toBe(false);
  }
});

test('an origin is 1 to 100 printable ASCII characters without spaces and plus', () => {
  for (const origin of ['kredichat', 'chat.example/log', '!', '~', 'x'.repeat(100)])
    expect(isOrigin(origin)).toBe(true);
  for (const origin of ['', 'a b', 'a+b', 'ä', 'a\n', '\u007f', 'x'.repeat(101)]) expect(isOrigin(origin)).toBe(false);
});
