import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Limits } from '../config.ts';
import type { Metrics, Transport } from '../observe.ts';

/** Close codes of ours; PROTOCOL.md lists them with those of the protocols. */
const CLOSE = { goingAway: 1001, tooFarBehind: 4413 } as const;

/** Frames that wait for the end of the turn are written earlier when they are this many bytes: so the kernel takes what it can. */
const WRITE_BYTES = 65_536;

/**
 * How many sockets are written events to in one turn of the event loop. What comes meanwhile joins what the others
 * still wait for: the more there is to deliver, the more of it goes out in one write.
 */
const EVENT_WRITES = 32;

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
  /** Resolves when little is unsent, or the socket ended. */
  drained(): Promise<void>;
  /** Ends the socket at once: nothing that the client still sends is read. */
  close(code: number, reason: string): void;
  /** Calls back once, when the socket has ended; at once if it has already. */
  onEnd(listener: (code: number, reason: string) => void): void;
}

/** All open WebSockets: their heartbeat, their bounds and their end. */
export function createSockets(limits: Pick<Limits, 'heartbeatMs' | 'unsentBytes'>, metrics: Metrics) {
  /** Unsent bytes below which there is room for whoever waits. */
  const roomBytes = limits.unsentBytes / 4;
  const open = new Map<WebSocket, { answered: boolean; close: Socket['close'] }>();

  const heartbeat = setInterval(() => {
    for (const [ws, state] of open) {
      if (!state.answered) ws.terminate();
      else {
        state.answered = false;
        ws.ping();
      }
    }
  }, limits.heartbeatMs);
  heartbeat.unref();

  const answers = createWrites(Number.POSITIVE_INFINITY);
  const events = createWrites(EVENT_WRITES);

  return {
    /** Takes charge of a WebSocket just opened, and of the stream it is spoken on. */
    add(ws: WebSocket, stream: Duplex, transport: Transport): Socket {
      const endListeners: ((code: number, reason: string) => void)[] = [];
      const drainListeners: (() => void)[] = [];
      let ended: { code: number; reason: string } | null = null;
      let frames: (readonly Buffer[])[] = [];
      let frameBytes = 0;

      const unsent = () => ws.bufferedAmount + frameBytes;
      // Past ws, whose two writes a frame are what costs; its own frames, pings and the close, go whole before or after.
      const write = () => {
        if (frames.length === 0) return;
        if (stream.writable) stream.write(joinFrames(frames, frameBytes), admit);
        frames = [];
        frameBytes = 0;
      };

      const end = (code: number, reason: string) => {
        if (ended) return;
        ended = { code, reason };
        for (const listener of drainListeners.splice(0)) listener();
        for (const listener of endListeners.splice(0)) listener(code, reason);
      };
      // One at a time, until it has sent or let the turn pass, so that they do not all send into the same room.
      let letIn = false;
      const admit = () => {
        if (letIn || drainListeners.length === 0 || unsent() >= roomBytes) return;
        letIn = true;
        drainListeners.shift()?.();
        setImmediate(next);
      };
      const next = () => {
        letIn = false;
        admit();
      };
      const close = (code: number, reason: string) => {
        ws.removeAllListeners('message');
        write();
        ws.close(code, reason);
        end(code, reason);
      };

      const send = (parts: readonly Buffer[], writes: Writes) => {
        if (ended) return;
        // The bound is on what waits already, at the start of a turn or after a write: one answer may be larger than it.
        if (frames.length === 0 && unsent() > limits.unsentBytes)
          return close(CLOSE.tooFarBehind, 'Too far behind: resume by position');
        frames.push(parts);
        frameBytes += frameLength(lengthOf(parts));
        if (frameBytes >= WRITE_BYTES) write();
        else if (frames.length === 1 || writes === answers) writes.add(write);
        next();
      };

      const state = { answered: true, close };
      open.set(ws, state);
      metrics.connected(transport);
      ws.on('pong', () => {
        state.answered = true;
      });
      // ws closes the socket itself after an error; without a listener the process would end.
      ws.on('error', () => {});
      ws.on('close', (code, reason) => {
        open.delete(ws);
        metrics.disconnected(transport);
        end(code, reason.toString());
      });

      return {
        send: (...parts) => send(parts, answers),
        sendEvent: (...parts) => send(parts, events),
        async drained() {
          if (ended) return;
          await new Promise<void>((resolve) => {
            drainListeners.push(resolve);
            admit();
          });
        },
        close,
        onEnd(listener) {
          if (ended) listener(ended.code, ended.reason);
          else endListeners.push(listener);
        },
      };
    },

    /** Closes every socket with 1001 and resolves when they are gone. */
    async close(): Promise<void> {
      clearInterval(heartbeat);
      const gone = [...open].map(
        ([ws, { close }]) =>
          new Promise<void>((resolve) => {
            ws.once('close', () => resolve());
            close(CLOSE.goingAway, 'Shutting down');
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

/** Writes to be done after this turn of the event loop, `most` a turn. */
interface Writes {
  add(write: () => void): void;
}

function createWrites(most: number): Writes {
  const waiting = new Set<() => void>();
  function writeSome(): void {
    let done = 0;
    for (const write of waiting) {
      if (done++ === most) return void setImmediate(writeSome);
      waiting.delete(write);
      write();
    }
  }
  return {
    add(write) {
      if (waiting.add(write).size === 1) setImmediate(writeSome);
    },
  };
}

function lengthOf(parts: readonly Buffer[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}

/** Bytes of a frame with a payload of this length (RFC 6455, section 5.2). */
function frameLength(payload: number): number {
  return payload + (payload < 126 ? 2 : payload < 65_536 ? 4 : 10);
}

/** Text frames of a server, one after the other: final, not masked. */
function joinFrames(frames: readonly (readonly Buffer[])[], length: number): Buffer {
  const joined = Buffer.allocUnsafe(length);
  let at = 0;
  for (const parts of frames) {
    const payload = lengthOf(parts);
    joined[at++] = 0x81;
    if (payload < 126) joined[at++] = payload;
    else if (payload < 65_536) {
      joined[at++] = 126;
      at = joined.writeUInt16BE(payload, at);
    } else {
      joined[at++] = 127;
      at = joined.writeBigUInt64BE(BigInt(payload), at);
    }
    for (const part of parts) {
      joined.set(part, at);
      at += part.length;
    }
  }
  return joined;
}
