/** Tells its one reader that there is something to look at. Notifications before a wait are remembered as one. */
export interface Signal {
  notify(): void;
  /** Resolves at the next notification or close, at once if there was one since the last wait. */
  wait(): Promise<void>;
  /** Ends every wait, now and later. */
  close(): void;
  readonly closed: boolean;
}

export function createSignal(): Signal {
  let notified = false;
  let closed = false;
  let release: (() => void) | null = null;
  return {
    notify() {
      notified = true;
      release?.();
    },
    async wait() {
      if (!notified && !closed) {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        release = null;
      }
      notified = false;
    },
    close() {
      closed = true;
      release?.();
    },
    get closed() {
      return closed;
    },
  };
}
