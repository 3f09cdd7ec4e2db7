import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

const OUT = new URL('../dist/web/', import.meta.url).pathname;

/** Writes compressed variants beside the files, so that the server never compresses them. */
const compressed: Plugin = {
  name: 'compressed',
  closeBundle() {
    for (const name of readdirSync(join(OUT, 'assets'))) {
      const file = join(OUT, 'assets', name);
      const content = readFileSync(file);
      writeFileSync(`${file}.br`, brotliCompressSync(content));
      writeFileSync(`${file}.gz`, gzipSync(content, { level: 9 }));
    }
  },
};

export default defineConfig({
  // Relative, so that the page works under any path of a proxy.
  base: './',
  plugins: [compressed],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    // Every asset is a separate file: the content security policy allows nothing inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { pluginTimings: false } },
  },
});
