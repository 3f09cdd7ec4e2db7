import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach } from 'vitest';

const MAIN = join(import.meta.dirname, '../../dist/main.js');

/** Servers in processes of their own, in an empty folder, killed after each test. */
export function processes() {
  const directory = mkdtempSync(join(tmpdir(), 'kredichat-process-'));
  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill('SIGKILL');
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  function run(environment: Record<string, string>, ...args: string[]): ChildProcess {
    const env = { PATH: process.env.PATH, PORT: '0', LOG_LEVEL: 'silent', RATE_LIMIT_MESSAGES: '0', ...environment };
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
    started.push(child);
    return child;
  }

  return {
    directory,
    run,
    /** Starts the server as an operator would; resolves once it listens. */
    async start(
      environment: Record<string, string> = {},
      ...args: string[]
    ): Promise<{ child: ChildProcess; url: string; ws: string }> {
      const child = run(environment, ...args);
      let output = '';
      for await (const chunk of child.stdout?.iterator({ destroyOnReturn: false }) ?? []) {
        output += chunk;
        const url = /http:\/\/\S+:\d+/.exec(output)?.[0];
        if (!url) continue;
        child.stdout?.resume();
        return { child, url, ws: url.replace('http', 'ws') };
      }
      throw new Error(`the server ended: ${output}`);
    },
    async kill(child: ChildProcess): Promise<void> {
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    },
  };
}
