import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { verdictLine, verifyExport } from '../../src/commands/verify/verify.ts';
import { processes } from '../support/process.ts';
import {
  type Change,
  checkpointOf,
  commitment,
  leafHash,
  newSigner,
  newTalk,
  openingOf,
  type Plan,
  proofOf,
  randomOf,
  randomRegister,
  randomTalk,
  rootOf,
  type Talk,
  writeExport,
  writeManifest,
} from '../support/record-export.ts';

const PYTHON = join(import.meta.dirname, '../../examples/verify.py');
const { ran } = processes();
const directory = mkdtempSync(join(tmpdir(), 'kredichat-verify-'));
afterAll(() => rmSync(directory, { recursive: true }));
const freshFolder = () => join(directory, randomUUID());
const signer = newSigner();
const other = newSigner();

interface Case {
  readonly folder: string;
  readonly keys: readonly string[] | null;
}

/** The answers of examples/verify.py, in one process: starting one for each would take most of the time. */
function pythonOn(cases: readonly Case[]): { result: string; line: string }[] {
  const code = `import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from verify import verify
answers = [verify(case["folder"], case["keys"] or ()) for case in json.load(sys.stdin)]
print(json.dumps([{"result": result, "line": line} for result, line in answers]))`;
  const input = JSON.stringify(cases);
  return JSON.parse(execFileSync('python3', ['-c', code, join(PYTHON, '..')], { input, encoding: 'utf8' }));
}

/** The place that a line names: the part between the first and the second colon. */
const placeIn = (line: string) => /^broken: (.*?): /.exec(line)?.[1] ?? null;

/** What both verifiers say: the same of each. */
async function verdictsOn(cases: readonly Case[]) {
  const python = pythonOn(cases);
  const verdicts = [];
  for (const [i, { folder, keys }] of cases.entries()) {
    const verdict = await verifyExport(folder, keys);
    const line = verdictLine(verdict, true);
    const own = { result: verdict.result, place: placeIn(line) };
    expect(
      { result: python[i]?.result, place: placeIn(python[i]?.line ?? '') },
      `${line} / ${python[i]?.line}`,
    ).toEqual(own);
    if (own.place === null) expect(python[i]?.line).toBe(line);
    verdicts.push({ ...own, verdict });
  }
  return verdicts;
}

/** A random deployment. */
function randomPlan(seed: number): Plan {
  const random = randomOf(seed);
  const talks = Array.from({ length: 1 + random(4) }, (_, i) => randomTalk(random, `${seed}-${i}`));
  const [first] = talks;
  const kind = (['conversation', 'config', 'all'] as const)[seed % 3] ?? 'all';
  const value = { conversation: first?.id ?? null, config: first?.configId ?? null, all: null }[kind];
  return { talks, register: randomRegister(random, talks), scope: { kind, value }, isSigned: true, withheld: [] };
}

describe('exports that are as they were made', () => {
  test('50 random ones verify, by both programs', async () => {
    const cases = Array.from({ length: 50 }, (_, seed) => {
      const folder = freshFolder();
      writeExport(randomPlan(seed), folder, signer);
      return { folder, keys: seed % 2 ? [other.vkey, signer.vkey] : null };
    });
    for (const { verdict } of await verdictsOn(cases)) {
      expect(verdict).toMatchObject({ result: 'verified', reason: null });
      expect(verdict.entries).toBeGreaterThan(0);
    }
  });

  test('those with entries beyond the checkpoint, without one, or with withheld values are incomplete', async () => {
    const cases = Array.from({ length: 12 }, (_, i) => {
      const plan = { ...randomPlan(3 * i + 2) };
      const [talk] = plan.talks;
      if (!talk) throw new Error('no conversation');
      if (i % 3 === 0) {
        const seq = Math.max(...talk.changes.map((change) => change.seq)) + 1;
        talk.changes.push({ type: 'ADDED', seq, at: 1, by: talk.members[0] ?? '', values: [['text', 'late']] });
      } else if (i % 3 === 1) plan.isSigned = false;
      else plan.withheld.push([talk.id, 1, 'opening']);
      const folder = freshFolder();
      writeExport(plan, folder, signer);
      return { folder, keys: [signer.vkey] };
    });
    const reasons = [/^1 entries are not covered/, /^\d+ entries are not covered/, /^1 values are withheld$/];
    for (const [i, { verdict }] of (await verdictsOn(cases)).entries()) {
      expect(verdict.result).toBe('incomplete');
      expect(verdict.reason).toMatch(reasons[i % 3] ?? '');
    }
  });
});

