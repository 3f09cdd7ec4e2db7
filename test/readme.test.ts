import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startServer } from './support/server.ts';

const PROJECT = join(import.meta.dirname, '..');
const README = readFileSync(join(PROJECT, 'README.md'), 'utf8');

/** The snippets of the chapter for newcomers, as printed, by the heading they are under. */
const snippets = new Map(
  README.slice(README.indexOf('## A first conversation'), README.indexOf('## Endpoints'))
    .split(/^### /m)
    .flatMap((section) => {
      const heading = section.slice(0, section.indexOf('\n'));
      return [...section.matchAll(/^```(sh|js)\n(.*?)^```$/gms)].map(
        ([, language, code = '']) => [heading, { language, code }] as const,
      );
    }),
);

/** Runs a snippet in a checkout, against another port than the one it names, until its output is as expected. */
async function run(heading: string, url: string, expected: RegExp): Promise<void> {
  const { language, code = '' } = snippets.get(heading) ?? {};
  const source = code.replaceAll('127.0.0.1:4000', new URL(url).host);
  expect(source).not.toBe(code);
  const child =
    language === 'sh'
      ? spawn('bash', ['-c', source], { cwd: PROJECT })
      : spawn(process.execPath, ['--input-type=module', '-e', source], { cwd: PROJECT });
  onTestFinished(() => void child.kill());
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      output += data;
      if (expected.test(output)) child.kill();
    });
  }
  await once(child, 'close');
  expect(output).toMatch(expected);
}

test('the snippets of the README do what it says, in its order', async () => {
  // The package test runs those for another project.
  const all = ['With curl', 'With the older frames', 'From a program', 'In another project'];
  expect([...snippets.keys()]).toEqual(all);
  const { url } = await startServer();
  await run('With curl', url, /"seq":1\b.*"unreadTotal":1,.*"text":"Hello Bob"/s);
  await run('With the older frames', url, /Hello again.*Hello Bob.*CHAT_LIST/s);
  await run('From a program', url, /^Hello from a program$/m);
});

test.each(['inbox/links.tsx', 'index.html'])(
  'the page links to every document that the server has: %s',
  async (file) => {
    const { url } = await startServer();
    const links = readFileSync(join(PROJECT, 'web', file), 'utf8');
    const paths = ['README.md', ...readdirSync(join(PROJECT, 'docs'))].map((name) => `/docs/${name}`);
    const served = await Promise.all(paths.map(async (path) => (await fetch(url + path)).status === 200));
    const linked = [...links.matchAll(/href="\.(\/docs\/[^"]+)"/g)].map(([, path]) => path);
    expect(linked.sort()).toEqual(paths.filter((_, i) => served[i]).sort());
  },
);
