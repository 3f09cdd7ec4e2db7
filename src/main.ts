#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';
import { Command, InvalidArgumentError, Option } from 'commander';
import { audit } from './commands/audit.ts';
import type { Scope } from './commands/export/files.ts';
import { withProgress } from './commands/progress.ts';
import { type Config, readConfig, type StoreConfig } from './config.ts';
import { version } from './version.ts';

type SqliteConfig = Extract<StoreConfig, { kind: 'sqlite' }>;

function workers(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > 64) throw new InvalidArgumentError('--workers must be 1 to 64.');
  return count;
}

/** The store that STORE_URL or an option names. @throws Error if it is in memory */
function stored(url: string | undefined): StoreConfig {
  const { store } = readConfig({ STORE_URL: url });
  if (store.kind === 'sqlite' && store.path === ':memory:')
    throw new Error('STORE_URL is memory:, which has no file; it must be sqlite:FILE or mongodb://…');
  return store;
}

/** The configuration, of a store that is not in memory. */
function storedConfig(url = process.env.STORE_URL): Config {
  return { ...readConfig({ ...process.env, STORE_URL: url }), store: stored(url) };
}

/** The SQLite store that STORE_URL or an option names. @throws Error if the store has no file */
function sqlite(url: string | undefined): SqliteConfig {
  const store = stored(url);
  if (store.kind === 'sqlite') return store;
  const mongo = (tool: string, oplog: string) =>
    `  mongo${tool} --uri="$MONGODB_URI" ${oplog} --gzip --archive=kredichat.archive`;
  const use = "use MongoDB's own tools; MONGODB_URI is STORE_URL without the database in its path";
  throw new Error(`${use}:\n${mongo('dump', '--oplog')}\n${mongo('restore', '--oplogReplay')}`);
}

function scopeOf(options: { all?: boolean; conversation?: string; config?: string }): Scope | null {
  const { all, conversation, config } = options;
  if (all) return { kind: 'all', value: null };
  if (conversation !== undefined) return { kind: 'conversation', value: conversation };
  return config === undefined ? null : { kind: 'config', value: config };
}

function timeZone(name: string): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    throw new InvalidArgumentError('--time-zone must be an IANA name such as Asia/Kolkata.');
  }
}

/** The values of an option that may be repeated. */
const repeated = (value: string, before: string[] = []): string[] => [...before, value];

/** Prints the result as JSON, or as text. */
function print(json: boolean | undefined, result: object, text: string): void {
  process.stdout.write(`${json ? JSON.stringify(result) : text}\n`);
}

/** A count and its parts: `3 = 2 imported + 1 present`. */
function sum({ source, ...parts }: Readonly<Record<string, number>>): string {
  return `${source} = ${Object.entries(parts)
    .map(([name, count]) => `${count} ${name}`)
    .join(' + ')}`;
}

const program = new Command('kredichat')
  .description('Chat server. It is configured by environment variables: see docs/CONFIGURATION.md.')
  .version(version)
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'kredichat: ')) })
  .hook('preAction', (_, command) => {
    if (command.name() === 'serve') return;
    // V8 collects garbage late otherwise: a command takes less than 200 MB, also for a source document of 16 MB.
    setFlagsFromString('--optimize-for-size');
    // Backups, exports and reports hold what members wrote: they are for the user that runs the command alone.
    process.umask(0o077);
    const { STORE_URL } = process.env;
    const resource = [...(STORE_URL ? [`STORE_URL=${STORE_URL}`] : []), ...process.argv.slice(3)].join(' ');
    audit(command.name(), resource);
  });

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
  .description('check every log, the record and a SQLite file, beside a running server; exit code 1 for faults')
  .option('--json', 'print the result as JSON')
  .action(async ({ json }: { json?: boolean }) => {
    const config = storedConfig();
    const { check } = await import('./commands/check.ts');
    const result = await withProgress('messages', (add) => check(config, add));
    print(json, result, result.faults.join('\n') || `${result.messages} messages: no faults`);
    process.exitCode = result.faults.length > 0 ? 1 : 0;
  });

