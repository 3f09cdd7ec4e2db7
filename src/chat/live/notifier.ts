/** Wakes its one waiter. Notifications before a wait are remembered as one. */
export class Notifier {
  #notified = false;
  #closed = false;
  #listener: (() => void) | null = null;

  notify(): void {
    this.#notified = true;
    this.#call();
  }

  /** Resolves at the next notification or close, at once if there was one since the last wait. */
  async wait(): Promise<void> {
    if (!this.#notified && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#listener = resolve;
      });
    }
    this.#notified = false;
  }

  /** Calls back at the next notification or close, synchronously. An alternative to `wait`. */
  once(listener: () => void): void {
    this.#notified = false;
    this.#listener = listener;
  }

  /** Ends every wait, now and later. */
  close(): void {
    this.#closed = true;
    this.#call();
  }

  get closed(): boolean {
    return this.#closed;
  }

  #call(): void {
    const listener = this.#listener;
    this.#listener = null;
    listener?.();
  }
}
