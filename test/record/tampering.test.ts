import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exportStore } from '../../src/commands/export/export.ts';
import { readStore } from '../../src/commands/open-store.ts';
import { recordKeys } from '../../src/commands/record-keys.ts';
import { verdictLine, verifyExport } from '../../src/commands/verify/verify.ts';
import { createKey } from '../../src/record/keys.ts';
import {
  type Chat,
  configOf,
  faultsOf,
  KINDS,
  type Raw,
  type Rig,
  replicaSet,
  rigOf,
  type Stored,
  serve,
  vkeyOf,
} from './rig.ts';

const directory = mkdtempSync(join(tmpdir(), 'kredichat-tampering-'));
afterAll(() => rmSync(directory, { recursive: true }));
const [ANN, BOB, CAT, DAN] = ['ann', 'bob', 'cat', 'dan'].map((name) => `${name}@example.com`) as [
  string,
  string,
  string,
  string,
];

/** What happens in the conversations; `first` is the one that is tampered with. */
async function begin(chat: Chat): Promise<void> {
  await chat.open('first', [ANN, BOB, CAT], 'one');
  await chat.say('first', BOB, ['two', 'three']);
  await chat.say('first', CAT, ['four']);
  await chat.edit('first', BOB, 2, 'two, better');
  await chat.edit('first', BOB, 2, 'two, best');
  await chat.read('first', ANN, 3);
  await chat.open('second', [ANN, BOB], 'hello');
  for (let i = 0; i < 3; i++)
    await chat.say(
      'second',
      BOB,
      Array.from({ length: 100 }, (_, n) => `${i} ${n}`),
    );
}

async function goOn(chat: Chat): Promise<void> {
  await chat.redact('first', CAT, 4);
  await chat.say('first', ANN, ['five']);
  await chat.say('first', BOB, ['six']);
  await chat.update('first', `${ANN}:BANK`, { addMembers: [DAN], status: 'PENDING' });
  await chat.update('first', `${ANN}:BANK`, { removeMembers: [CAT] });
  await chat.read('first', BOB, 6);
  await chat.update('first', `${ANN}:BANK`, { addMembers: [CAT] });
  await chat.say('first', DAN, ['ten']);
  await chat.say('first', ANN, ['eleven']);
  await chat.edit('second', BOB, 200, 'changed');
}

const messageAt = ({ messages }: Stored, seq: number) => messages[seq - 1] as Raw;
const memberOf = ({ members }: Stored, address: string) => {
  const found = members.find(({ email }) => email === address);
  if (!found) throw new Error(`${address} is not there`);
  return found;
};
/** Moves the numbers of all messages from this one on, and of their changes. */
function shift({ head, messages }: Stored, from: Raw, by: number): void {
  const rev = from.addedRev ?? from.rev;
  for (const one of messages) {
    if (one.seq >= from.seq) one.seq += by;
    if (one.addedRev != null && one.addedRev >= rev) one.addedRev += by;
    if (one.rev >= rev) one.rev += by;
  }
  head.lastSeq += by;
  head.lastRev += by;
}
const SALT = () => randomUUID().replaceAll('-', '');
/** A message as another one, with salts of its own. */
const forged = (like: Raw, values: object) =>
  ({
    ...like,
    clientId: randomUUID(),
    text: 'forged',
    record: { salts: { text: SALT(), client: SALT() } },
    ...values,
  }) as Raw;

interface Tampering {
  readonly change: (stored: Stored) => void;
  /** What `check` says, behind the id of the conversation. */
  readonly fault: RegExp;
  /** What an export of everything shows; null where it cannot. */
  readonly verdict: RegExp | null;
}