program
  .command('export')
  .description('write conversations with their record into a new folder, beside a running server')
  .addOption(new Option('--all', 'all conversations').conflicts(['conversation', 'config']))
  .addOption(new Option('--conversation <id>', 'one conversation').conflicts(['config']))
  .option('--config <id>', 'all conversations about a configuration')
  .requiredOption('--to <folder>', 'new or empty folder')
  .option('--from <url>', 'store to export (default: STORE_URL)')
  .option('--json', 'print the manifest as JSON')
  .action(async ({ from, to, json, ...which }, command: Command) => {
    const scope =
      scopeOf(which) ?? command.error('error: `export` needs --all, --conversation or --config', { exitCode: 2 });
    const config = storedConfig(from);
    const [{ exportStore }, { readStore }, { recordKeys }] = await Promise.all([
      import('./commands/export/export.ts'),
      import('./commands/open-store.ts'),
      import('./commands/record-keys.ts'),
    ]);
    const options = { scope, folder: to, program: version, keys: recordKeys(config, 'skip') };
    const manifest = await withProgress('messages', (add) =>
      readStore(config.store, (reads) => exportStore(reads, options, add)),
    );
    print(json, manifest, `${to}: ${manifest.conversations} conversations, ${manifest.messages} messages`);
  });

program
  .command('verify')
  .description('check an export offline: docs/RECORD.md. Exit code 0: verified, 1: broken, 2: verified but incomplete')
  .argument('<folder>')
  .option('--key <vkey>', 'verifier key, from where the operator cannot change it; may be repeated', repeated)
  .option('--json', 'print the result as JSON')
  .action(async (folder: string, { key, json }: { key?: string[]; json?: boolean }) => {
    const { verdictLine, verifyExport } = await import('./commands/verify/verify.ts');
    const verdict = await withProgress('entries', (add) => verifyExport(folder, key ?? null, add));
    print(json, { ...verdict, keys: key ? 'given' : 'export' }, verdictLine(verdict, key !== undefined));
    process.exitCode = { verified: 0, broken: 1, incomplete: 2 }[verdict.result];
  });

program
  .command('import')
  .description(
    'move an older chat (--from, --database) or an export (--from-export) in; may be run again, and adds what is ' +
      'missing. Exit code 1 if the sums do not add up',
  )
  .option('--from <url>', 'MongoDB that holds the older chat; it is only read')
  .option('--database <name>', 'its database')
  .option('--collection <name>', 'its collection', 'conversation')
  .option('--to <url>', 'store to import into (default: STORE_URL)')
  .option('--time-zone <name>', 'IANA name of the zone of times that name none', timeZone, 'UTC')
  .option('--map <file>', 'CSV file with lines NAME,ADDRESS for members and senders that are no addresses')
  .addOption(
    new Option('--long-text <how>', 'texts over 10,000 code points').choices(['refuse', 'split']).default('refuse'),
  )
  .option('--dry-run', 'write nothing, and take the store for empty')
  .option('--report <file>', 'write what is refused and why, one JSON object a line')
  .addOption(
    new Option('--from-export <folder>', 'folder of `export --all`; goes with --to and --json alone').conflicts([
      'from',
      'database',
      'collection',
      'timeZone',
      'map',
      'longText',
      'dryRun',
      'report',
    ]),
  )
  .option('--json', 'print the counts as JSON')
  .action(async ({ to = process.env.STORE_URL, json, fromExport, ...options }, command: Command) => {
    const { from, database } = options;
    if (!fromExport && !(from && database))
      command.error('error: `import` needs --from and --database, or --from-export', { exitCode: 2 });
    if (fromExport) {
      const store = stored(to);
      const [{ importExport }, { openStore }] = await Promise.all([
        import('./commands/export/from-export.ts'),
        import('./commands/open-store.ts'),
      ]);
      const result = await withProgress('messages', (add) => importExport(fromExport, () => openStore(store), add));
      const { conversations, messages, complete } = result;
      print(json, result, `conversations: ${sum({ ...conversations })}\nmessages: ${sum({ ...messages })}`);
      process.exitCode = complete ? 0 : 1;
      return;
    }
    const { runImport } = await import('./commands/import/command.ts');
    const result = await runImport(options.dryRun ? readConfig({ STORE_URL: to }).store : stored(to), options);
    const sums = `documents: ${sum({ ...result.documents })}\nmessages: ${sum({ ...result.messages })}`;
    print(json, result, result.complete ? sums : `${sums}\nThe source changed meanwhile: import again.`);
    process.exitCode = result.complete ? 0 : 1;
  });

const record = program.command('record').description('the record: see docs/RECORD.md');

record
  .command('keys')
  .description('print the verifier keys of the keys that sign')
  .action(async () => {
    const { verifierKeys } = await import('./commands/record.ts');
    process.stdout.write(
      verifierKeys(storedConfig())
        .map((key) => `${key}\n`)
        .join(''),
    );
  });

record
  .command('fork')
  .description('let the register go on beside a published checkpoint, as after the restore of a backup')
  .requiredOption('--reason <text>', 'the reason, which the register keeps')
  .action(async ({ reason }: { reason: string }) => {
    const { fork } = await import('./commands/record.ts');
    const index = await fork(storedConfig(), reason);
    process.stdout.write(`leaf ${index} of the register says so\n`);
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
