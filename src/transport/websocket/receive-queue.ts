import type { WebSocket } from 'ws';

/** Frames that are taken from one socket in one turn of the event loop: whoever sends a flood waits like everybody else. */
const FRAMES_A_TURN = 8;

/** Bytes of frames that may wait for their answers on one socket. */
const MAX_WAITING_BYTES = 1_048_576;

export type Receive = (data: Buffer, isBinary: boolean) => void;

/** A turn that takes longer than this, in milliseconds, keeps others waiting: then one frame a socket is all that is taken. */
const LONG_TURN_MS = 10;

/** The turns of the event loop. */
export interface Turns {
  /** The number of this one. */
  current(): number;
  /** Whether this one has taken long already, or the last one had. */
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

/** What a client has sent and nobody has looked at: what came in one read, as nothing more is read meanwhile. A class, because there are many. */
export class ReceiveQueue {
  readonly #ws: WebSocket;
  readonly #turns: Turns;
  readonly #receive: Receive;
  readonly #frames: (readonly [data: Buffer, isBinary: boolean])[] = [];
  #turn = -1;
  /** How many were taken in that turn. */
  #taken = 0;
  #holds = 0;
  #stopped: (() => void) | null = null;

  constructor(ws: WebSocket, turns: Turns, receive: Receive) {
    this.#ws = ws;
    this.#turns = turns;
    this.#receive = receive;
    ws.on('message', (data: Buffer, isBinary) => {
      this.#frames.push([data, isBinary]);
      // Otherwise those before it are waiting for their turn.
      if (this.#frames.length === 1) this.#deliver();
    });
  }

  /** While it is held, by one or by many, nothing is delivered. */
  hold(held: boolean): void {
    this.#holds += held ? 1 : -1;
    if (held) this.#setReading();
    else this.#deliver();
  }

  /** Forgets what waits. */
  clear(): void {
    this.#frames.length = 0;
    this.#stopped?.();
  }

  /** Reads no more of what the client sends, and resolves when all that was read is delivered. */
  async stop(): Promise<void> {
    const empty = new Promise<void>((resolve) => {
      this.#stopped = resolve;
    });
    this.#deliver();
    await empty;
  }

  readonly #deliver = (): void => {
    const turn = this.#turns.current();
    if (turn !== this.#turn) this.#taken = 0;
    this.#turn = turn;
    while (this.#holds === 0 && this.#taken < FRAMES_A_TURN && (this.#taken === 0 || !this.#turns.crowded())) {
      const frame = this.#frames[0];
      if (!frame) break;
      this.#taken++;
      this.#receive(...frame);
      this.#frames.shift();
    }
    this.#setReading();
    if (this.#frames.length === 0) this.#stopped?.();
    else if (this.#holds === 0) setImmediate(this.#deliver);
  };

  #setReading(): void {
    const reading = this.#holds === 0 && !this.#stopped && this.#frames.length === 0;
    if (reading === this.#ws.isPaused) this.#ws[reading ? 'resume' : 'pause']();
  }
}

/** What waits for its answer on one socket; the socket is held while that is too much. A class, because there are many. */
export class Backlog {
  readonly #socket: { hold(held: boolean): void };
  readonly #operations: number;
  #waiting = 0;
  #bytes = 0;
  #full = false;

  /** @param operations that may wait; their frames may have `MAX_WAITING_BYTES` */
  constructor(socket: { hold(held: boolean): void }, operations: number) {
    this.#socket = socket;
    this.#operations = operations;
  }

  /** Counts an operation that has come, by the bytes of its frame. */
  add(bytes: number): void {
    this.#count(1, bytes);
  }

  /** Counts the operation off: it is answered. */
  remove(bytes: number): void {
    this.#count(-1, -bytes);
  }

  #count(change: number, bytes: number): void {
    this.#waiting += change;
    this.#bytes += bytes;
    const full = this.#waiting >= this.#operations || this.#bytes >= MAX_WAITING_BYTES;
    if (full !== this.#full) this.#socket.hold(full);
    this.#full = full;
  }
}
