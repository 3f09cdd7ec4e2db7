import type { WebSocket } from 'ws';

/** Frames delivered from one socket per turn of the event loop, so that a flooding client does not delay others. */
const FRAMES_A_TURN = 8;

/** Bytes of unanswered frames on one socket at which reading from it pauses. */
const MAX_WAITING_BYTES = 1_048_576;

export type Receive = (data: Buffer, isBinary: boolean) => void;

/** After a turn longer than this, in milliseconds, each socket delivers one frame per turn. */
const LONG_TURN_MS = 10;

/** The turns of the event loop. */
export interface Turns {
  /** The number of the current turn. */
  current(): number;
  /** Whether this turn or the last one takes longer than `LONG_TURN_MS`. */
  crowded(): boolean;
}

/** @param clock milliseconds, for measuring time spans */
export function createTurns(clock: () => number): Turns {
  let turn = 0;
  let counted = false;
  let since = 0;
  let lastMs = 0;
  return {
    current() {
      if (!counted) {
        counted = true;
        since = clock();
        setImmediate(() => {
          counted = false;
          turn++;
          lastMs = clock() - since;
        });
      }
      return turn;
    },
    crowded: () => lastMs > LONG_TURN_MS || clock() - since > LONG_TURN_MS,
  };
}

/**
 * Received frames that are not delivered yet: those of one read, as the socket is paused meanwhile. A class, because
 * there are many.
 */
export class ReceiveQueue {
  readonly #ws: WebSocket;
  readonly #turns: Turns;
  readonly #receive: Receive;
  readonly #frames: (readonly [data: Buffer, isBinary: boolean])[] = [];
  #turn = -1;
  /** Frames delivered in that turn. */
  #delivered = 0;
  #pauses = 0;
  #stopped: (() => void) | null = null;

  constructor(ws: WebSocket, turns: Turns, receive: Receive) {
    this.#ws = ws;
    this.#turns = turns;
    this.#receive = receive;
    ws.on('message', (data: Buffer, isBinary) => {
      this.#frames.push([data, isBinary]);
      // Otherwise a delivery of the earlier frames is scheduled already.
      if (this.#frames.length === 1) this.#deliver();
    });
  }

  /** Pauses or resumes delivery. Pauses are counted: each needs its own resume. */
  pause(paused: boolean): void {
    this.#pauses += paused ? 1 : -1;
    if (paused) this.#setReading();
    else this.#deliver();
  }

  /** Discards the frames that are not delivered. */
  clear(): void {
    this.#frames.length = 0;
    this.#stopped?.();
  }

  /** Stops reading; resolves when all frames read so far are delivered. */
  async stop(): Promise<void> {
    const empty = new Promise<void>((resolve) => {
      this.#stopped = resolve;
    });
    this.#deliver();
    await empty;
  }

  readonly #deliver = (): void => {
    const turn = this.#turns.current();
    if (turn !== this.#turn) this.#delivered = 0;
    this.#turn = turn;
    while (this.#pauses === 0 && this.#delivered < FRAMES_A_TURN && (this.#delivered === 0 || !this.#turns.crowded())) {
      const frame = this.#frames[0];
      if (!frame) break;
      this.#delivered++;
      this.#receive(...frame);
      this.#frames.shift();
    }
    this.#setReading();
    if (this.#frames.length === 0) this.#stopped?.();
    else if (this.#pauses === 0) setImmediate(this.#deliver);
  };

  #setReading(): void {
    const reading = this.#pauses === 0 && !this.#stopped && this.#frames.length === 0;
    if (reading === this.#ws.isPaused) this.#ws[reading ? 'resume' : 'pause']();
  }
}

/** The unanswered operations of one socket; too many pause it. A class, because there are many. */
export class Backlog {
  readonly #socket: { pause(paused: boolean): void };
  readonly #maxOperations: number;
  #waiting = 0;
  #bytes = 0;
  #full = false;
  #onEmpty: (() => void) | null = null;

  /** @param maxOperations number at which the socket pauses, as at `MAX_WAITING_BYTES` of frames */
  constructor(socket: { pause(paused: boolean): void }, maxOperations: number) {
    this.#socket = socket;
    this.#maxOperations = maxOperations;
  }

  /** Adds an operation, with the bytes of its frame. */
  add(bytes: number): void {
    this.#count(1, bytes);
  }

  /** Removes an answered operation. */
  remove(bytes: number): void {
    this.#count(-1, -bytes);
  }

  /** Resolves when every operation is answered. */
  async emptied(): Promise<void> {
    if (this.#waiting === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }

  #count(change: number, bytes: number): void {
    this.#waiting += change;
    this.#bytes += bytes;
    if (this.#waiting === 0) this.#onEmpty?.();
    const full = this.#waiting >= this.#maxOperations || this.#bytes >= MAX_WAITING_BYTES;
    if (full !== this.#full) this.#socket.pause(full);
    this.#full = full;
  }
}
