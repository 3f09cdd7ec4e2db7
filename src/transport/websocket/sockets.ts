import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Limits } from '../../config.ts';
import { LARGE_BYTES } from '../../execution/response-writer.ts';
import type { Metrics, Transport } from '../../observability/metrics.ts';
import { frameLength, joinFrames } from './frame-encoder.ts';
import { createTurns, type Receive, ReceiveQueue, type Turns } from './receive-queue.ts';
import { createWriteScheduler, type WriteScheduler } from './write-scheduler.ts';

/** Close codes of ours; PROTOCOL.md lists them with those of the protocols. */
const CLOSE = { goingAway: 1001, tokenEnded: 4401, tooFarBehind: 4413 } as const;

/** Frames that wait for the end of the turn are written earlier when they are this many bytes: so the kernel takes what it can. */
const WRITE_BYTES = 65_536;

/**
 * How many sockets are written events to in one turn of the event loop. What comes meanwhile joins what the others
 * still wait for: the more there is to deliver, the more of it goes out in one write.
 */
const EVENT_WRITES = 32;

/** Answers of the largest size that a socket may owe besides: as many as a user has slots. */
const LARGE_ANSWERS = 4;

/** Bytes of a close frame that are left for the reason. */
const REASON_BYTES = 123;

/** The longest time a timer takes, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** How long clients have to answer the close at shutdown, in milliseconds. */
const CLOSE_GRACE_MS = 2000;

/** A WebSocket with a bound on what it may owe its client. */
export interface Socket {
  /**
   * Sends a text frame, its UTF-8 given in parts; cuts the socket with 4413 when the client is too far behind. It
   * leaves in one write with all others of this turn of the event loop. After the end it does nothing.
   */
  send(...parts: readonly Buffer[]): void;
  /** The same for an event of many: where there are many sockets to write to, it may leave some turns later. */
  sendEvent(...parts: readonly Buffer[]): void;
  /** Calls back for each frame the client sends; for few in one turn of the event loop, as others have their turn too. */
  onMessage(receive: Receive): void;
  /** While it is held, by one or by many, nothing is called back for, and the client is read no further. */
  hold(held: boolean): void;
  /** Whether little is unsent and nothing waits for that, or the socket ended. */
  free(): boolean;
  /** Resolves when little is unsent, or the socket ended. */
  drained(): Promise<void>;
  /** Ends the socket at once: nothing that the client still sends is read. */
  close(code: number, reason: string): void;
  /** Closes the socket with 4401 at this time, in milliseconds since 1970, unless it is told another meanwhile. */
  endAt(time: number, onEnd: () => void): void;
  /** Whether it was closed, by either side. */
  readonly ended: boolean;
  /** Calls back once, when the socket has ended; at once if it has already. */
  onEnd(listener: (code: number, reason: string) => void): void;
}

/** What all sockets share. */
interface Surroundings {
  /** Bytes a socket may owe its client. */
  readonly unsentBytes: number;
  /** Bytes of large answers that it may owe besides. */
  readonly largeBytes: number;
  /** What is written when this turn is over. */
  readonly answers: WriteScheduler;
  /** What may be written some turns later. */
  readonly events: WriteScheduler;
  readonly turns: Turns;
}

/** A class, because there are many. */
class OpenSocket implements Socket {
  /** Whether the last ping was answered. */
  answered = true;
  readonly #shared: Surroundings;
  readonly #ws: WebSocket;
  readonly #stream: Duplex;
  #frames: (readonly Buffer[])[] = [];
  #frameBytes = 0;
  /** Bytes of large answers that were written and the client has not read. */
  #largeBytes = 0;
  #ended: { readonly code: number; readonly reason: string } | null = null;
  #endListeners: ((code: number, reason: string) => void)[] = [];
  #drainListeners: (() => void)[] = [];
  #end: NodeJS.Timeout | undefined;
  #inbox: ReceiveQueue | undefined;
  /** Somebody who waited for room may send now. One at a time, so that they do not all send into the same room. */
  #letIn = false;

  constructor(shared: Surroundings, ws: WebSocket, stream: Duplex) {
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

  /** Takes a frame; true when it is still to be written. */
  #add(parts: readonly Buffer[]): boolean {
    // Nothing may follow the close frame, which ws sends by itself when the client closes.
    if (this.#ended || this.#ws.readyState !== this.#ws.OPEN) return false;
    // Large answers, of which a user has few at a time, come on top.
    const { unsentBytes, largeBytes } = this.#shared;
    if (this.#frames.length === 0 && this.#unsent() - Math.min(this.#largeBytes, largeBytes) > unsentBytes) {
      this.close(CLOSE.tooFarBehind, 'Too far behind: resume by position');
      return false;
    }
    this.#frames.push(parts);
    this.#frameBytes += frameLength(parts);
    if (this.#frameBytes >= WRITE_BYTES) this.write();
    this.#admitNext();
    return this.#frames.length > 0;
  }

  /** Past ws, whose two writes a frame are what costs; its own frames, pings and the close, go whole before or after. */
  write(): void {
    if (this.#frames.length === 0) return;
    // ws answers a close by itself, and nothing may follow that.
    if (this.#stream.writable && this.#ws.readyState === this.#ws.OPEN) {
      const large = this.#frameBytes > LARGE_BYTES ? this.#frameBytes : 0;
      this.#largeBytes += large;
      this.#stream.write(joinFrames(this.#frames, this.#frameBytes), () => {
        this.#largeBytes -= large;
        this.#admit();
      });
    }
    this.#frames = [];
    this.#frameBytes = 0;
  }

  onMessage(receive: Receive): void {
    if (this.#ended) return;
    this.#inbox = new ReceiveQueue(this.#ws, this.#shared.turns, (data, isBinary) => {
      // Whoever sends is there.
      this.answered = true;
      receive(data, isBinary);
    });
  }

