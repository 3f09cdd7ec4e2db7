import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buildSchema, lexicographicSortSchema, printSchema } from 'graphql';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createSchema } from '../src/graphql/schema.ts';
import { listening, processes } from './support/process.ts';

const ROOT = join(import.meta.dirname, '..');
const root = mkdtempSync(join(tmpdir(), 'kredichat-package-'));
/** The package as `npm pack` makes it, in a folder of its own with the packages that production needs. */
const installed = join(root, 'consumer/node_modules/kredichat');
const modules = join(root, 'consumer/node_modules');
afterAll(() => rmSync(root, { recursive: true }));

// Each starts npm, or a compiler.
vi.setConfig({ testTimeout: 180_000 });

const { runAs } = processes();
const start = (environment: Record<string, string> = {}) =>
  runAs(['npm', 'start'], { STORE_URL: 'memory:', LOG_LEVEL: 'info', ...environment }, installed);

/** Everything a process writes from now on, when it has ended. */
async function ended(child: ChildProcess): Promise<{ code: number | null; output: string }> {
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => {
      output += chunk;
    });
  const [code] = await once(child, 'close');
  return { code, output };
}

beforeAll(() => {
  // Without its scripts: dist/ is built already.
  execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', root], { cwd: ROOT });
  const [archive = ''] = readdirSync(root).filter((name) => name.endsWith('.tgz'));
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(root, archive), '-C', installed, '--strip-components', '1']);
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  for (const name of Object.keys(dependencies)) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
});

describe('the package', () => {
  test('gives the client, with its types', () => {
    const consumer = join(root, 'consumer');
    writeFileSync(
      join(consumer, 'main.ts'),
      `import { createClient, type Client } from 'kredichat/client';
       const webSocketImpl = class {} as unknown as typeof WebSocket;
       const url = 'http://127.0.0.1:1/graphql';
       const client: Client = createClient({ url, token: () => 'ann@example.com', webSocketImpl });
       // @ts-expect-error: there is no such option.
       export const wrong = () => createClient({ url: 1 });
       console.log(client.status.get().state);
       client.close();`,
    );
    writeFileSync(join(consumer, 'package.json'), '{ "type": "module" }');
    const options = [
      '--module',
      'nodenext',
      '--strict',
      '--target',
      'es2023',
      '--lib',
      'es2023,dom',
      '--noEmitOnError',
    ];
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...options, 'main.ts'], {
      cwd: consumer,
    });
    const state = execFileSync(process.execPath, ['main.js'], { cwd: consumer, encoding: 'utf8' });
    expect(state).toMatch(/^\w+\n$/);
  });

  test('gives the schema as one file', () => {
    const file = createRequire(join(root, 'consumer/main.js')).resolve('kredichat/schema.graphql');
    const given = buildSchema(readFileSync(file, 'utf8'));
    expect(printSchema(lexicographicSortSchema(given))).toBe(printSchema(lexicographicSortSchema(createSchema())));
  });

  test('gives the program', async () => {
    const program = join(installed, 'dist/main.js');
    // As npm does with the files that `bin` names.
    chmodSync(program, 0o755);
    mkdirSync(join(modules, '.bin'));
    symlinkSync(program, join(modules, '.bin/kredichat'));
    const consumer = join(root, 'consumer');
    const npx = (...args: string[]) => ['npx', '--no-install', 'kredichat', ...args];
    expect(await ended(runAs(npx('--version'), {}, consumer))).toEqual({ code: 0, output: '0.1.0\n' });
    // Without npx, which does not forward signals.
    const server = [join(modules, '.bin/kredichat'), 'serve'];
    const { child, url } = await listening(runAs(server, { STORE_URL: 'memory:' }, consumer));
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    const end = ended(child);
    child.kill();
    expect((await end).code).toBe(0);
  });

  test('gives what the README says for another project', async () => {
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
    const chapter = readme.slice(readme.indexOf('### In another project'), readme.indexOf('## Endpoints'));
    const archive = readdirSync(root).find((name) => name.endsWith('.tgz'));
    expect(chapter).toContain(`npm install ../kredichat/${archive}\nnpx kredichat serve\n`);

    const consumer = join(root, 'consumer');
    const [, yaml = ''] = /```yaml\n(.*?)```/s.exec(chapter) ?? [];
    writeFileSync(join(consumer, 'codegen.yml'), yaml);
    mkdirSync(join(consumer, 'src'));
    const operation = 'query Inbox { chatList { nodes { configId } } }';
    writeFileSync(join(consumer, 'src/inbox.ts'), `export const Inbox = graphql(\`${operation}\`);`);
    mkdirSync(join(modules, '@graphql-codegen'));
    const preset = '@graphql-codegen/client-preset';
    symlinkSync(join(ROOT, 'node_modules', preset), join(modules, preset));
    const generator = join(ROOT, 'node_modules/.bin/graphql-codegen');
    execFileSync(process.execPath, [generator, '--silent'], { cwd: consumer });
    expect(readFileSync(join(consumer, 'src/generated/graphql.ts'), 'utf8')).toContain('export type InboxQuery =');

    const { url } = await listening(start());
    const [, program = ''] = /```js\n(.*?)```/s.exec(readme) ?? [];
    writeFileSync(join(consumer, 'hello.mjs'), program.replace('http://127.0.0.1:4000', url));
    const { stdout } = runAs([process.execPath, 'hello.mjs'], {}, consumer);
    let output = '';
    for await (const chunk of stdout ?? []) {
      output += chunk;
      if (output.includes('Hello from a program')) break;
    }
    expect(output).toMatch(/^Hello from a program$/m);
  });

  test('holds its license, no sources and no state of the build', () => {
    const files = readdirSync(installed, { recursive: true, encoding: 'utf8' });
    expect(files.filter((file) => /\.(tsbuildinfo|map|tsx|test\.ts)$|^src|^test/.test(file))).toEqual([]);
    for (const file of ['LICENSE', 'docs/OPERATIONS.md', 'deploy/alerts.yaml']) expect(files).toContain(file);
  });
});

