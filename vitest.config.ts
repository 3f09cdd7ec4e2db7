import { defineConfig } from 'vitest/config';

const dist = new URL('dist/', import.meta.url).pathname;

/** One by one, when everything else is done: how soon sends work again, and how others fare meanwhile, is measured. */
const ALONE = ['test/faults.test.ts', 'test/hostile.test.ts'];

/** What a store has no part in: not run again on the other one. */
const STORELESS = [
  'admission',
  'audit',
  'connections',
  'fair-scheduler',
  'hold',
  'http',
  'identity',
  'inbox',
  'peer',
].map((name) => `test/transport/${name}.test.ts`);

export default defineConfig({
  // Tests run what ships: the compiled files, loaded by Node itself.
  resolve: {
    alias: [
      { find: /^(?:\.\.\/)+src\/(.+)\.ts$/, replacement: `${dist}$1.js` },
      { find: /^(?:\.\.\/)+web\/client\/(.+)\.ts$/, replacement: `${dist}client/$1.js` },
      // graphql refuses to be loaded twice, and Vite would take its other half.
      { find: /^graphql$/, replacement: 'graphql/index.js' },
    ],
  },
  test: {
    globalSetup: './test/support/mongod.ts',
    server: { deps: { external: [new RegExp(`^${dist}`)] } },
    // Most of them wait, for timers or for a disk: two at once take little more than one.
    maxWorkers: 2,
    // These end a test that hangs, and measure nothing: on a busy machine everything takes many times as long.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    reporters: ['default', './test/support/closing-line.ts'],
    projects: [
      {
        extends: true,
        test: { name: 'main', globalSetup: [], include: ['test/**/*.test.ts'], exclude: ALONE },
      },
      {
        extends: true,
        test: { name: 'faults', globalSetup: [], include: ALONE, fileParallelism: false, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: {
          name: 'replica-set',
          globalSetup: [],
          // Each server is closed with its test, and leaves nothing: modules are loaded once for all files.
          isolate: false,
          include: ['test/transport/*.test.ts', 'test/operations/*.test.ts'],
          exclude: STORELESS,
          setupFiles: './test/support/needs-mongod.ts',
          env: { TEST_STORE: 'mongodb' },
        },
      },
    ],
  },
});
