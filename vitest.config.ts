import { defineConfig } from 'vitest/config';

export default defineConfig({
  // graphql refuses to be loaded twice; Vite would take its ES modules where Node takes the CommonJS ones.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // The store's writer thread is loaded by Node itself, which needs help with TypeScript.
    execArgv: ['--import', 'tsx'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/support/closing-line.ts'],
  },
});
