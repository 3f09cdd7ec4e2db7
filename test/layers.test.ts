import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';

const SRC = join(import.meta.dirname, '../src');

/** From top to bottom; a file may import from its own layer and from those below, no other way. */
const LAYERS = [
  /^main\.ts$/,
  /^commands\//,
  /^(server|cluster)\.ts$/,
  /^transport\//,
  /^execution\//,
  /^graphql\//,
  /^chat\//,
  /^config\.ts$/,
  /^record\//,
  /^store\/(sqlite|mongo)\//,
  /^store\/[^/]+\.ts$/,
  /^observability\//,
  /^(model|version)\.ts$/,
];
const layer = (file: string) => LAYERS.findIndex((pattern) => pattern.test(file));

const imports = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.includes('generated'))
  .flatMap((file) =>
    [...readFileSync(join(SRC, file), 'utf8').matchAll(/(?:from |import\()'(\.[^']+)'/g)].map(([, path = '']) => ({
      from: file,
      to: normalize(join(dirname(file), path)),
    })),
  );

test('imports go downward only', () => {
  expect(imports.length).toBeGreaterThan(50);
  for (const { from, to } of imports) {
    expect(layer(from), from).toBeGreaterThanOrEqual(0);
    if (!to.includes('generated')) expect(layer(to), `${from} imports ${to}`).toBeGreaterThanOrEqual(layer(from));
  }
});

test('only the entry and its commands name an adapter or read the environment', () => {
  const adapter = (file: string) => /^store\/(sqlite|mongo)\//.exec(file)?.[1];
  const namers = imports.filter(({ from, to }) => adapter(to) && adapter(from) !== adapter(to));
  expect(namers.map(({ from, to }) => `${from} ${to}`).sort()).toEqual([
    'commands/backup.ts store/sqlite/backup.ts',
    'commands/open-store.ts store/mongo/mongo.ts',
    'commands/open-store.ts store/sqlite/sqlite.ts',
    'main.ts store/sqlite/backup.ts',
  ]);
  const readers = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && readFileSync(join(SRC, file), 'utf8').includes('process.env'),
  );
  expect(readers.sort()).toEqual(['commands/serve.ts', 'main.ts']);
});
