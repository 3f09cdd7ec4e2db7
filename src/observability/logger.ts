import { once } from 'node:events';
import { constants, fstatSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type DestinationStream, type Logger, pino } from 'pino';
import sonicBoom from 'sonic-boom';

export type { Logger } from 'pino';

/** Largest buffer of lines that wait for stdout, in bytes; lines beyond it are dropped. */
const BUFFERED_BYTES = 8_388_608;
/** Delay between a failed write and the next attempt, in milliseconds. */
const REWRITE_MS = 1000;
/** How long `close` waits for buffered lines, in milliseconds. */
const FLUSH_MS = 500;

/**
 * Structured log lines, one JSON object each, so that no input can begin a line of its own. They never hold
 * message text, credentials or query strings: of an error, only what `describeError` takes.
 */
export function createLogger(level: string, output: DestinationStream): Logger {
  return pino({ level, serializers: { err: describeError } }, output);
}

export interface Output extends DestinationStream {
  /** Writes the buffered lines, for at most `FLUSH_MS`. Later lines are discarded. */
  close(): Promise<void>;
}

/**
 * The standard output as a destination that neither blocks nor fails: lines wait in a bounded buffer while it accepts
 * none (full disk, reader that has stopped). `dropped` is called for each line beyond the buffer.
 */
export function openOutput(dropped: () => void): Output {
  // With `minLength: 0`, flush() does nothing.
  const stdout = new sonicBoom.SonicBoom({ fd: openStdout(), sync: false, maxLength: BUFFERED_BYTES, minLength: 1 });
  let closed = false;
  let retrying = false;
  stdout.on('error', async () => {
    if (retrying) return;
    retrying = true;
    await delay(REWRITE_MS, undefined, { ref: false });
    retrying = false;
    if (!closed) stdout.flush();
  });
  stdout.on('drop', dropped);
  return {
    write(line) {
      if (!closed) stdout.write(line);
    },
    async close() {
      if (closed) return;
      closed = true;
      const written = once(stdout, 'close').catch(() => {});
      stdout.end();
      await Promise.race([written, delay(FLUSH_MS, undefined, { ref: false })]);
    },
  };
}

/** A non-blocking descriptor of the standard output: a blocked write would delay the exit of the process. */
function openStdout(): number {
  if (fstatSync(1).isFile()) return 1;
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    // Pipes and terminals are reopened: the mode of descriptor 1 is shared with other processes.
    return openSync('/dev/stdout', O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    // A socket cannot be opened. Node.js makes it non-blocking for its own stream.
    process.stdout.on('error', () => {});
    return 1;
  }
}

function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack, cause } = error;
  const code = 'code' in error ? { code: error.code } : {};
  return { name, message, ...code, stack, ...(cause !== undefined && { cause: describeError(cause) }) };
}
