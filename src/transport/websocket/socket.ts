import type { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { LARGE_BYTES } from '../../execution/response-writer.ts';
import { frameLength, joinFrames } from './frame-encoder.ts';
import { Backlog, type Receive, ReceiveQueue, type Turns } from './receive-queue.ts';
import type { WriteScheduler } from './write-scheduler.ts';

/** The server's own close codes; PROTOCOL.md lists them with those of the protocols. */
export const CLOSE = { goingAway: 1001, tokenEnded: 4401, tooFarBehind: 4413 } as const;

/** Buffered frames of this many bytes are written before the turn ends, so that the kernel starts sending. */
const WRITE_BYTES = 65_536;

/** Maximum bytes of the reason in a close frame (RFC 6455, section 5.5). */
const REASON_BYTES = 123;

/** The longest delay of a Node timer, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** A WebSocket with a bound on its unsent bytes. */
export interface Socket {
  /**
   * Sends a text frame, its UTF-8 given in parts; closes the socket with 4413 if too much is unsent. All frames of one
   * turn of the event loop go out in one write. Does nothing once the socket has ended.
   */
  send(...parts: readonly Buffer[]): void;
  /** Like `send`, for an event with many subscribers: with many sockets to write to, it may go out some turns later. */
  sendEvent(...parts: readonly Buffer[]): void;
  /** Calls back for each frame of the client; for a few per turn of the event loop, so that all sockets are served. */
  onMessage(receive: Receive): void;
  /** Creates the backlog of this socket, which is awaited before the socket is closed at shutdown. */
  createBacklog(maxOperations: number): Backlog;
  /** Pauses or resumes reading and callbacks. Pauses are counted: each needs its own resume. */
  pause(paused: boolean): void;
  /** Whether few bytes are unsent and no caller waits in `drained`, or the socket has ended. */
  free(): boolean;
  /** Resolves when few bytes are unsent, or the socket has ended. */
  drained(): Promise<void>;
  /** Ends the socket at once; frames that the client still sends are discarded. */
  close(code: number, reason: string): void;
  /** Closes the socket with 4401 at this time, in milliseconds since 1970; replaces an earlier time. */
  endAt(time: number, onEnd: () => void): void;
  /** Whether either side has closed the socket. */
  readonly ended: boolean;
  /** Calls back once when the socket ends; at once if it has ended. */
  onEnd(listener: (code: number, reason: string) => void): void;
}

/** State shared by all sockets. */
export interface Shared {
  /** Maximum unsent bytes of a socket. */
  readonly unsentBytes: number;
  /** Unread bytes of large answers allowed in addition. */
  readonly largeBytes: number;
  /** Writes when this turn of the event loop is over. */
  readonly answers: WriteScheduler;
  /** May write some turns later. */
  readonly events: WriteScheduler;
  readonly turns: Turns;
}

/** A class, because there are many. */
export class OpenSocket implements Socket {
  /** Whether the client has answered the last ping, or sent anything since. */
  answered = true;
  readonly #shared: Shared;
  readonly #ws: WebSocket;
  readonly #stream: Duplex;
  #frames: (readonly Buffer[])[] = [];
  #frameBytes = 0;
  /** Bytes of large answers that are written and that the client has not read. */
  #largeBytes = 0;
  #ended: { readonly code: number; readonly reason: string } | null = null;
  #endListeners: ((code: number, reason: string) => void)[] = [];
  #drainListeners: (() => void)[] = [];
  #end: NodeJS.Timeout | undefined;
  #receiveQueue: ReceiveQueue | undefined;
  #backlog: Backlog | undefined;
  #stopped: Promise<void> | undefined;
  /** Whether a caller of `drained` was just resumed; one at a time, as each may send more. */
  #resumed = false;

  constructor(shared: Shared, ws: WebSocket, stream: Duplex) {
    this.#shared = shared;
    this.#ws = ws;
    this.#stream = stream;
  }

  send(...parts: readonly Buffer[]): void {
    if (this.#add(parts)) this.#shared.answers.add(this);
  }

  sendEvent(...parts: readonly Buffer[]): void {
    if (this.#add(parts) && this.#frames.length === 1) this.#shared.events.add(this);
  }

  /** Buffers a frame; true if it still has to be written. */
  #add(parts: readonly Buffer[]): boolean {
    // ws answers the client's close frame by itself, and no frame may follow the answer.
    if (this.#ended || this.#ws.readyState !== this.#ws.OPEN) return false;
    // Large answers are allowed in addition: a user has only few at a time.
    const { unsentBytes, largeBytes } = this.#shared;
    if (this.#frames.length === 0 && this.#unsent() - Math.min(this.#largeBytes, largeBytes) > unsentBytes) {
      this.close(CLOSE.tooFarBehind, 'Too far behind: resume by position');
      return false;
    }
    this.#frames.push(parts);
    this.#frameBytes += frameLength(parts);
    if (this.#frameBytes >= WRITE_BYTES) this.write();
    this.#resumeNext();
    return this.#frames.length > 0;
  }

  /** Bypasses ws, which does two writes a frame. Frames of ws itself (ping, pong, close) go whole before or after. */
  write(): void {
    if (this.#frames.length === 0) return;
    // No frame may follow the close frame.
    if (this.#stream.writable && this.#ws.readyState === this.#ws.OPEN) {
      const large = this.#frameBytes > LARGE_BYTES ? this.#frameBytes : 0;
      this.#largeBytes += large;
      this.#stream.write(joinFrames(this.#frames, this.#frameBytes), () => {
        this.#largeBytes -= large;
        this.#resumeDrained();
      });
    }
    this.#frames = [];
    this.#frameBytes = 0;
  }

  onMessage(receive: Receive): void {
    if (this.#ended) return;
    this.#receiveQueue = new ReceiveQueue(this.#ws, this.#shared.turns, (data, isBinary) => {
      // Any frame proves that the client is alive.
      this.answered = true;
      receive(data, isBinary);
    });
  }

  pause(paused: boolean): void {
    if (!this.#ended) this.#receiveQueue?.pause(paused);
  }

  createBacklog(maxOperations: number): Backlog {
    this.#backlog = new Backlog(this, maxOperations);
    return this.#backlog;
  }

  /** Stops reading; resolves when all frames read so far are delivered and answered. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    if (this.#ended) return;
    await this.#receiveQueue?.stop();
    await this.#backlog?.emptied();
    // graphql-ws sends `complete` after the operation has ended.
    await nextTurn();
  }

  free(): boolean {
    return this.ended || (this.#drainListeners.length === 0 && this.#unsent() < this.#shared.unsentBytes / 4);
  }

  async drained(): Promise<void> {
    if (this.#ended) return;
    await new Promise<void>((resolve) => {
      this.#drainListeners.push(resolve);
      this.#resumeDrained();
    });
  }

  close(code: number, reason: string): void {
    this.#ws.removeAllListeners('message');
    // The client's close frame still has to be read.
    this.#ws.resume();
    this.write();
    this.#ws.close(code, truncate(reason));
    this.end(code, reason);
  }

  endAt(time: number, onEnd: () => void): void {
    clearTimeout(this.#end);
    if (this.#ended || time === Number.POSITIVE_INFINITY) return;
    const left = time - Date.now();
    const end = () => {
      if (left > LONGEST_TIMER_MS) return this.endAt(time, onEnd);
      onEnd();
      this.close(CLOSE.tokenEnded, 'Token ended');
    };
    this.#end = setTimeout(end, Math.min(left, LONGEST_TIMER_MS)).unref();
  }

  get ended(): boolean {
    return this.#ended !== null;
  }

  onEnd(listener: (code: number, reason: string) => void): void {
    if (this.#ended) listener(this.#ended.code, this.#ended.reason);
    // Not `push`, which reserves room for many more elements.
    else this.#endListeners = [...this.#endListeners, listener];
  }

  /** To be called when the WebSocket is closed, by either side. */
  end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = { code, reason };
    clearTimeout(this.#end);
    this.#receiveQueue?.clear();
    for (const listener of this.#drainListeners.splice(0)) listener();
    for (const listener of this.#endListeners.splice(0)) listener(code, reason);
  }

  #unsent(): number {
    return this.#ws.bufferedAmount + this.#frameBytes;
  }

  readonly #resumeDrained = (): void => {
    if (this.#resumed || this.#drainListeners.length === 0 || this.#unsent() >= this.#shared.unsentBytes / 4) return;
    this.#resumed = true;
    this.#drainListeners.shift()?.();
    // The next is resumed when this one has sent, or at the latest in the next turn.
    setImmediate(() => this.#resumeNext());
  };

  #resumeNext(): void {
    this.#resumed = false;
    this.#resumeDrained();
  }
}

/** Truncates a reason to what fits into a close frame; ws rejects a longer one. */
function truncate(reason: string): Buffer {
  const bytes = Buffer.alloc(REASON_BYTES);
  return bytes.subarray(0, new TextEncoder().encodeInto(reason, bytes).written);
}
