import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Makes exports from docs/RECORD.md alone: nothing of the sources is used, so that both verifiers can be wrong.

export interface Change {
  type: 'ADDED' | 'EDITED' | 'REDACTED' | 'ERASED' | 'IMPORTED';
  seq: number;
  at: number;
  by: string;
  /** Names with values, in the order of the names. */
  values: [name: string, value: string][];
}

export interface Talk {
  id: string;
  configId: string;
  members: string[];
  changes: Change[];
}

/** A leaf of the register: a ledger at a rev (with its true root unless one is given), read positions, or any text. */
export type Leaf =
  | { talk: Talk; rev: number; root?: string }
  | { talk: Talk; reads: [member: string, seq: number][] }
  | { text: string };

/** A deployment, and what is exported of it. */
export interface Plan {
  talks: Talk[];
  register: Leaf[];
  scope: { kind: 'conversation' | 'config' | 'all'; value: string | null };
  /** Whether a checkpoint was signed. */
  isSigned: boolean;
  /** Values that are not shown: conversation, rev, name. */
  withheld: [id: string, rev: number, name: string][];
}

export interface Signer {
  privateKey: KeyObject;
  vkey: string;
  keyId: Buffer;
}

const sha256 = (...parts: (string | Uint8Array)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
export const leafHash = (text: string) => sha256(Buffer.from([0]), text);
export const commitment = (salt: Buffer, value: string) => sha256('kredichat/1\0', salt, value).toString('hex');
const ORIGIN = 'chat.example/record';

export function newSigner(name = ORIGIN): Signer {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key = Buffer.concat([Buffer.from([1]), publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)]);
  const keyId = sha256(`${name}\n`, key).subarray(0, 4);
  return { privateKey, vkey: `${name}+${keyId.toString('hex')}+${key.toString('base64')}`, keyId };
}

/** Root of hashes by the recursion of RFC 6962. */
export function rootOf(hashes: readonly Buffer[]): Buffer {
  if (hashes.length <= 1) return hashes[0] ?? sha256('');
  const k = splitOf(hashes.length);
  return sha256(Buffer.from([1]), rootOf(hashes.slice(0, k)), rootOf(hashes.slice(k)));
}

/** Path of a leaf by the recursion of RFC 6962. */
export function pathOf(hashes: readonly Buffer[], index: number): Buffer[] {
  if (hashes.length <= 1) return [];
  const k = splitOf(hashes.length);
  return index < k
    ? [...pathOf(hashes.slice(0, k), index), rootOf(hashes.slice(k))]
    : [...pathOf(hashes.slice(k), index - k), rootOf(hashes.slice(0, k))];
}

const splitOf = (n: number) => 2 ** Math.ceil(Math.log2(n) - 1);

export function checkpointOf(leaves: readonly string[], { privateKey, keyId }: Signer, origin = ORIGIN): string {
  const text = `${origin}\n${leaves.length}\n${rootOf(leaves.map(leafHash)).toString('base64')}\n`;
  const signature = Buffer.concat([keyId, sign(null, Buffer.from(text), privateKey)]);
  return `${text}\n\u2014 ${origin} ${signature.toString('base64')}\n`;
}

export function proofOf(leaves: readonly string[], index: number, checkpoint: string): string {
  const extra = Buffer.from(JSON.stringify({ leaf: leaves[index] })).toString('base64');
  const path = pathOf(leaves.map(leafHash), index).map((hash) => `${hash.toString('base64')}\n`);
  return `c2sp.org/tlog-proof@v1\nextra ${extra}\nindex ${index}\n${path.join('')}\n${checkpoint}`;
}

/** A conversation without changes. */
export function newTalk(configId: string, members: string[]): Talk {
  const key = sha256(JSON.stringify([configId, ...members])).toString('base64url');
  return { id: `c_${key}`, configId, members, changes: [] };
}

export const openingOf = ({ configId, members }: Talk): [string, string] => [
  'opening',
  JSON.stringify({ configId, members, party: null, subject: 'Rëchnung "7" \u2028\u0001' }),
];

/** The rev of the redaction of a message; 0 for none. */
function redactionOf({ changes }: Talk, seq: number): number {
  const added = changes.findIndex((one) => one.seq === seq);
  const isRedaction = ({ type, values }: Change) =>
    type === 'REDACTED' || type === 'ERASED' || (type === 'IMPORTED' && values[0]?.[0] !== 'text');
  return changes.findIndex((one, i) => i > added && one.seq === seq && isRedaction(one)) + 1;
}

