import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { startServer } from './support/server.ts';

const PROJECT = join(import.meta.dirname, '..');
const TSX = join(PROJECT, 'node_modules/tsx/dist/cli.mjs');

test('the example of the client preset says something, and prints the inbox', async () => {
  const { url } = await startServer();
  const example = [TSX, 'examples/client-preset/main.ts', url, 'ann@example.com', 'bob@example.com', 'Hello Bob'];
  const { stdout } = await promisify(execFile)(process.execPath, example, { cwd: PROJECT });
  expect(stdout).toMatch(
    /^Stored as number 1 at \S+Z\.\ninvoice-programme-1 \(0 unread\): ann@example\.com: Hello Bob\n$/,
  );
});

test('the example of the client is what CLIENT.md shows, and runs', async () => {
  const code = readFileSync(join(PROJECT, 'examples/chat.ts'), 'utf8');
  expect(readFileSync(join(PROJECT, 'docs/CLIENT.md'), 'utf8')).toContain(`\`\`\`ts\n${code}\`\`\`\n`);
  const { url } = await startServer();
  const child = spawn(process.execPath, [TSX, 'examples/chat.ts', url], { cwd: PROJECT });
  let output = '';
  for await (const chunk of child.stdout) {
    output += chunk;
    if (output.includes('1 ann@example.com Hello')) break;
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(output).toContain('connection: online');
  expect(output).toContain('queued Hello');
});

test('the example of traces prints the spans of a server', async () => {
  const run = [TSX, '--import', './examples/tracing.ts', 'dist/main.js'];
  const env = { ...process.env, PORT: '0', STORE_URL: 'memory:' };
  const child = spawn(process.execPath, run, { cwd: PROJECT, env });
  let output = '';
  for await (const chunk of child.stdout) {
    output += chunk;
    const [, url] = /listens on (\S+)/.exec(output) ?? [];
    if (url && !output.includes('query viewer')) await fetch(`${url}/graphql?query={viewer{email}}`);
    if (output.includes("name: 'query viewer'")) break;
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(output).toContain("name: 'query viewer'");
});