const [ANN, BOB] = ['ann@example.com', 'bob@example.com'];

/** A conversation with a change of each kind, registered at rev 3, 6 and 8; among random ones. */
function knownPlan(seed: number): { plan: Plan; talk: Talk } {
  const random = randomOf(seed);
  const talk = newTalk('known', [ANN, BOB]);
  const add = (type: Change['type'], seq: number, by: string, values: Change['values']) =>
    talk.changes.push({ type, seq, at: 1_700_000_000_000 + seq, by, values });
  add('ADDED', 1, ANN, [['text', 'I offer 100.'], openingOf(talk)]);
  add('ADDED', 2, BOB, [
    ['text', 'I take it.'],
    ['reply', '1'],
    ['client', 'b-1'],
  ]);
  add('ADDED', 3, ANN, [['text', 'My card is 1234.']]);
  add('EDITED', 2, BOB, [['text', 'I take it, for 90.']]);
  add('REDACTED', 3, ANN, [['reason', 'A card number']]);
  add('ADDED', 4, ANN, [
    ['text', 'closed'],
    ['changes', '[{"field":"status","from":"OPEN","to":"CLOSED"}]'],
  ]);
  add('IMPORTED', 5, BOB, [
    ['text', 'An old one'],
    ['source', '{"digest":"ab","source":"old/1","time":"1999"}'],
  ]);
  add('ADDED', 6, BOB, [['text', 'Bye']]);
  const talks = [talk, randomTalk(random, 'a'), randomTalk(random, 'b')];
  const register: Plan['register'] = [
    ...randomRegister(random, talks.slice(1, 2)),
    { talk, rev: 3 },
    { talk, reads: [[ANN, 2]] },
    { talk, rev: 6 },
    { talk, rev: 8 },
    {
      talk,
      reads: [
        [ANN, 5],
        [BOB, 3],
      ],
    },
    ...randomRegister(random, talks.slice(2)),
  ];
  return { talk, plan: { talks, register, scope: { kind: 'all', value: null }, isSigned: true, withheld: [] } };
}

/** An export of `knownPlan` in a folder, to be changed. */
interface Target {
  readonly folder: string;
  readonly id: string;
  readonly talk: Talk;
  readonly leaves: readonly string[];
  /** Changes a list, line by line. */
  lines(name: string, change: (lines: string[]) => string[]): void;
  /** Changes the entries of the conversation as JSON. */
  entries(change: (entries: EntryJson[]) => EntryJson[]): void;
  /** Changes disclosures of the conversation; undefined removes one. */
  disclosures(change: (one: DisclosureJson) => DisclosureJson | undefined): void;
  text(name: string, change: (text: string) => string): void;
  manifest(change: (manifest: Record<string, unknown>) => void): void;
}

type EntryJson = [1, string, number, string, number, number, string, [string, string][]];
interface DisclosureJson {
  conversationId: string;
  rev: number;
  name: string;
  salt: string;
  value: string;
}

function targetOf(folder: string, talk: Talk, leaves: readonly string[]): Target {
  const { id } = talk;
  const text: Target['text'] = (name, change) =>
    writeFileSync(join(folder, name), change(readFileSync(join(folder, name), 'utf8')));
  const lines: Target['lines'] = (name, change) =>
    text(name, (all) =>
      change(all.split('\n').slice(0, -1))
        .map((line) => `${line}\n`)
        .join(''),
    );
  return {
    ...{ folder, id, talk, leaves, text, lines },
    entries: (change) =>
      lines('entries.ndjson', (all) => {
        const at = all.findIndex((line) => line.includes(id));
        const own = all.filter((line) => line.includes(id)).map((line) => JSON.parse(line));
        all.splice(at, own.length, ...change(own).map((entry) => JSON.stringify(entry)));
        return all;
      }),
    disclosures: (change) =>
      lines('disclosures.ndjson', (all) =>
        all.flatMap((line) => {
          const one = JSON.parse(line);
          const changed = one.conversationId === id ? change(one) : one;
          return changed ? [JSON.stringify(changed)] : [];
        }),
      ),
    manifest: (change) => {
      const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
      change(manifest);
      writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
    },
  };
}