const BROKEN = /^broken: ID/;
const TAMPERINGS: Record<string, Tampering> = {
  'a text was changed': {
    change: (stored) => Object.assign(messageAt(stored, 3), { text: 'other' }),
    fault: /change 3, of message 3,/,
    verdict: BROKEN,
  },
  'an earlier text was changed': {
    change: (stored) => Object.assign((messageAt(stored, 2).revisions as object[])[1] ?? {}, { text: 'other' }),
    fault: /change 5, of message 2,/,
    verdict: BROKEN,
  },
  'a time was changed': {
    change: (stored) => Object.assign(messageAt(stored, 5), { sentAt: Number(messageAt(stored, 5).sentAt) + 1 }),
    fault: /change 8, of message 5,/,
    verdict: BROKEN,
  },
  'the sender was changed': {
    change: (stored) => Object.assign(messageAt(stored, 5), { sender: BOB }),
    fault: /change 8, of message 5,/,
    verdict: BROKEN,
  },
  'two messages changed places': {
    change(stored) {
      const [a, b] = [messageAt(stored, 5), messageAt(stored, 6)];
      stored.messages.splice(4, 2, { ...b, seq: a.seq, rev: a.rev }, { ...a, seq: b.seq, rev: b.rev });
    },
    fault: /change 8, of message 5,/,
    verdict: BROKEN,
  },
  'a message was removed, and the gap closed': {
    change(stored) {
      const removed = messageAt(stored, 5);
      shift(stored, removed, -1);
      stored.messages.splice(4, 1);
      for (const one of stored.members) if (one.readSeq > 5) one.readSeq--;
    },
    fault: /change 8, of message 5,/,
    verdict: BROKEN,
  },
  'a message was inserted': {
    change(stored) {
      const after = { ...messageAt(stored, 5) };
      shift(stored, after, 1);
      stored.messages.splice(4, 0, forged(after, {}));
    },
    fault: /change 8, of message 5,/,
    verdict: BROKEN,
  },
  'a message was added at the end': {
    change({ head, messages }) {
      const like = messages.at(-1) as Raw;
      messages.push(forged(like, { seq: ++head.lastSeq, rev: ++head.lastRev }));
    },
    fault: /the changes 16 to 16 are neither registered nor marked/,
    verdict: /^incomplete: 1 entries are not covered/,
  },
  'the end was cut off': {
    change({ head, messages }) {
      messages.pop();
      head.lastSeq--;
      head.lastRev--;
    },
    fault: /the log ends at change 14, and 15 are registered/,
    verdict: BROKEN,
  },
  'a member was added': {
    change: ({ members }) => void members.push({ ...memberOf({ members } as Stored, DAN), email: 'eve@example.com' }),
    fault: /eve@example.com is a member, and no change says so/,
    verdict: null,
  },
  'a member was removed': {
    change: (stored) => Object.assign(memberOf(stored, DAN), { leftAt: Date.now() }),
    fault: /dan@example.com is no member, and no change says so/,
    verdict: null,
  },
  'a member of the opening was removed without a trace': {
    change: (stored) => void stored.members.splice(stored.members.indexOf(memberOf(stored, BOB)), 1),
    fault: /change 1, of message 1,/,
    verdict: BROKEN,
  },
  'a read position went forward': {
    change: (stored) => Object.assign(memberOf(stored, BOB), { readSeq: 9 }),
    fault: /the read position 9 of bob@example.com is not registered/,
    verdict: null,
  },
  'a read position went back': {
    change: (stored) => Object.assign(memberOf(stored, BOB), { readSeq: 2 }),
    fault: /bob@example.com had read up to 6, and the read position is 2/,
    verdict: null,
  },
  'salts of two texts changed places': {
    change(stored) {
      const [a, b] = [3, 5].map((seq) => (messageAt(stored, seq).record as { salts: { text: string } }).salts);
      if (a && b) [a.text, b.text] = [b.text, a.text];
    },
    fault: /change 3, of message 3,/,
    verdict: BROKEN,
  },
};

/** What `verify` says about an export of everything, by this key. */
async function verdictOn(rig: Rig, vkey: string): Promise<string> {
  const folder = join(directory, randomUUID());
  const config = configOf(rig);
  const options = {
    scope: { kind: 'all', value: null },
    folder,
    program: '1',
    keys: recordKeys(config, 'skip'),
  } as const;
  try {
    await readStore(config.store, (store) => exportStore(store, options, () => {}));
  } catch (error) {
    return `no export: ${(error as Error).message}`;
  }
  return verdictLine(await verifyExport(folder, [vkey]), true);
}