/** Writes an export; returns the leaves of the register. */
export function writeExport({ talks, register, scope, isSigned, withheld }: Plan, folder: string, signer: Signer) {
  mkdirSync(join(folder, 'proofs'), { recursive: true });
  const entries = new Map<Talk, string[]>();
  const disclosed = new Map<Talk, string[]>();
  const erased: unknown[] = [];
  const byId = (a: Talk, b: Talk) => (a.id < b.id ? -1 : 1);
  for (const talk of [...talks].sort(byId)) {
    const lines: string[] = [];
    const disclosures: string[] = [];
    for (const [i, { type, seq, at, by, values }] of talk.changes.entries()) {
      const rev = i + 1;
      const redactedAt = redactionOf(talk, seq);
      const committed = values.map(([name, value]) => {
        const salt = randomBytes(16);
        const item = { conversationId: talk.id, rev, name, salt: salt.toString('base64'), value };
        if (!withheld.some((one) => String(one) === String([talk.id, rev, name]))) {
          if (name === 'text' && redactedAt > rev) erased.push([talk.id, rev, name, redactedAt]);
          else disclosures.push(JSON.stringify(item));
        }
        return [name, commitment(salt, value)];
      });
      lines.push(JSON.stringify([1, talk.id, rev, type, seq, at, by, committed]));
    }
    entries.set(talk, lines);
    disclosed.set(talk, disclosures);
  }
  const leaves = register.map((leaf, i) => {
    if ('text' in leaf) return leaf.text;
    if ('reads' in leaf) return JSON.stringify([1, 'R', leaf.talk.id, 1_700_000_000_000 + i, leaf.reads]);
    const hashes = entries.get(leaf.talk)?.slice(0, leaf.rev).map(leafHash) ?? [];
    return JSON.stringify([1, 'H', leaf.talk.id, leaf.rev, leaf.root ?? rootOf(hashes).toString('hex')]);
  });
  const isIn = (talk: Talk) =>
    scope.kind === 'all' || (scope.kind === 'config' ? talk.configId : talk.id) === scope.value;
  const inScope = [...entries.keys()].filter(isIn);
  const checkpoint = isSigned ? checkpointOf(leaves, signer) : null;
  const reads: string[] = [];
  let unsigned = 0;
  for (const talk of inScope) {
    const newest = register.findLastIndex((leaf) => 'rev' in leaf && leaf.talk === talk);
    const leaf = register[newest];
    unsigned += talk.changes.length - (checkpoint && leaf && 'rev' in leaf ? leaf.rev : 0);
    if (!checkpoint) continue;
    if (newest >= 0)
      writeFileSync(join(folder, 'proofs', `${talk.id}.tlog-proof`), proofOf(leaves, newest, checkpoint));
    for (const [index, leaf] of register.entries()) {
      if (!('reads' in leaf) || leaf.talk !== talk) continue;
      const path = pathOf(leaves.map(leafHash), index).map((hash) => hash.toString('base64'));
      reads.push(JSON.stringify({ index, leaf: leaves[index], path }));
    }
  }
  const write = (name: string, lines: readonly string[]) =>
    writeFileSync(join(folder, name), lines.map((line) => `${line}\n`).join(''));
  const all = (lists: Map<Talk, string[]>) => inScope.flatMap((talk) => lists.get(talk) ?? []);
  write('entries.ndjson', all(entries));
  write('disclosures.ndjson', all(disclosed));
  write('reads.ndjson', reads);
  write('keys.txt', [signer.vkey]);
  write('FORMAT.md', ['See RECORD.md.']);
  if (checkpoint) writeFileSync(join(folder, 'checkpoint.txt'), checkpoint);
  if (scope.kind === 'all') write('register.ndjson', checkpoint ? leaves : []);
  const counts = {
    conversations: inScope.length,
    messages: inScope.reduce((sum, { changes }) => sum + Math.max(...changes.map(({ seq }) => seq)), 0),
    entries: all(entries).length,
    disclosures: all(disclosed).length,
    reads: reads.length,
    unsigned,
  };
  const inIds = new Set(inScope.map(({ id }) => id));
  const scoped = (items: readonly unknown[]) => items.filter((item) => inIds.has(String((item as unknown[])[0])));
  const manifest = { format: 'export 1', program: '0.1.0', createdAt: new Date(0).toISOString(), scope, ...counts };
  writeManifest(folder, { ...manifest, erased: scoped(erased), withheld: scoped(withheld) });
  return leaves;
}

