import { defineConfig } from 'vitest/config';

const dist = new URL('dist/', import.meta.url).pathname;

export default defineConfig({
  // Tests run what ships: the compiled files, loaded by Node itself.
  resolve: {
    alias: [
      { find: /^(?:\.\.\/)+src\/(.+)\.ts$/, replacement: `${dist}$1.js` },
      // graphql refuses to be loaded twice, and Vite would take its other half.
      { find: /^graphql$/, replacement: 'graphql/index.js' },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: './test/support/mongod.ts',
    server: { deps: { external: [new RegExp(`^${dist}`)] } },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/support/closing-line.ts'],
  },
});
