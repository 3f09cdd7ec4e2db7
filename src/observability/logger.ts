import { once } from 'node:events';
import { constants, fstatSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type DestinationStream, type Logger, pino } from 'pino';
import sonicBoom from 'sonic-boom';

export type { Logger } from 'pino';

/** Bytes of lines that wait for stdout; lines beyond them are dropped. */
const BUFFERED_BYTES = 8_388_608;
/** From a failed write to the next attempt, in milliseconds. */
const REWRITE_MS = 1000;
/** How long a stop waits for lines that are not written yet, in milliseconds. */
const FLUSH_MS = 500;

/**
 * Structured log lines, one JSON object each, so that no input can begin a line of its own. They never hold
 * message text, credentials or query strings: of an error, only what is listed here.
 */
export function createLogger(level: string, output: DestinationStream): Logger {
  return pino({ level, serializers: { err: describeError } }, output);
}

export interface Output extends DestinationStream {
  /** Writes what waits, for a short time at most. Later lines are discarded. */
  close(): Promise<void>;
}

/**
 * The standard output as a destination that neither blocks nor fails: lines wait in a bounded buffer while it takes
 * none (full disk, reader that does not read), and go on when it does. `dropped` is called for each line beyond it.
 */
export function openOutput(dropped: () => void): Output {
  // With a minimum length of 0 its flush() would do nothing.
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

/** A descriptor of the standard output on which no write waits: a waiting one would hold up the end of the process. */
function openStdout(): number {
  if (fstatSync(1).isFile()) return 1;
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    // Pipes and terminals are opened anew: the mode of descriptor 1 is shared with other processes.
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