/** Writes the manifest with the sums of all files as they are now. */
export function writeManifest(folder: string, contents: Record<string, unknown>): void {
  const files = (readdirSync(folder, { recursive: true, encoding: 'utf8' }) as string[])
    .filter((name) => name !== 'manifest.json' && name !== 'proofs')
    .sort()
    .map((name) => {
      const bytes = readFileSync(join(folder, name));
      return { name, bytes: bytes.length, sha256: sha256(bytes).toString('hex') };
    });
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ ...contents, files }, null, 2));
}

export type Random = (below: number) => number;

/** The same numbers for the same seed. */
export function randomOf(seed: number): Random {
  let state = seed + 1;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}

const ADDRESSES = ['ann@example.com', 'bob@example.com', 'cat@example.com', "d'arcy+1@example.com"];
const TEXTS = ['Hello', 'Grüße 👋', '', 'a\nb\t"c" \\ \u007f', '\ufeff x', 'Invoice 7\u2028is paid'];

/** A random conversation, some of it from before the record began. */
export function randomTalk(random: Random, name: string): Talk {
  const talk = newTalk(`config-${name}`, ADDRESSES.slice(0, 2 + random(3)));
  const { changes, members } = talk;
  const length = 1 + random(25);
  const importedRev = random(3) === 0 ? random(length + 1) : 0;
  const redacted = new Set<number>();
  let messages = 0;
  const text = (): [string, string] => ['text', TEXTS[random(TEXTS.length)] ?? ''];
  while (changes.length < length) {
    const isOld = changes.length < importedRev;
    const at = 1_700_000_000_000 + random(1_000_000);
    const by = members[random(members.length)] ?? '';
    const old = 1 + random(Math.max(messages, 1));
    const what = messages === 0 || redacted.has(old) ? 0 : random(10);
    if (what < 6) {
      const isFirst = messages === 0;
      const source = JSON.stringify({ digest: 'ab', source: 'old.chat/1/2', time: 'yesterday' });
      const isMoved = random(6) === 0;
      changes.push({
        ...{ type: isOld || isMoved ? 'IMPORTED' : 'ADDED', seq: ++messages, at, by },
        values: [
          ...(isOld && random(3) === 0 ? [] : [text()]),
          ...(isFirst ? [openingOf(talk)] : []),
          ...(!isFirst && random(3) === 0 ? [['reply', String(1 + random(messages - 1))] as [string, string]] : []),
          ...(random(2) === 0 ? [['client', `id ${messages}`] as [string, string]] : []),
          ...(!isOld && random(5) === 0 ? [['changes', '[{"field":"status","from":"OPEN","to":null}]'] as never] : []),
          ...(isMoved ? [['source', source] as [string, string]] : []),
        ],
      });
    } else if (isOld && what === 6) changes.push({ type: 'IMPORTED', seq: 0, at: 0, by: '', values: [] });
    else if (isOld && what === 7) {
      redacted.add(old);
      changes.push({ type: 'IMPORTED', seq: old, at, by: '', values: random(2) ? [['reason', 'Gone']] : [] });
    } else if (isOld) changes.push({ type: 'IMPORTED', seq: old, at, by, values: [text()] });
    else if (what < 9) changes.push({ type: 'EDITED', seq: old, at, by, values: [text()] });
    else {
      redacted.add(old);
      changes.push({ type: 'REDACTED', seq: old, at, by, values: [['reason', 'Wrong "chat"']] });
    }
  }
  return talk;
}

/** Leaves in random order: each ledger grows to its end, positions move forward. */
export function randomRegister(random: Random, talks: readonly Talk[]): Leaf[] {
  const register: Leaf[] = [];
  const open = talks.map((talk) => ({ talk, rev: 0, positions: new Map<string, number>() }));
  while (open.length > 0) {
    const one = open[random(open.length)];
    if (!one) continue;
    const { talk, positions } = one;
    one.rev += 1 + random(talk.changes.length - one.rev);
    register.push({ talk, rev: one.rev });
    const seqs = talk.changes.slice(0, one.rev).map(({ seq }) => seq);
    if (random(3) > 0) {
      const member = talk.members[random(talk.members.length)] ?? '';
      const before = positions.get(member) ?? 0;
      const to = before + random(Math.max(...seqs) - before + 1);
      positions.set(member, to);
      register.push({ talk, reads: [[member, to]] });
    }
    if (random(20) === 0) register.push({ text: JSON.stringify([1, 'F', 'Wiederhergestellt "gestern" ü']) });
    if (one.rev === talk.changes.length) open.splice(open.indexOf(one), 1);
  }
  return register;
}