/** Gives the numbers 1, 2, 3 … to entries. */
const renumbered = (entries: EntryJson[]) => entries.map(([v, id, , ...rest], i): EntryJson => [v, id, i + 1, ...rest]);
/** Changes one entry of the conversation. */
const entry = (rev: number, change: (one: EntryJson) => void) => (t: Target) =>
  t.entries((all) => {
    for (const one of all) if (one[2] === rev) change(one);
    return all;
  });
const value = (rev: number, name: string, change: (one: DisclosureJson) => DisclosureJson | undefined) => (t: Target) =>
  t.disclosures((one) => (one.rev === rev && one.name === name ? change(one) : one));
const proof = (t: Target) => `proofs/${t.id}.tlog-proof`;
const removed = () => undefined;

/** Forges a value with a commitment that fits. */
const forged = (rev: number, name: string, text: string) => (t: Target) =>
  value(rev, name, (one) => {
    const salt = Buffer.alloc(16, 7);
    entry(rev, ([, , , , , , , values]) => {
      for (const pair of values) if (pair[0] === name) pair[1] = commitment(salt, text);
    })(t);
    return { ...one, salt: salt.toString('base64'), value: text };
  })(t);

/** What is changed in the folder; then the manifest's sums are made to fit, unless it says otherwise. */
type Tampering = readonly [
  what: string,
  /** Place that is to be named; $ stands for the id of the conversation. */
  place: string,
  change: (target: Target) => void,
  options?: { readonly isLeft?: boolean; readonly keys?: null; readonly scope?: 'conversation' },
];

