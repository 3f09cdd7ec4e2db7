import type { WebSocket } from 'ws';
import type { Limits } from '../config.ts';
import type { Metrics, Transport } from '../observe.ts';

/** Close codes of ours; PROTOCOL.md lists them with those of the protocols. */
const CLOSE = { goingAway: 1001, tooFarBehind: 4413 } as const;

/** How long clients have to answer the close at shutdown, in milliseconds. */
const CLOSE_GRACE_MS = 2000;

/** A WebSocket with a bound on what it may owe its client. */
export interface Socket {
  /** Sends a text frame; cuts the socket with 4413 when the client is too far behind. After the end it does nothing. */
  send(text: string): void;
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

  return {
    /** Takes charge of a socket just opened. */
    add(ws: WebSocket, transport: Transport): Socket {
      const endListeners: ((code: number, reason: string) => void)[] = [];
      const drainListeners: (() => void)[] = [];
      let ended: { code: number; reason: string } | null = null;

      const end = (code: number, reason: string) => {
        if (ended) return;
        ended = { code, reason };
        for (const listener of drainListeners.splice(0)) listener();
        for (const listener of endListeners.splice(0)) listener(code, reason);
      };
      // One at a time, until it has sent or let the turn pass, so that they do not all send into the same room.
      let letIn = false;
      const admit = () => {
        if (letIn || drainListeners.length === 0 || ws.bufferedAmount >= roomBytes) return;
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
        ws.close(code, reason);
        end(code, reason);
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
        send(text) {
          if (ended) return;
          // The bound is on what waits already: one answer may be larger than it.
          if (ws.bufferedAmount > limits.unsentBytes) {
            close(CLOSE.tooFarBehind, 'Too far behind: resume by position');
          } else {
            ws.send(text, admit);
            next();
          }
        },
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
