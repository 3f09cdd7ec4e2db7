/** Tells its one reader that there is something to look at. Notifications before a wait are remembered as one. */
export interface Signal {
  notify(): void;
  /** Resolves at the next notification or close, at once if there was one since the last wait. */
  wait(): Promise<void>;
  /** Calls back at the next notification or close, within it. Instead of a wait. */
  once(listener: () => void): void;
  /** Ends every wait, now and later. */
  close(): void;
  readonly closed: boolean;
}

export function createSignal(): Signal {
  let notified = false;
  let closed = false;
  let release: (() => void) | null = null;
  const tell = () => {
    const told = release;
    release = null;
    told?.();
  };
  return {
    notify() {
      notified = true;
      tell();
    },
    async wait() {
      if (!notified && !closed) {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
      notified = false;
    },
    once(listener) {
      notified = false;
      release = listener;
    },
    close() {
      closed = true;
      tell();
    },
    get closed() {
      return closed;
    },
  };
}
