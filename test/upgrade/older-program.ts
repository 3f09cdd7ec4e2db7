import { execFileSync, execSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
/** The last commit before heartbeats and the origin of messages. */
const OLDER = '4f29f96eb2bd703cc871f6a37d3201a75492c134';

/** Builds the older program in a temporary folder. Packages that this checkout has as well are hard links to them. */
export function buildOlderProgram(): { readonly folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'kredichat-older-'));
  const run = (command: string, ...args: string[]) => execFileSync(command, args, { cwd: folder, stdio: 'inherit' });
  execSync(`git archive ${OLDER} | tar -x -C ${folder}`, { cwd: ROOT });
  const [older, present] = [folder, ROOT].map((path) => {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
    return { ...dependencies, ...devDependencies } as Record<string, string>;
  });
  if (Object.entries(older ?? {}).every(([name, range]) => present?.[name] === range)) {
    run('cp', '-al', join(ROOT, 'node_modules'), 'node_modules');
    run('rm', '-rf', 'node_modules/.cache');
  } else run('npm', 'ci', '--no-audit', '--no-fund');
  run('npm', 'run', 'build', '--silent');
  return { folder, remove: () => rmSync(folder, { recursive: true }) };
}
