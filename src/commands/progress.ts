/** Time before a command shows its progress, in milliseconds. */
const QUIET_MS = 2000;
/** Interval at which a terminal is updated, and at which a line is written to a file or pipe, in milliseconds. */
const [TERMINAL_MS, LINE_MS] = [200, 10_000];

/**
 * Shows on the standard error how much of a task is done, once that takes more than two seconds. The task calls `add`
 * with what it has done since the last call.
 */
export async function withProgress<T>(unit: string, task: (add: (count: number) => void) => Promise<T>): Promise<T> {
  const { stderr } = process;
  const started = performance.now();
  let done = 0;
  let shown = 0;
  const show = () => {
    const now = performance.now();
    if (now - started < QUIET_MS || now - shown < (stderr.isTTY ? TERMINAL_MS : LINE_MS)) return;
    shown = now;
    const line = `${done} ${unit}, ${Math.round((done / (now - started)) * 1000)} a second`;
    stderr.write(stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
  };
  const timer = setInterval(show, TERMINAL_MS);
  try {
    return await task((count) => {
      done += count;
    });
  } finally {
    clearInterval(timer);
    if (shown > 0 && stderr.isTTY) stderr.write('\r\x1b[K');
  }
}
