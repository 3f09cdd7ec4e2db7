import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const files = execFileSync('find', ['.ci', 'bench', 'docs', 'examples', 'schema', 'src', 'test', 'web', '-type', 'f'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .trimEnd()
  .split('\n')
  .filter((file) => !file.includes('generated') && existsSync(join(ROOT, file)));
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const code = files.filter((file) => /\.(ts|tsx|css|js)$/.test(file));

/** Lines of a file that match, as FILE:LINE. */
const linesOf = (file: string, isFound: (line: string) => boolean) =>
  read(file)
    .split('\n')
    .flatMap((line, index) => (isFound(line) ? `${file}:${index + 1}` : []));

test('comments name their subject: not "who", "whoever", "somebody" or "nobody"', () => {
  const comment = /^\s*(?:\/\*\*?|\*|\/\/)\s.*|\s\/\/\s.*/;
  const vague = /\b(?:who|whom|whose|whoever|somebody|someone|nobody|anybody|everybody)\b/i;
  expect(code.length).toBeGreaterThan(200);
  expect(code.flatMap((file) => linesOf(file, (line) => vague.test(comment.exec(line)?.[0] ?? '')))).toEqual([]);
});

/** Exempt from the width: a character class of a regular expression literal cannot be broken. */
const WIDE = ['src/store/tokenizer.ts'];

test('lines fit 120 columns', () => {
  const fits = (line: string) => [...line].length <= 120;
  expect(
    [...code, ...files.filter((file) => file.endsWith('.graphql'))]
      .filter((file) => !WIDE.includes(file))
      .flatMap((file) => linesOf(file, (line) => !fits(line))),
  ).toEqual([]);
});

test('a source file has at most 300 lines, and a folder at most 12 files', () => {
  const sources = files.filter((file) => /^(src|web)\/.*\.tsx?$/.test(file));
  expect(sources.filter((file) => read(file).split('\n').length > 301)).toEqual([]);
  const crowded = (folder: string) => sources.filter((file) => dirname(file) === folder).length > 12;
  expect([...new Set(sources.map(dirname))].filter(crowded)).toEqual([]);
});

test('the documents name files that exist', () => {
  const documents = [...files.filter((file) => file.endsWith('.md')), 'README.md', 'CONTRIBUTING.md'];
  for (const document of documents)
    for (const [, path = ''] of read(document).matchAll(/`((?:src|test|web|schema|bench|docs)\/[\w./-]*\w)\/?`/g))
      expect(existsSync(join(ROOT, path)), `${document}: ${path}`).toBe(true);
});

test('the changelog begins with the version of the package', () => {
  const { version } = JSON.parse(read('package.json'));
  expect(/^## \[(.+?)\]/m.exec(read('CHANGELOG.md'))?.[1]).toBe(version);
});
