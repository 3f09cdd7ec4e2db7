// Builds dist/ from the sources and what codegen.yml generates. Types are checked by `npm test`, not here: a first start
// waits for this.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { build, transformWithOxc } from 'vite';

const root = import.meta.dirname;
/** Written last, so that prestart.js can tell a complete build. */
const STAMP = join(root, 'dist/.built');

/** Removes the types from a file of src/. */
async function compile(name) {
  const source = join(root, 'src', name);
  const target = join(root, 'dist', name.replace(/\.ts$/, '.js'));
  const typescript = { rewriteImportExtensions: true, onlyRemoveTypeImports: true };
  const options = { target: 'es2023', sourcemap: true, typescript };
  const { code, map } = await transformWithOxc(readFileSync(source, 'utf8'), source, options);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, `${code}//# sourceMappingURL=${basename(target)}.map\n`);
  writeFileSync(`${target}.map`, JSON.stringify({ ...map, sources: [relative(dirname(target), source)] }));
}

rmSync(STAMP, { force: true });
// The client with its declarations takes the longest: a process of its own does that meanwhile.
const tsc = spawn(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'web/tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
const [[code]] = await Promise.all([
  once(tsc, 'close'),
  ...readdirSync(join(root, 'src'), { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .map(compile),
  build({ root: join(root, 'web'), logLevel: 'warn' }),
]);
if (code !== 0) process.exit(1);
writeFileSync(STAMP, '');
