import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'libsql';
import { expect, test } from 'vitest';
import { backup, restore } from '../../src/commands/backup.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { ANN, BOB, writeOf } from '../store/writes.ts';
import { connectGraphql } from '../support/clients.ts';
import { processes } from '../support/process.ts';

const { directory, ran, start } = processes();
const TO = { key: { configId: 'c1', members: ['ann@example.com', 'bob@example.com'] } };
const SEND =
  'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } conversation { id } } }';

/** A file with one conversation, as a server that was stopped leaves it. */
async function storeWith(name: string, messages: number): Promise<string> {
  const store = await openSqlite(join(directory, name));
  expect(await store.write(writeOf('c1', [ANN, BOB], 0, messages))).toBe(true);
  await store.close();
  return `sqlite:${join(directory, name)}`;
}

test('twenty backups during sends: each holds all earlier sends, and its restored copy is equal', async () => {
  const live = join(directory, 'live.db');
  const { ws } = await start({ STORE_URL: `sqlite:${live}` });
  const line = await connectGraphql(ws, ANN);
  let acknowledged = 0;
  let stopped = false;
  let id = '';
  const sending = (async () => {
    while (!stopped) {
      const { data } = await line.run(SEND, { input: { to: TO, text: `text ${acknowledged + 1}` } });
      ({ id } = data.sendMessage.conversation);
      acknowledged = data.sendMessage.message.seq;
    }
  })();
  await expect.poll(() => acknowledged).toBeGreaterThan(0);
  for (let i = 0; i < 20; i++) {
    const before = acknowledged;
    const folder = join(directory, `backup-${i}`);
    const manifest = await backup({ kind: 'sqlite', path: live }, folder, '1.2.3');
    expect(manifest).toMatchObject({ format: 1, program: '1.2.3', conversations: 1 });
    expect(manifest.messages).toBeGreaterThanOrEqual(before);
    expect(readdirSync(folder).sort()).toEqual(['kredichat.db', 'manifest.json']);
    const restored = join(directory, `restored/${i}.db`);
    expect(await restore(folder, { kind: 'sqlite', path: restored })).toEqual(manifest);
    const copy = await openSqlite(restored);
    const messages = await copy.messages(id as never, 1, manifest.messages + 1);
    expect(messages.map(({ text }) => text)).toEqual(
      Array.from({ length: manifest.messages }, (_, seq) => `text ${seq + 1}`),
    );
    await copy.close();
  }
  stopped = true;
  await sending;
});

test('a backup needs an empty folder, and is invalid without its manifest or with a changed byte', async () => {
  const store = await storeWith('one.db', 2);
  const folder = join(directory, 'whole');
  expect(await ran({ STORE_URL: store }, 'backup', folder)).toMatchObject({
    code: 0,
    out: `${folder}: 1 conversations, 2 messages\n`,
  });
  expect(await ran({ STORE_URL: store }, 'backup', folder)).toMatchObject({
    code: 1,
    error: expect.stringContaining(`kredichat: ${folder} is not empty\n`),
  });
  const target = join(directory, 'target/kredichat.db');
  const restored = () => ran({ STORE_URL: '' }, 'restore', folder, '--to', `sqlite:${target}`);
  expect((await restored()).code).toBe(0);
  for (const file of [target, join(folder, 'kredichat.db'), join(folder, 'manifest.json')])
    expect(statSync(file).mode & 0o777, file).toBe(0o600);
  expect(await restored()).toMatchObject({
    code: 1,
    error: expect.stringContaining(`kredichat: ${target} exists already; restore needs a new path\n`),
  });
  rmSync(target);
  appendFileSync(join(folder, 'kredichat.db'), 'x');
  expect(await restored()).toMatchObject({
    code: 1,
    error: expect.stringMatching(/kredichat\.db was altered: its SHA-256 differs from the manifest\n$/),
  });
  rmSync(join(folder, 'manifest.json'));
  expect(await restored()).toMatchObject({ code: 1, error: expect.stringContaining('has no manifest.json') });
  expect(readdirSync(join(directory, 'target'))).toEqual([]);
});

test('a backup of a store that does not exist, has no file or is of MongoDB says what to do', async () => {
  const folder = join(directory, 'none');
  const none = join(directory, 'missing.db');
  expect(await ran({ STORE_URL: `sqlite:${none}` }, 'backup', folder)).toMatchObject({
    code: 1,
    error: expect.stringContaining(`kredichat: ${none} does not exist\n`),
  });
  expect((await ran({ STORE_URL: 'memory:' }, 'backup', folder)).error).toContain('which has no file');
  expect((await ran({ STORE_URL: 'mongodb://127.0.0.1/x?replicaSet=rs' }, 'backup', folder)).error).toContain(
    'mongodump --uri="$MONGODB_URI" --oplog',
  );
  expect(existsSync(folder)).toBe(false);
});

test('check finds violated invariants of the log, beside a running server', async () => {
  const store = await storeWith('checked.db', 3);
  await start({ STORE_URL: store });
  expect(await ran({ STORE_URL: store }, 'check')).toMatchObject({ code: 0, out: '3 messages: no faults\n' });
  for (const [sql, fault] of [
    ['DELETE FROM messages WHERE seq = 2', 'the numbers of the messages have a hole'],
    ['UPDATE messages SET rev = 1', 'two messages have one position'],
    ['UPDATE members SET read_seq = 9', 'a member has read beyond the last message'],
    ['UPDATE conversations SET counted = 1', 'the counter of messages'],
    ['UPDATE members SET sent = 7', 'the counters of a member are wrong'],
  ] as const) {
    const copy = join(directory, `broken-${statSync(directory).size}-${fault.length}.db`);
    const whole = new Database(join(directory, 'checked.db'));
    whole.prepare('VACUUM INTO ?').run(copy);
    whole.close();
    const broken = new Database(copy);
    broken.exec(sql);
    broken.close();
    const { code, out } = await ran({ STORE_URL: `sqlite:${copy}` }, 'check', '--json');
    expect(code, sql).toBe(1);
    expect(JSON.parse(out).faults.join(), sql).toContain(fault);
  }
  const other = join(directory, 'other.db');
  new Database(other).exec('CREATE TABLE other (x)');
  expect(await ran({ STORE_URL: `sqlite:${other}` }, 'check')).toMatchObject({
    code: 1,
    error: expect.stringContaining(`kredichat: ${other} is not a Kredichat store\n`),
  });
  mkdirSync(join(directory, 'text'));
  writeFileSync(join(directory, 'text/file.db'), 'no database, but long enough to be looked at'.repeat(20));
  expect((await ran({ STORE_URL: `sqlite:${join(directory, 'text/file.db')}` }, 'check')).code).toBe(1);
});

test('an unknown command, option or value is a usage error: exit code 2, nothing done', async () => {
  for (const args of [['nope'], ['--nope'], ['--workers', '0'], ['--workers', 'x'], ['backup'], ['restore', 'x']])
    expect((await ran({ STORE_URL: 'memory:' }, ...args)).code, args.join(' ')).toBe(2);
});
