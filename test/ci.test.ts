import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

/** Runs `.ci/run` with an `npm` that passes the tests, and ends the audit with this output and exit code. */
function runCi(audit: string, exitCode: number): { status: number | null; lastLine: string | undefined } {
  const bin = mkdtempSync(join(tmpdir(), 'kredichat-ci-'));
  onTestFinished(() => rmSync(bin, { recursive: true }));
  const script = `case $1 in
    audit) echo '${audit}'; exit ${exitCode};;
    test) echo '9 passed, 0 failed, 0 skipped';;
  esac`;
  writeFileSync(join(bin, 'npm'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, CHROMIUM: process.execPath };
  const { status, stdout } = spawnSync(join(import.meta.dirname, '../.ci/run'), { env, encoding: 'utf8' });
  return { status, lastLine: stdout.trim().split('\n').at(-1) };
}

test.each([
  ['nothing', '{ "vulnerabilities": {} }', 0, 0, /^9 passed/],
  ['a weakness', '{ "vulnerabilities": { "x": {} } }', 1, 1, /known weaknesses/],
  ['no list', '{ "message": "405 Method Not Allowed - POST https://registry.example" }', 1, 0, /NOT CHECKED/],
  ['no answer', '{ "message": "request to https://registry.example failed" }', 1, 1, /or failed/],
])('where npm audit finds %s', (_, audit, exitCode, status, lastLine) => {
  expect(runCi(audit, exitCode)).toEqual({ status, lastLine: expect.stringMatching(lastLine) });
});
