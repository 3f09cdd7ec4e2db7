import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach } from 'vitest';

const MAIN = join(import.meta.dirname, '../../dist/main.js');

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves once the server says on its standard output that it listens. */
export async function listening(child: ChildProcess): Promise<{ child: ChildProcess; url: string; ws: string }> {
  let output = '';
  for await (const chunk of child.stdout?.iterator({ destroyOnReturn: false }) ?? []) {
    output += chunk;
    const url = /http:\/\/\S+:\d+/.exec(output)?.[0];
    if (!url) continue;
    child.stdout?.resume();
    return { child, url, ws: url.replace('http', 'ws') };
  }
  throw new Error(`the server ended: ${output}`);
}

/** Servers in processes of their own, in an empty folder, killed after each test. */
export function processes() {
  const directory = mkdtempSync(join(tmpdir(), 'kredichat-process-'));
  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill('SIGKILL');
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  function run(environment: Record<string, string>, ...args: string[]): ChildProcess {
    return runAs([process.execPath, MAIN, ...args], environment);
  }

  /** Runs a command with the environment of a server. */
  function runAs(
    [command = '', ...args]: string[],
    environment: Record<string, string>,
    cwd = directory,
  ): ChildProcess {
    const quick = { PORT: '0', LOG_LEVEL: 'silent', RATE_LIMIT_MESSAGES: '0', DRAIN_SPREAD_SECONDS: '0' };
    const env = { PATH: process.env.PATH, ...quick, ...environment };
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    started.push(child);
    return child;
  }

  /** Runs a command to its end. */
  async function ran(environment: Record<string, string>, ...args: string[]) {
    const child = run(environment, ...args);
    const [out, error] = [child.stdout, child.stderr].map((stream) => (stream ? text(stream) : ''));
    const [code] = (await once(child, 'close')) as [number];
    return { code, out: (await out) ?? '', error: (await error) ?? '' };
  }

  return {
    directory,
    run,
    runAs,
    ran,
    /** Starts the server as an operator would; resolves once it listens. */
    start: (environment: Record<string, string> = {}, ...args: string[]) => listening(run(environment, ...args)),
    async kill(child: ChildProcess): Promise<void> {
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    },
  };
}
