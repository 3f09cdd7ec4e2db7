import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Limits } from '../../config.ts';
import type { Metrics, Transport } from '../../observability/metrics.ts';
import { createTurns } from './receive-queue.ts';
import { CLOSE, OpenSocket, type Shared, type Socket } from './socket.ts';
import { createWriteScheduler } from './write-scheduler.ts';

/**
 * Sockets to which events are written in one turn of the event loop. Events for the others accumulate, so that a higher
 * load sends more events in one write.
 */
const EVENT_WRITES = 32;

/** Unread answers of the maximum size allowed beyond `unsentBytes`: as many as a user may have running at once. */
const LARGE_ANSWERS = 4;

/** Time that clients have to answer the close frame at shutdown, in milliseconds. */
const CLOSE_GRACE_MS = 2000;

/** All open WebSockets: heartbeat, limits and shutdown. */
export function createSockets(limits: Pick<Limits, 'heartbeatMs' | 'unsentBytes' | 'responseBytes'>, metrics: Metrics) {
  const { unsentBytes } = limits;
  const shared: Shared = {
    unsentBytes,
    largeBytes: LARGE_ANSWERS * limits.responseBytes,
    answers: createWriteScheduler(Number.POSITIVE_INFINITY),
    events: createWriteScheduler(EVENT_WRITES),
    turns: createTurns(() => performance.now()),
  };
  const open = new Map<WebSocket, OpenSocket>();

  const heartbeat = setInterval(() => {
    for (const [ws, socket] of open) {
      // A paused socket cannot deliver its pong; skip it.
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
    /** Takes over a WebSocket just opened, and its stream. */
    add(ws: WebSocket, stream: Duplex, transport: Transport): Socket {
      const socket = new OpenSocket(shared, ws, stream);
      open.set(ws, socket);
      metrics.connected(transport);
      ws.on('pong', () => {
        socket.answered = true;
      });
      // ws closes the socket after an error; without a listener the process would exit.
      ws.on('error', ignore);
      ws.on('close', (code, reason) => {
        open.delete(ws);
        metrics.disconnected(transport);
        // Frames received before the close are still delivered.
        void socket.stop().then(() => socket.end(code, reason.toString()));
      });
      if (closing) socket.close(CLOSE.goingAway, 'Shutting down');
      return socket;
    },

    /** Stops reading; resolves when all frames read so far are delivered. */
    async stop(): Promise<void> {
      closing = true;
      await Promise.all([...open.values()].map((socket) => socket.stop()));
    },

    /** Closes every socket with 1001; resolves when all are closed. */
    async close(): Promise<void> {
      clearInterval(heartbeat);
      const closed = [...open].map(
        ([ws, socket]) =>
          new Promise<void>((resolve) => {
            ws.once('close', () => resolve());
            socket.close(CLOSE.goingAway, 'Shutting down');
          }),
      );
      const grace = setTimeout(() => {
        for (const ws of open.keys()) ws.terminate();
      }, CLOSE_GRACE_MS);
      await Promise.all(closed);
      clearTimeout(grace);
    },
  };
}

function ignore(): void {}
