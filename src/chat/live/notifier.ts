/** Tells its one reader that there is something to look at. Notifications before a wait are remembered as one. */
export class Notifier {
  #notified = false;
  #closed = false;
  #told: (() => void) | null = null;

  notify(): void {
    this.#notified = true;
    this.#tell();
  }

  /** Resolves at the next notification or close, at once if there was one since the last wait. */
  async wait(): Promise<void> {
    if (!this.#notified && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#told = resolve;
      });
    }
    this.#notified = false;
  }

  /** Calls back at the next notification or close, within it. Instead of a wait. */
  once(listener: () => void): void {
    this.#notified = false;
    this.#told = listener;
  }

  /** Ends every wait, now and later. */
  close(): void {
    this.#closed = true;
    this.#tell();
  }

  get closed(): boolean {
    return this.#closed;
  }

  #tell(): void {
    const told = this.#told;
    this.#told = null;
    told?.();
  }
}
