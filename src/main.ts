#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { readConfig, type StoreConfig } from './config.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

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

try {
  await program.parseAsync();
} catch (error) {
  // Commander has printed its own messages.
  const own = error as { code?: string; exitCode?: number; message: string };
  if (own.code?.startsWith('commander.')) process.exit(own.exitCode === 0 ? 0 : 2);
  process.stderr.write(`kredichat: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
