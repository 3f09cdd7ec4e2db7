/** Events of one subscription. Ends when the viewer is no longer a member. */
export interface EventStream<Event> extends AsyncIterableIterator<Event> {
  /** The next event, if it is in memory for all subscribers that keep up; undefined where `next` must be awaited. */
  poll(): Event | undefined;
  /** Calls back once there may be an event to poll; false, without a call, where `next` must be awaited instead. */
  onReadable(listener: () => void): boolean;
}

/** Backpressure of a subscriber's socket. */
export interface Backpressure {
  /** Whether the socket takes more now. */
  free(): boolean;
  /** Resolves when the socket takes more, or has ended. */
  drained(): Promise<void>;
}
