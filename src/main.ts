#!/usr/bin/env node
import { hostname, userInfo } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { readConfig, type StoreConfig } from './config.ts';
import { createAudit } from './observability/audit.ts';
import { createLogger } from './observability/logger.ts';
import { version } from './version.ts';

type SqliteConfig = Extract<StoreConfig, { kind: 'sqlite' }>;

function workers(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > 64) throw new InvalidArgumentError('--workers must be 1 to 64.');
  return count;
}

/** The SQLite store that STORE_URL or an option names. @throws Error if the store has no file */
function sqlite(url: string | undefined): SqliteConfig {
  const { store } = readConfig({ STORE_URL: url });
  if (store.kind === 'sqlite' && store.path !== ':memory:') return store;
  const mongo = (tool: string, oplog: string) =>
    `  mongo${tool} --uri="$STORE_URL" ${oplog} --gzip --archive=kredichat.archive`;
  throw new Error(
    store.kind === 'mongodb'
      ? `use MongoDB's own tools:\n${mongo('dump', '--oplog')}\n${mongo('restore', '--oplogReplay')}`
      : 'STORE_URL is memory:, which has no file; it must be sqlite:FILE',
  );
}

function timeZone(name: string): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    throw new InvalidArgumentError('--time-zone must be an IANA name such as Asia/Kolkata.');
  }
}

/** Writes the audit line of a command to the standard error: the user of the operating system runs it. */
function audit(action: string, resource: string): void {
  const { username } = userInfo();
  const actor = { user: username, address: hostname(), transport: 'command' } as const;
  createAudit(createLogger('info', process.stderr))(actor, { action, resource, outcome: 'allowed' });
}

/** A connection string without user and password. */
function withoutPassword(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//');
}

/** Prints the result as JSON, or as text. */
function print(json: boolean | undefined, result: object, text: string): void {
  process.stdout.write(`${json ? JSON.stringify(result) : text}\n`);
}

const program = new Command('kredichat')
  .description('Chat server. It is configured by environment variables: see docs/CONFIGURATION.md.')
  .version(version)
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'kredichat: ')) });

program
  .command('serve', { isDefault: true })
  .description('run the server, as `npm start` does')
  .option('--workers <n>', 'processes that serve the port, 1 to 64; more than one requires MongoDB', workers, 1)
  .action(async (options: { workers: number }) => {
    const { serve } = await import('./commands/serve.ts');
    await serve(readConfig(process.env), options.workers);
  });

program
  .command('backup')
  .description('copy the SQLite store of STORE_URL into a new folder, beside a running server, and check the copy')
  .argument('<folder>')
  .option('--json', 'print the manifest as JSON')
  .action(async (folder: string, { json }: { json?: boolean }) => {
    const { backup } = await import('./commands/backup.ts');
    const manifest = await backup(sqlite(process.env.STORE_URL), folder, version);
    print(json, manifest, `${folder}: ${manifest.conversations} conversations, ${manifest.messages} messages`);
  });

program
  .command('restore')
  .description('copy a backup to a path without a store')
  .argument('<folder>')
  .requiredOption('--to <url>', 'STORE_URL of the new store')
  .option('--json', 'print the manifest as JSON')
  .action(async (folder: string, { to, json }: { to: string; json?: boolean }) => {
    const { restore } = await import('./commands/backup.ts');
    const manifest = await restore(folder, sqlite(to));
    print(json, manifest, `${to}: ${manifest.conversations} conversations, ${manifest.messages} messages`);
  });

program
  .command('check')
  .description('check the SQLite file and the invariants of its log, beside a running server; exit code 1 for faults')
  .option('--json', 'print the result as JSON')
  .action(async ({ json }: { json?: boolean }) => {
    const { checkSqlite } = await import('./store/sqlite/backup.ts');
    const { contents, faults } = checkSqlite(sqlite(process.env.STORE_URL).path);
    print(json, { ...contents, faults }, faults.join('\n') || `${contents.messages} messages: no faults`);
    process.exitCode = faults.length > 0 ? 1 : 0;
  });

program
  .command('import')
  .description('move an older chat in; may be run again, and adds what is new. Exit code 1 if the sums do not add up')
  .requiredOption('--from <url>', 'MongoDB that holds the older chat; it is only read')
  .requiredOption('--database <name>', 'its database')
  .option('--collection <name>', 'its collection', 'conversation')
  .option('--to <url>', 'store to import into (default: STORE_URL)')
  .option('--time-zone <name>', 'IANA name of the zone of times that name none', timeZone, 'UTC')
  .option('--map <file>', 'CSV file with lines NAME,ADDRESS for members and senders that are no addresses')
  .addOption(
    new Option('--long-text <how>', 'texts over 10,000 code points').choices(['refuse', 'split']).default('refuse'),
  )
  .option('--dry-run', 'write nothing, and take the store for empty')
  .option('--report <file>', 'write what is refused and why, one JSON object a line')
  .option('--json', 'print the counts as JSON')
  .action(async ({ to = process.env.STORE_URL, json, ...options }) => {
    const { store } = readConfig({ STORE_URL: to });
    const { runImport } = await import('./commands/import/command.ts');
    audit('import', withoutPassword(`${options.from}/${options.database}.${options.collection}`));
    const result = await runImport(store, options);
    const sum = ({ source, ...parts }: Readonly<Record<string, number>>) =>
      `${source} = ${Object.entries(parts)
        .map(([name, count]) => `${count} ${name}`)
        .join(' + ')}`;
    const sums = `documents: ${sum({ ...result.documents })}\nmessages: ${sum({ ...result.messages })}`;
    print(json, result, result.complete ? sums : `${sums}\nThe source changed meanwhile: import again.`);
    process.exitCode = result.complete ? 0 : 1;
  });

try {
  await program.parseAsync();
} catch (error) {
  // Commander has printed its own messages.
  const own = error as { code?: unknown; exitCode?: number };
  if (String(own.code).startsWith('commander.')) process.exit(own.exitCode === 0 ? 0 : 2);
  const { message, cause } = error instanceof Error ? error : { message: String(error), cause: null };
  process.stderr.write(`kredichat: ${message}${cause instanceof Error ? `: ${cause.message}` : ''}\n`);
  process.exit(1);
}