describe('npm start without the development packages', () => {
  const files = () => readdirSync(installed, { recursive: true, encoding: 'utf8' }).sort();

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'serves, writes no file, and at %s drains before npm ends with 0',
    async (signal) => {
      const before = files();
      const { child, url } = await listening(start());
      for (const path of ['/readyz', '/', '/docs/OPERATIONS.md']) expect((await fetch(url + path)).status).toBe(200);
      const html = await (await fetch(`${url}/graphql`, { headers: { accept: 'text/html' } })).text();
      expect(html).toContain('kredichatFetcher');
      const end = ended(child);
      child.kill(signal);
      expect((await end).code).toBe(0);
      expect((await end).output).toContain('draining');
      await expect(fetch(`${url}/healthz`)).rejects.toThrow();
      expect(files()).toEqual(before);
    },
  );

  test.each(['SIGHUP', 'SIGKILL'] as const)('drains when npm ends by %s', async (signal) => {
    const { child, url } = await listening(start());
    // The pipe closes when both npm and the server have ended.
    const end = ended(child);
    child.kill(signal);
    expect((await end).output).toContain('draining');
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });

  test('names what is missing if nothing is built', async () => {
    const bare = join(root, 'bare');
    mkdirSync(bare);
    for (const name of ['package.json', 'prestart.js']) copyFileSync(join(installed, name), join(bare, name));
    const { code, output } = await ended(runAs(['npm', 'start'], {}, bare));
    expect(code).toBe(1);
    expect(output).toMatch(/^kredichat: dist\/ is missing; .*npm run build/m);
  });
});

test('a start builds only what is missing or older than its sources', () => {
  const tree = join(root, 'tree');
  for (const folder of ['node_modules/.bin', 'src/generated', 'dist'])
    mkdirSync(join(tree, folder), { recursive: true });
  copyFileSync(join(ROOT, 'prestart.js'), join(tree, 'prestart.js'));
  writeFileSync(join(tree, 'node_modules/.bin/vite'), '');
  writeFileSync(join(tree, 'src/a.ts'), '');
  const build = `node -e "fs.writeFileSync('dist/.built', ''); fs.appendFileSync('builds', '1')"`;
  writeFileSync(join(tree, 'package.json'), JSON.stringify({ type: 'module', scripts: { build } }));
  let said = '';
  const builds = () => {
    said = execFileSync(process.execPath, ['prestart.js'], { cwd: tree, encoding: 'utf8' });
    return existsSync(join(tree, 'builds')) ? readFileSync(join(tree, 'builds'), 'utf8').length : 0;
  };
  expect(builds()).toBe(1);
  expect(said).toMatch(/^building dist/);
  expect(builds()).toBe(1);
  expect(said).toBe('');
  const later = Date.now() / 1000 + 10;
  utimesSync(join(tree, 'src/generated'), later, later);
  expect(builds()).toBe(1);
  utimesSync(join(tree, 'src/a.ts'), later, later);
  expect(builds()).toBe(2);
});
