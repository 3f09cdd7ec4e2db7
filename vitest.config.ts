import { defineConfig } from 'vitest/config';

const dist = new URL('dist/', import.meta.url).pathname;

/** One by one, when everything else is done: how soon sends work again, and how others fare meanwhile, is measured. */
const ALONE = ['test/faults.test.ts', 'test/hostile.test.ts'];

/** Registers an SDK before the server is loaded: with modules of its own. */
const TRACED = 'test/observability/tracing.test.ts';

/** What a store has no part in: not run again on the other one. */
const STORELESS = [
  'execution/compiler/compiler',
  'execution/fair-scheduler',
  'execution/result-slot',
  'transport/admission/authenticate',
  'transport/admission/remote-address',
  'transport/http/graphiql',
  'transport/http/http',
  'transport/upgrade',
  'transport/websocket/receive-queue',
  'transport/http/http-connection',
].map((name) => `test/${name}.test.ts`);

/** What goes through a server, and so through a store. */
const SERVED = [
  'test/{execution,graphql,transport}/**/*.test.ts',
  'test/chat/conversations*.test.ts',
  'test/chat/log/send.test.ts',
  'test/chat/rules/*.test.ts',
];

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
    // Each server is closed with its test and leaves nothing: modules are loaded once for all files.
    isolate: false,
    // Most of them wait, for timers or for a disk: two at once take little more than one.
    maxWorkers: 2,
    // These end a test that hangs, and measure nothing: on a busy machine everything takes many times as long.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    reporters: ['default', './test/support/summary-reporter.ts'],
    projects: [
      {
        extends: true,
        test: { name: 'main', globalSetup: [], include: ['test/**/*.test.ts'], exclude: [...ALONE, TRACED] },
      },
      { extends: true, test: { name: 'traces', globalSetup: [], isolate: true, include: [TRACED] } },
      {
        extends: true,
        test: { name: 'faults', globalSetup: [], include: ALONE, fileParallelism: false, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: {
          name: 'replica-set',
          globalSetup: [],
          include: SERVED,
          exclude: STORELESS,
          setupFiles: './test/support/needs-mongod.ts',
          env: { TEST_STORE: 'mongodb' },
        },
      },
    ],
  },
});
