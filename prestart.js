// Before `npm start`: builds dist/ if it is missing or older than its sources. Without the development packages, the
// existing build is started. Nothing is written if nothing needs to be built.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const root = import.meta.dirname;
const SOURCES = ['package-lock.json', 'codegen.yml', 'build.js', 'tsconfig.json', 'schema', 'src', 'web'];

/** The last change of a file, or of any below a folder, generated ones apart. */
function changed(path) {
  if (!existsSync(path)) return 0;
  const { mtimeMs } = statSync(path);
  const names = statSync(path).isDirectory() ? readdirSync(path) : [];
  return Math.max(mtimeMs, ...names.filter((name) => name !== 'generated').map((name) => changed(join(path, name))));
}

// The last file that a build writes.
const built = changed(join(root, 'dist/.built'));
const stale = SOURCES.some((source) => changed(join(root, source)) > built);
const canBuild = existsSync(join(root, 'node_modules/.bin/vite'));
if (built === 0 && !canBuild) {
  process.stderr.write(
    'kredichat: dist/ is missing; run npm ci && npm run build, which needs the development packages\n',
  );
  process.exit(1);
}
if (stale && canBuild) {
  process.stdout.write('building dist/\n');
  const { status } = spawnSync('npm', ['run', 'build', '--silent'], { cwd: root, stdio: 'inherit' });
  process.exit(status ?? 1);
}
