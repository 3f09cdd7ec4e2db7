/** Time before a command shows its progress, in milliseconds. */
const QUIET_MS = 2000;
/** Interval at which a terminal is updated, and at which a line is written to a file or pipe, in milliseconds. */
const [TERMINAL_MS, LINE_MS] = [200, 10_000];

export interface Progress {
  /** Adds to what is done. */
  add(count: number): void;
  /** Removes the progress from the terminal. */
  end(): void;
}

/** Shows on the standard error how much is done, once that takes more than two seconds. */
export function showProgress(unit: string): Progress {
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
  return {
    add(count) {
      done += count;
    },
    end() {
      clearInterval(timer);
      if (shown > 0 && stderr.isTTY) stderr.write('\r\x1b[K');
    },
  };
}