  hold(held: boolean): void {
    if (!this.#ended) this.#inbox?.hold(held);
  }

  /** Reads no more of what the client sends, and resolves when all that was read is handed on. */
  async stop(): Promise<void> {
    if (!this.#ended) await this.#inbox?.stop();
  }

  free(): boolean {
    return this.ended || (this.#drainListeners.length === 0 && this.#unsent() < this.#shared.unsentBytes / 4);
  }

  async drained(): Promise<void> {
    if (this.#ended) return;
    await new Promise<void>((resolve) => {
      this.#drainListeners.push(resolve);
      this.#admit();
    });
  }

  close(code: number, reason: string): void {
    this.#ws.removeAllListeners('message');
    // The answer to the close is still to be read.
    this.#ws.resume();
    this.write();
    this.#ws.close(code, fitting(reason));
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
    // Not pushed: an array that grows has room for many.
    else this.#endListeners = [...this.#endListeners, listener];
  }

  /** To be called when the WebSocket is closed, whoever closed it. */
  end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = { code, reason };
    clearTimeout(this.#end);
    this.#inbox?.clear();
    for (const listener of this.#drainListeners.splice(0)) listener();
    for (const listener of this.#endListeners.splice(0)) listener(code, reason);
  }

  #unsent(): number {
    return this.#ws.bufferedAmount + this.#frameBytes;
  }

  readonly #admit = (): void => {
    if (this.#letIn || this.#drainListeners.length === 0 || this.#unsent() >= this.#shared.unsentBytes / 4) return;
    this.#letIn = true;
    this.#drainListeners.shift()?.();
    // Until it has sent, or let the turn pass.
    setImmediate(() => this.#admitNext());
  };

  #admitNext(): void {
    this.#letIn = false;
    this.#admit();
  }
}

/** All open WebSockets: their heartbeat, their bounds and their end. */
export function createSockets(limits: Pick<Limits, 'heartbeatMs' | 'unsentBytes' | 'responseBytes'>, metrics: Metrics) {
  const { unsentBytes } = limits;
  const shared: Surroundings = {
    unsentBytes,
    largeBytes: LARGE_ANSWERS * limits.responseBytes,
    answers: createWriteScheduler(Number.POSITIVE_INFINITY),
    events: createWriteScheduler(EVENT_WRITES),
    turns: createTurns(() => performance.now()),
  };
  const open = new Map<WebSocket, OpenSocket>();

  const heartbeat = setInterval(() => {
    for (const [ws, socket] of open) {
      // Who is not listened to cannot be heard answering.
      if (ws.isPaused) continue;
      if (!socket.answered) ws.terminate();
      else {
        socket.answered = false;
        ws.ping();
      }
    }
  }, limits.heartbeatMs);
  heartbeat.unref();
  let closing = false;

  return {
    /** Takes charge of a WebSocket just opened, and of the stream it is spoken on. */
    add(ws: WebSocket, stream: Duplex, transport: Transport): Socket {
      const socket = new OpenSocket(shared, ws, stream);
      open.set(ws, socket);
      metrics.connected(transport);
      ws.on('pong', () => {
        socket.answered = true;
      });
      // ws closes the socket itself after an error; without a listener the process would end.
      ws.on('error', ignore);
      ws.on('close', (code, reason) => {
        open.delete(ws);
        metrics.disconnected(transport);
        // What came before the close is still taken.
        void socket.stop().then(() => socket.end(code, reason.toString()));
      });
      if (closing) socket.close(CLOSE.goingAway, 'Shutting down');
      return socket;
    },

    /** Reads no more, and resolves when all that was read is handed on. */
    async stop(): Promise<void> {
      closing = true;
      await Promise.all([...open.values()].map((socket) => socket.stop()));
    },

    /** Closes every socket with 1001 and resolves when they are gone. */
    async close(): Promise<void> {
      clearInterval(heartbeat);
      const gone = [...open].map(
        ([ws, socket]) =>
          new Promise<void>((resolve) => {
            ws.once('close', () => resolve());
            socket.close(CLOSE.goingAway, 'Shutting down');
          }),
      );
      const grace = setTimeout(() => {
        for (const ws of open.keys()) ws.terminate();
      }, CLOSE_GRACE_MS);
      await Promise.all(gone);
      clearTimeout(grace);
    },
  };
}

function ignore(): void {}

/** As much of a reason as fits into a close frame (RFC 6455, section 5.5), which ws refuses to send if it is longer. */
function fitting(reason: string): Buffer {
  const bytes = Buffer.alloc(REASON_BYTES);
  return bytes.subarray(0, new TextEncoder().encodeInto(reason, bytes).written);
}
