import { createHash, generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { commitment } from '../../src/record/commitment.ts';
import { createTree, leafHash, nodeHash } from '../../src/record/merkle.ts';
import { createSigner, formatCheckpoint, signNote } from '../../src/record/signed-note.ts';
import { formatProof, parseProof, verifyMessageProof } from '../../src/record/tlog-proof.ts';

const ORIGIN = 'example.com/log';
const signer = createSigner(ORIGIN, generateKeyPairSync('ed25519').privateKey);
const SALT = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');

/** The root over leaves, and the path of the last of three, or of the second of two. */
function rootOf(leaves: readonly string[]): Buffer {
  const tree = createTree();
  for (const leaf of leaves) tree.add(leafHash(leaf));
  return tree.root();
}

const entryOf = (id: string, rev: number, text: string) =>
  JSON.stringify([1, id, rev, 'ADDED', rev, 1_790_000_000_000, 'person:a@x', [['text', commitment(SALT, text)]]]);
const ENTRIES = [entryOf('c_1', 1, 'first'), entryOf('c_1', 2, 'second')] as const;
const hLeaf = (id: string, rev: number, root: Buffer) => JSON.stringify([1, 'H', id, rev, root.toString('hex')]);
const LEAF = hLeaf('c_1', 2, rootOf(ENTRIES));
const REGISTER = ['[1,"F","x"]', hLeaf('c_2', 9, rootOf(ENTRIES)), LEAF] as const;

const base64 = (bytes: Buffer) => bytes.toString('base64');
const EXTRA = {
  entry: ENTRIES[1],
  index: 1,
  path: [base64(leafHash(ENTRIES[0]))],
  leaf: LEAF,
  disclosures: [{ name: 'text', salt: base64(SALT), value: 'second' }],
};
const checkpointOf = (register: readonly string[]) =>
  signNote(formatCheckpoint(ORIGIN, register.length, rootOf(register)), [signer]);
const PATH = [nodeHash(leafHash(REGISTER[0]), leafHash(REGISTER[1]))];
const PROOF = { extra: EXTRA, index: 2, path: PATH, checkpoint: checkpointOf(REGISTER) };

/** A proof in a register of one leaf, with other extra data. */
const proofOf = (extra: Partial<typeof EXTRA>) => {
  const merged = { ...EXTRA, ...extra };
  return formatProof({ extra: merged, index: 0, path: [], checkpoint: checkpointOf([merged.leaf]) });
};

test('commitments are as docs/RECORD.md states', () => {
  const expected = createHash('sha256').update('kredichat/1\0').update(SALT).update('Grüße').digest('hex');
  expect(commitment(SALT, 'Grüße')).toBe(expected);
});

test('proofs have the format of C2SP tlog-proof, and are read as they are written', () => {
  const text = formatProof(PROOF);
  const extra = Buffer.from(JSON.stringify(EXTRA)).toString('base64');
  expect(text).toBe(
    `c2sp.org/tlog-proof@v1\nextra ${extra}\nindex 2\n${base64(PATH[0] as Buffer)}\n\n${PROOF.checkpoint}`,
  );
  expect(parseProof(text)).toEqual(PROOF);
  const bare = { index: 0, path: [], checkpoint: PROOF.checkpoint };
  expect(formatProof(bare)).toBe(`c2sp.org/tlog-proof@v1\nindex 0\n\n${PROOF.checkpoint}`);
  expect(parseProof(formatProof(bare))).toEqual({ ...bare, extra: undefined });
});

test('malformed proofs are refused', () => {
  const text = formatProof(PROOF);
  const wrong = [
    ['', 'no checkpoint'],
    [text.replace('@v1', '@v2'), 'begin with'],
    [`\n${text}`, 'begin with'],
    [text.replace('index 2', 'index 02'), 'no index'],
    [text.replace('index 2', 'index -2'), 'no index'],
    [text.replace('index 2', 'index 1000000000000000'), 'no index'],
    [text.replace('index 2\n', ''), 'no index'],
    [text.replace('extra ', 'Extra '), 'no index'],
    [text.replace(/extra .*\n/, '$&$&'), 'no index'],
    [text.replace(/extra .*/, 'extra !'), 'base64 of JSON'],
    [text.replace(/extra .*/, 'extra e30'), 'base64 of JSON'],
    [text.replace(/extra .*/, 'extra gICA'), 'base64 of JSON'],
    [text.replace(base64(PATH[0] as Buffer), 'AAAA'), 'path'],
    [text.replace(base64(PATH[0] as Buffer), `${base64(PATH[0] as Buffer)}\r`), 'path'],
    [formatProof({ ...PROOF, path: Array(65).fill(PATH[0]) }), 'path'],
    ['x'.repeat(2 ** 22 + 1), 'characters'],
  ] as const;
  for (const [proof, message] of wrong) expect(() => parseProof(proof), proof.slice(0, 300)).toThrow(message);
});

test('the proof of a message gives its entry and the values disclosed', () => {
  expect(verifyMessageProof(formatProof(PROOF), [signer.vkey])).toEqual({
    entry: JSON.parse(ENTRIES[1]),
    disclosures: [{ name: 'text', salt: SALT, value: 'second' }],
    leaf: LEAF,
    checkpoint: { origin: ORIGIN, size: 3 },
  });
  expect(verifyMessageProof(proofOf({ disclosures: [] }), [signer.vkey]).disclosures).toEqual([]);
});

test('what is wrong with the proof of a message is named', () => {
  const verify = (proof: string) => () => verifyMessageProof(proof, [signer.vkey]);
  const stranger = createSigner(ORIGIN, generateKeyPairSync('ed25519').privateKey);
  expect(() => verifyMessageProof(formatProof(PROOF), [stranger.vkey])).toThrow('no signature by a known key');
  const checkpoint = PROOF.checkpoint.replace('\n3\n', '\n4\n');
  expect(verify(formatProof({ ...PROOF, checkpoint }))).toThrow('signature of the note by the key');
  expect(verify(formatProof({ ...PROOF, index: 1 }))).toThrow('not in the register');
  expect(verify(formatProof({ ...PROOF, index: 3 }))).toThrow('not in the register');
  expect(verify(formatProof({ ...PROOF, path: [] }))).toThrow('not in the register');
  expect(verify(formatProof({ ...PROOF, extra: { ...EXTRA, leaf: REGISTER[1] } }))).toThrow('not in the register');

  expect(verify(proofOf({ leaf: '[1,"F","x"]' }))).toThrow('no well-formed H leaf');
  expect(verify(proofOf({ leaf: `${LEAF} ` }))).toThrow('no well-formed H leaf');
  expect(verify(proofOf({ leaf: LEAF.toUpperCase() }))).toThrow('no well-formed H leaf');
  expect(verify(proofOf({ leaf: REGISTER[1] }))).toThrow('not of the conversation');
  expect(verify(proofOf({ index: 0 }))).toThrow('not of the index');
  expect(verify(proofOf({ path: [] }))).toThrow('not in the ledger');
  expect(verify(proofOf({ leaf: hLeaf('c_1', 1, rootOf(ENTRIES)) }))).toThrow('not in the ledger');
  expect(verify(proofOf({ leaf: hLeaf('c_1', 2, rootOf([ENTRIES[0]])) }))).toThrow('not in the ledger');
  expect(verify(proofOf({ entry: entryOf('c_1', 2, 'another') }))).toThrow('not in the ledger');
  expect(verify(proofOf({ entry: ENTRIES[1].replace(',2,', ', 2,') }))).toThrow('no well-formed entry');
  expect(verify(proofOf({ entry: '[2]' }))).toThrow('no well-formed entry');
  expect(verify(proofOf({ entry: 'x' }))).toThrow('no well-formed entry');

  const [text] = EXTRA.disclosures as [(typeof EXTRA.disclosures)[number]];
  const disclose = (...disclosures: (typeof text)[]) => verify(proofOf({ disclosures }));
  expect(disclose({ ...text, value: 'Second' })).toThrow('does not commit to the text');
  expect(disclose({ ...text, salt: base64(Buffer.alloc(16)) })).toThrow('does not commit to the text');
  expect(disclose({ ...text, name: 'reason' })).toThrow('does not commit to the reason');
  expect(disclose(text, text)).toThrow('does not commit to the text');
  expect(disclose({ ...text, salt: base64(Buffer.alloc(15)) })).toThrow('not base64 of 16 bytes');
});

test('extra data of another shape is refused', () => {
  const wrong = [
    undefined,
    null,
    [],
    {},
    { ...EXTRA, index: -1 },
    { ...EXTRA, path: ['AAAA'] },
    { ...EXTRA, entry: 1 },
  ];
  for (const extra of wrong) {
    const proof = formatProof({ ...PROOF, ...{ extra: extra as object } });
    expect(() => verifyMessageProof(proof, [signer.vkey])).toThrow('extra data of the proof is malformed');
  }
});