describe.each(KINDS)('on %s', (kind) => {
  let [newest, older, id] = [null as unknown as Rig, null as unknown as Rig, ''];
  const skipped = kind === 'mongodb' && !replicaSet;
  beforeAll(async () => {
    if (skipped) return;
    const rig = rigOf(kind, directory);
    const first = await serve(rig, { isShared: true });
    await begin(first.chat);
    await first.stop();
    older = await rig.copy();
    const next = await serve(rig, { isShared: true });
    for (const [name, value] of first.chat.ids) next.chat.ids.set(name, value);
    await goOn(next.chat);
    await next.stop();
    newest = rig;
    id = String(first.chat.ids.get('first'));
  });

  test.skipIf(skipped)('a store that nobody touched has no faults, and its export verifies', async () => {
    expect(await faultsOf(newest)).toEqual([]);
    expect(await verdictOn(newest, vkeyOf(newest))).toMatch(/^verified: 2 conversations/);
    // Rewriting it as it was changes nothing.
    const copy = await newest.copy();
    await copy.rewrite('first', () => {});
    expect(await faultsOf(copy)).toEqual([]);
  });

  test.skipIf(skipped).each(Object.keys(TAMPERINGS))('%s: found, its place named', async (name) => {
    const { change, fault, verdict } = TAMPERINGS[name] as Tampering;
    const rig = await newest.copy();
    await rig.rewrite('first', change);
    const faults = await faultsOf(rig);
    expect(faults.filter((one) => one.startsWith(`${id}: `)).join('\n')).toMatch(fault);
    expect(faults.filter((one) => !one.startsWith(`${id}: `))).toEqual([]);
    const line = await verdictOn(rig, vkeyOf(rig));
    expect(line.replace(id, 'ID')).toMatch(verdict ?? /^verified: /);
  });

  test.skipIf(skipped)('an older database was put back: found against what was published', async () => {
    expect(await faultsOf(older)).toEqual([
      expect.stringMatching(/^the register: a checkpoint of \d+ leaves was published, and the register has \d+$/),
    ]);
  });

  test.skipIf(skipped)('the register was rewritten, and signed with another key: found', async () => {
    const rig = await newest.copy();
    await rig.rewrite('first', TAMPERINGS['a text was changed']?.change ?? (() => {}));
    await rig.forgetRegister();
    const key = join(directory, `${randomUUID()}.pem`);
    createKey(key);
    const { RECORD_PUBLISH: _, ...unpublished } = rig.environment;
    const forger = await serve({ ...rig, environment: { ...unpublished, RECORD_KEY_FILE: key } });
    await forger.stop();
    // By the key alone, and by what was published alone.
    const byKey = await faultsOf({ environment: unpublished as Record<string, string> });
    expect(byKey).toEqual([expect.stringContaining('the checkpoint: ')]);
    const byPublished = await faultsOf({ environment: { ...rig.environment, RECORD_KEY_FILE: key } });
    expect(byPublished).toContainEqual(expect.stringMatching(/^the register: /));
    expect(await verdictOn(rig, vkeyOf(newest))).toMatch(/^broken: checkpoint.txt: /);
  });

  test.skipIf(skipped)('beside a server that writes meanwhile there are no faults', async () => {
    const rig = rigOf(kind, directory);
    const { chat } = await serve(rig);
    await chat.open('busy', [ANN, BOB, CAT], 'one');
    let [busy, seq] = [true, 1];
    const writing = (async () => {
      for (let round = 0; busy; round++) {
        await chat.say('busy', ANN, ['more', 'and more']);
        seq += 2;
        await Promise.all([
          chat.edit('busy', ANN, seq, `better ${round}`),
          chat.read('busy', BOB, seq),
          chat.read('busy', CAT, seq - 1),
        ]);
        if (round % 3 === 0) await chat.redact('busy', ANN, seq - 1);
        await chat.update('busy', `${ANN}:BANK`, { [round % 2 ? 'removeMembers' : 'addMembers']: [DAN] });
        seq++;
      }
    })();
    const faults: string[] = [];
    for (const end = performance.now() + 4000; performance.now() < end; ) faults.push(...(await faultsOf(rig)));
    busy = false;
    await writing;
    expect(faults).toEqual([]);
    expect(await faultsOf(rig)).toEqual([]);
  });
});