const TAMPERINGS: readonly Tampering[] = [
  ['a text', '$ rev 4 message 2', value(4, 'text', (one) => ({ ...one, value: 'I take it, for 95.' }))],
  ['a text, with a commitment that fits', '$ rev 6', forged(4, 'text', 'I take it, for 95.')],
  ['the same in one conversation', '$ rev 8', forged(4, 'text', 'I take it, for 95.'), { scope: 'conversation' }],
  ['a time', '$ rev 3', entry(2, (one) => one.splice(5, 1, 1_600_000_000_000))],
  ['a sender', '$ rev 3', entry(2, (one) => one.splice(6, 1, ANN))],
  [
    'the order of two lines',
    '$ rev 3 message 3',
    (t) => t.entries(([a, b, c, ...d]) => [a, c, b, ...d] as EntryJson[]),
  ],
  [
    'the order of two messages, renumbered',
    '$ rev 3',
    (t) => {
      t.entries((all) => {
        const [second, third] = [all[1], all[2]];
        if (second && third) [second[5], second[6], third[5], third[6]] = [third[5], third[6], second[5], second[6]];
        return all;
      });
    },
  ],
  ['an entry removed', '$ rev 3 message 3', (t) => t.entries((all) => all.filter((one) => one[2] !== 2))],
  [
    'an edit removed',
    '$ rev 5 message 3',
    (t) => {
      t.disclosures((one) => (one.rev === 4 ? undefined : one));
      t.entries((all) => all.filter((one) => one[2] !== 4));
    },
  ],
  [
    'an edit removed, the rest renumbered',
    '$ rev 6',
    (t) => {
      t.disclosures((one) => (one.rev === 4 ? undefined : { ...one, rev: one.rev - (one.rev > 4 ? 1 : 0) }));
      t.entries((all) => renumbered(all.filter((one) => one[2] !== 4)));
    },
  ],
  [
    'an edit inserted, the rest renumbered',
    '$ rev 6',
    (t) => {
      const salt = Buffer.alloc(16);
      const own = { conversationId: t.id, rev: 5, name: 'text', salt: salt.toString('base64'), value: 'I never said' };
      const changed: EntryJson = [
        1,
        t.id,
        5,
        'EDITED',
        1,
        1_700_000_000_009,
        ANN,
        [['text', commitment(salt, own.value)]],
      ];
      t.entries((all) => renumbered([...all.slice(0, 4), changed, ...all.slice(4)]));
      t.lines('disclosures.ndjson', (all) =>
        all.flatMap((line) => {
          const one = JSON.parse(line);
          if (one.conversationId !== t.id || one.rev < 5) return [line];
          const moved = JSON.stringify({ ...one, rev: one.rev + 1 });
          return one.rev === 5 ? [JSON.stringify(own), moved] : [moved];
        }),
      );
    },
  ],
  [
    'the end cut',
    '$',
    (t) => {
      t.entries((all) => all.slice(0, -1));
      t.disclosures((one) => (one.rev === 8 ? undefined : one));
    },
  ],
  ['an older proof', '$', (t) => olderProof(t)],
  [
    'the end cut, with an older proof',
    '$',
    (t) => {
      t.entries((all) => all.slice(0, 6));
      t.disclosures((one) => (one.rev > 6 ? undefined : one));
      olderProof(t);
    },
  ],
  [
    'a member in the opening',
    '$ rev 1 message 1',
    value(1, 'opening', (one) => ({ ...one, value: one.value.replace(BOB, 'eve@example.com') })),
  ],
  [
    'a member in the opening, with a commitment that fits',
    '$ rev 1 message 1',
    (t) => forged(1, 'opening', openingOf({ ...t.talk, members: [ANN, 'eve@example.com'] })[1])(t),
  ],
  ['the reason of a redaction', '$ rev 5 message 3', value(5, 'reason', (one) => ({ ...one, value: 'Spam' }))],
  ['a read position', '$', (t) => t.text('reads.ndjson', (all) => all.replace(`\\"${BOB}\\",3`, `\\"${BOB}\\",6`))],
  [
    'a read position, in the register too',
    'register.ndjson',
    (t) => {
      t.text('reads.ndjson', (all) => all.replace(`\\"${BOB}\\",3`, `\\"${BOB}\\",6`));
      t.text('register.ndjson', (all) => all.replace(`"${BOB}",3`, `"${BOB}",6`));
    },
  ],
  [
    'a line of read positions twice',
    '$',
    (t) => t.lines('reads.ndjson', (all) => all.flatMap((line) => (line.includes(t.id) ? [line, line] : [line]))),
  ],
  [
    'a line of read positions removed',
    'reads.ndjson',
    (t) => {
      t.lines('reads.ndjson', (all) => all.filter((line) => !line.includes(t.id) || !line.includes(`${BOB}\\",3`)));
      t.manifest((manifest) => {
        manifest.reads = Number(manifest.reads) - 1;
      });
    },
  ],
  [
    'a path of read positions',
    '$',
    (t) =>
      t.lines('reads.ndjson', (all) => all.map((l) => l.replace(/"[^"]+"]}$/, '"'.padEnd(44, 'A').concat('="]}')))),
  ],
  [
    'the checkpoint signed by another key',
    'checkpoint.txt',
    (t) => writeFileSync(join(t.folder, 'checkpoint.txt'), checkpointOf(t.leaves, other)),
  ],
  [
    'the same, with a name and id that are known',
    'checkpoint.txt',
    (t) => writeFileSync(join(t.folder, 'checkpoint.txt'), checkpointOf(t.leaves, { ...other, keyId: signer.keyId })),
  ],
  [
    'an origin that is not the name of the key',
    'checkpoint.txt',
    (t) => t.text('checkpoint.txt', (all) => all.replace('chat.example', 'chat.evil')),
  ],
  ['the size in the checkpoint', 'checkpoint.txt', (t) => t.text('checkpoint.txt', (all) => all.replace('\n', '\n1'))],
  ['a salt', '$ rev 2 message 2', value(2, 'text', (one) => ({ ...one, salt: Buffer.alloc(16).toString('base64') }))],
  [
    'a salt in another spelling',
    '$ rev 2 message 2',
    value(2, 'text', (one) => ({ ...one, salt: one.salt.replace('==', '') })),
  ],
  [
    'two salts swapped',
    '$ rev 1 message 1',
    (t) => {
      const salts: string[] = [];
      t.disclosures((one) => {
        if (one.name === 'text') salts.push(one.salt);
        return one;
      });
      t.disclosures((one) => {
        const other = salts[{ 1: 1, 2: 0 }[one.rev] ?? -1];
        return one.name === 'text' && other ? { ...one, salt: other } : one;
      });
    },
  ],
  ['a commitment of an erased text', '$ rev 3', entry(3, (one) => one[7][0]?.splice(1, 1, 'ab'.repeat(32)))],
  [
    'a text, with commitment and leaf that fit',
    '$',
    (t) => {
      forged(4, 'text', 'I take it, for 95.')(t);
      const hashes: Buffer[] = [];
      t.entries((all) => {
        hashes.push(...all.map((one) => leafHash(JSON.stringify(one))));
        return all;
      });
      const index = t.leaves.findIndex((leaf) => leaf.includes(`"${t.id}",8,"`));
      const leaves = [...t.leaves];
      leaves[index] = JSON.stringify([1, 'H', t.id, 8, rootOf(hashes).toString('hex')]);
      writeFileSync(join(t.folder, proof(t)), proofOf(leaves, index, checkpointText(t)));
    },
    { scope: 'conversation' },
  ],
  ['a path cut', '$', (t) => t.lines(proof(t), (all) => [...all.slice(0, 3), ...all.slice(4)])],
  ['an index', '$', (t) => t.text(proof(t), (all) => all.replace(/index (\d+)/, 'index 1$1'))],
  [
    'a proof with another checkpoint',
    '$',
    (t) => t.text(proof(t), (all) => all.replace(checkpointText(t), checkpointOf(t.leaves.slice(0, -1), signer))),
  ],
  [
    'the proof of another conversation',
    '$',
    (t) => {
      const index = t.leaves.findLastIndex((leaf) => leaf.startsWith('[1,"H"') && !leaf.includes(t.id));
      writeFileSync(join(t.folder, proof(t)), proofOf(t.leaves, index, checkpointText(t)));
    },
  ],
  ['a proof removed', '$', (t) => rmSync(join(t.folder, proof(t)))],
  ['a register leaf removed', 'register.ndjson', (t) => t.lines('register.ndjson', ([, ...all]) => all)],
  ['a register leaf added', 'register.ndjson', (t) => t.lines('register.ndjson', (all) => [...all, '[1,"F","x"]'])],
  [
    'a conversation removed',
    'register.ndjson',
    (t) => {
      t.entries(() => []);
      t.disclosures(removed);
      t.lines('reads.ndjson', (all) => all.filter((line) => !line.includes(t.id)));
      rmSync(join(t.folder, proof(t)));
      t.manifest((manifest) => {
        manifest.erased = (manifest.erased as string[][]).filter(([id]) => id !== t.id);
      });
    },
  ],
  ['a text removed', '$ rev 1 message 1', value(1, 'text', removed)],
  [
    'a text removed, and said to be erased',
    '$ rev 1 message 1',
    (t) => {
      value(1, 'text', removed)(t);
      t.manifest((manifest) => {
        manifest.erased = [[t.id, 1, 'text', 5], ...(manifest.erased as [])];
      });
    },
  ],
  ['a reason removed', '$ rev 5 message 3', value(5, 'reason', removed)],
  ['a source removed', '$ rev 7 message 5', value(7, 'source', removed)],
  [
    'a disclosure twice',
    '$ rev 2',
    (t) =>
      t.lines('disclosures.ndjson', (all) =>
        all.flatMap((line) => (line.includes(`"${t.id}","rev":2,"name":"client"`) ? [line, line] : [line])),
      ),
  ],
  ['a redaction turned into an edit', '$ rev 5 message 3', entry(5, (one) => one.splice(3, 1, 'EDITED'))],
  [
    'the manifest hides what is erased',
    'manifest.json',
    (t) =>
      t.manifest((manifest) => {
        manifest.erased = (manifest.erased as string[][]).filter(([id]) => id !== t.id);
      }),
  ],
  [
    'the manifest names another entry that erased',
    'manifest.json',
    (t) =>
      t.manifest((manifest) => {
        manifest.erased = (manifest.erased as unknown[][]).map(([id, rev, name]) => [id, rev, name, 8]);
      }),
    { scope: 'conversation' },
  ],
  [
    'a read position of a conversation that is not there, in front',
    'reads.ndjson',
    (t) => t.lines('reads.ndjson', (all) => [strayRead('-'), ...all]),
    { scope: 'conversation' },
  ],
  [
    'a read position of a conversation that is not there, at the end',
    'reads.ndjson',
    (t) => t.lines('reads.ndjson', (all) => [...all, strayRead('z')]),
    { scope: 'conversation' },
  ],
  [
    'the manifest counts too few',
    'manifest.json',
    (t) =>
      t.manifest((manifest) => {
        manifest.entries = 8;
      }),
  ],
  [
    'the manifest says that all is unsigned',
    'manifest.json',
    (t) =>
      t.manifest((manifest) => {
        manifest.unsigned = manifest.entries;
      }),
  ],
  [
    'the manifest withholds what is there',
    'manifest.json',
    (t) =>
      t.manifest((manifest) => {
        manifest.withheld = [[t.id, 1, 'text']];
      }),
  ],
  [
    'another scope',
    'manifest.json',
    (t) =>
      t.manifest((manifest) => {
        manifest.scope = { kind: 'conversation', value: `c_${'x'.repeat(43)}` };
      }),
    { scope: 'conversation' },
  ],
  [
    'the scope of another configuration',
    '$ rev 1 message 1',
    (t) =>
      t.manifest((manifest) => {
        manifest.scope = { kind: 'config', value: 'other' };
      }),
    { scope: 'conversation' },
  ],
  [
    'a text, with the old sums',
    'disclosures.ndjson',
    value(1, 'text', (one) => ({ ...one, value: 'I offer 900.' })),
    { isLeft: true },
  ],
  ['a file that is not listed', 'notes.txt', (t) => writeFileSync(join(t.folder, 'notes.txt'), ''), { isLeft: true }],
  ['a file that is gone', 'FORMAT.md', (t) => rmSync(join(t.folder, 'FORMAT.md')), { isLeft: true }],
  [
    'the key id in keys.txt',
    'keys.txt',
    (t) => t.text('keys.txt', (all) => all.replace(/\+[0-9a-f]{8}\+/, '+00000000+')),
    { keys: null },
  ],
  ['keys.txt gone', 'keys.txt', (t) => rmSync(join(t.folder, 'keys.txt')), { keys: null }],
  [
    'an entry with a space',
    'entries.ndjson',
    (t) => t.lines('entries.ndjson', (all) => all.map((line) => line.replace(',', ', '))),
  ],
  [
    'a disclosure in another spelling',
    'disclosures.ndjson',
    (t) => t.text('disclosures.ndjson', (all) => all.replace('offer', '\\u006fffer')),
  ],
  [
    'bytes that are not UTF-8',
    'disclosures.ndjson',
    (t) => writeFileSync(join(t.folder, 'disclosures.ndjson'), Buffer.from('00ff0a', 'hex')),
  ],
  ['a last line without an end', 'reads.ndjson', (t) => appendFileSync(join(t.folder, 'reads.ndjson'), '{')],
  [
    'a line without an end of 2 MiB',
    'register.ndjson',
    (t) => appendFileSync(join(t.folder, 'register.ndjson'), `[1,"F","${'x'.repeat(2 ** 21)}"]`),
  ],
];

/** A line of `reads.ndjson` about a conversation that is before or after all others. */
const strayRead = (letter: string) => {
  const leaf = JSON.stringify([1, 'R', `c_${letter.repeat(43)}`, 0, [[ANN, 1]]]);
  return JSON.stringify({ index: 0, leaf, path: [] });
};
/** Puts the proof of the leaf with rev 6 in the place of the newest. */
function olderProof(t: Target): void {
  const older = t.leaves.findIndex((leaf) => leaf.includes(`"${t.id}",6,"`));
  writeFileSync(join(t.folder, proof(t)), proofOf(t.leaves, older, checkpointText(t)));
}
const checkpointText = ({ folder }: Target) => readFileSync(join(folder, 'checkpoint.txt'), 'utf8');
const byIdOf = (talk: Talk, place: string) => place.replace('$', talk.id);

/** What the key's holder signs though it cannot be; written before entries are made. */
type Misdeed = readonly [what: string, place: string, change: (talk: Talk, plan: Plan) => void];
const change = (rev: number, values: Partial<Change>) => (talk: Talk) => {
  Object.assign(talk.changes[rev - 1] ?? {}, values);
};
const MISDEEDS: readonly Misdeed[] = [
  [
    'a history written anew',
    '$ rev 3',
    (talk, { register }) => {
      const old = register.find((leaf) => 'rev' in leaf && leaf.talk === talk);
      Object.assign(old ?? {}, { root: 'ab'.repeat(32) });
    },
  ],
  [
    'a history written anew, registered above the old one',
    '$ rev 6',
    (talk, { register }) => {
      const old = register.find((leaf) => 'rev' in leaf && leaf.talk === talk && leaf.rev === 6);
      Object.assign(old ?? {}, { root: 'ab'.repeat(32) });
    },
  ],
  ['a ledger that shrinks', 'register.ndjson', (talk, { register }) => register.push({ talk, rev: 4 })],
  ['a leaf that is none', 'register.ndjson', (_, { register }) => register.push({ text: '[1,"H","x",1]' })],
  [
    'a reply to a later message',
    '$ rev 2 message 2',
    change(2, {
      values: [
        ['text', ''],
        ['reply', '2'],
      ],
    }),
  ],
  [
    'an opening of others',
    '$ rev 1 message 1',
    (talk) => change(1, { values: [['text', ''], openingOf({ ...talk, members: [ANN] })] })(talk),
  ],
  ['no opening', '$ rev 1 message 1', change(1, { values: [['text', '']] })],
  ['a second opening', '$ rev 8 message 6', (talk) => change(8, { values: [['text', ''], openingOf(talk)] })(talk)],
  [
    'names in another order',
    '$ rev 2 message 2',
    change(2, {
      values: [
        ['client', ''],
        ['text', ''],
      ],
    }),
  ],
  [
    'a name twice',
    '$ rev 8 message 6',
    change(8, {
      values: [
        ['text', 'a'],
        ['text', 'b'],
      ],
    }),
  ],
  ['a hole in the numbers', '$ rev 8 message 7', change(8, { seq: 7 })],
  ['an edit of nothing', '$ rev 4 message 9', change(4, { seq: 9 })],
  ['an edit of a redacted message', '$ rev 8 message 3', change(8, { type: 'EDITED', seq: 3 })],
  ['a second redaction', '$ rev 8 message 3', change(8, { type: 'REDACTED', seq: 3, values: [['reason', 'x']] })],
  ['a redaction without a reason', '$ rev 5 message 3', change(5, { values: [] })],
  ['an import after the begin', '$ rev 8 message 6', change(8, { type: 'IMPORTED' })],
  ['an unknown change at the begin', '$ rev 1', change(1, { type: 'IMPORTED', seq: 0, at: 0, by: '', values: [] })],
  ['an unknown change after the begin', '$ rev 8', change(8, { type: 'IMPORTED', seq: 0, at: 0, by: '', values: [] })],
  ['no author', '$ rev 8 message 6', change(8, { by: '' })],
  ['no text', '$ rev 8 message 6', change(8, { values: [['client', 'x']] })],
  ['a position that moves backward', '$', (talk, { register }) => register.push({ talk, reads: [[ANN, 4]] })],
  ['a position beyond the end', '$', (talk, { register }) => register.push({ talk, reads: [[ANN, 7]] })],
  [
    'members in another order',
    '$',
    (talk, { register }) =>
      register.push({
        talk,
        reads: [
          [BOB, 6],
          [ANN, 6],
        ],
      }),
  ],
];

describe('exports that were changed', () => {
  test('each tampering is found and its place named, by both programs', async () => {
    expect(TAMPERINGS.length).toBeGreaterThanOrEqual(50);
    const cases = TAMPERINGS.map(([what, place, change, { isLeft = false, keys, scope } = {}], seed) => {
      const { plan, talk } = knownPlan(seed);
      if (scope) plan.scope = { kind: scope, value: talk.id };
      const folder = freshFolder();
      const leaves = writeExport(plan, folder, signer);
      const untouched = freshFolder();
      cpSync(folder, untouched, { recursive: true });
      change(targetOf(folder, talk, leaves));
      if (!isLeft) writeManifest(folder, JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')));
      return { what, folder, untouched, expected: byIdOf(talk, place), keys: keys === null ? null : [signer.vkey] };
    });
    const broken = await verdictsOn(cases);
    const sound = await verdictsOn(cases.map(({ untouched, keys }) => ({ folder: untouched, keys })));
    for (const [i, { what, expected }] of cases.entries()) {
      const { result, place, verdict } = broken[i] ?? {};
      expect({ result, place }, `${what}: ${verdict?.reason}`).toEqual({ result: 'broken', place: expected });
      expect(sound[i]?.result, what).toBe('verified');
    }
  });

  test('what holders of the key sign against the rules is found, too', async () => {
    const cases = MISDEEDS.map(([what, place, change], seed) => {
      const { plan, talk } = knownPlan(seed);
      change(talk, plan);
      const folder = freshFolder();
      writeExport(plan, folder, signer);
      return { what, folder, expected: byIdOf(talk, place), keys: [signer.vkey] };
    });
    for (const [i, { result, place, verdict }] of (await verdictsOn(cases)).entries()) {
      const { what, expected } = cases[i] ?? {};
      expect({ result, place }, `${what}: ${verdict.reason}`).toEqual({ result: 'broken', place: expected });
    }
  });
});

describe('the programs', () => {
  test('print one line, with exit code 0, 1 or 2', async () => {
    const { plan, talk } = knownPlan(1);
    const [good, bad, unsigned] = [freshFolder(), freshFolder(), freshFolder()];
    writeExport(plan, good, signer);
    writeExport({ ...plan, isSigned: false }, unsigned, signer);
    writeExport({ ...plan, talks: [...plan.talks].reverse() }, bad, signer);
    targetOf(bad, talk, []).disclosures((one) => ({ ...one, value: `${one.value}!` }));
    writeManifest(bad, JSON.parse(readFileSync(join(bad, 'manifest.json'), 'utf8')));
    const answers = { [good]: [0, /^verified: \d+ conv/], [bad]: [1, /^broken: c_\S+ rev 1 message 1: the text/] };
    for (const [folder, [code, line]] of Object.entries({
      ...answers,
      [unsigned]: [2, /^incomplete: \d+ entries are/],
    })) {
      const own = await ran({}, 'verify', folder, '--key', other.vkey, '--key', signer.vkey);
      const python = spawnSync('python3', [PYTHON, folder, '--key', other.vkey, '--key', signer.vkey]);
      expect({ code: own.code, line: own.out }).toEqual({ code, line: expect.stringMatching(line as RegExp) });
      expect({ code: python.status, line: String(python.stdout) }).toEqual({ code, line: own.out });
    }
    const trusting = await ran({}, 'verify', good);
    expect(trusting.out).toMatch(/^verified: .*\(by the key in the export itself: no proof against its maker\)\n$/);
    expect(String(spawnSync('python3', [PYTHON, good]).stdout)).toBe(trusting.out);
    const json = await ran({}, 'verify', bad, '--json');
    expect(JSON.parse(json.out)).toMatchObject({ result: 'broken', keys: 'export', conversations: 0 });
  });

  test('refuse a key that is none: without a verdict', async () => {
    const folder = freshFolder();
    writeExport(randomPlan(1), folder, signer);
    const wrong = signer.vkey.replace(/\+[0-9a-f]{8}\+/, '+00000000+');
    const own = await ran({}, 'verify', folder, '--key', wrong);
    expect(own).toMatchObject({ code: 1, out: '' });
    const python = spawnSync('python3', [PYTHON, folder, '--key', wrong]);
    expect({ code: python.status, stdout: String(python.stdout) }).toEqual({ code: 1, stdout: '' });
  });
});
