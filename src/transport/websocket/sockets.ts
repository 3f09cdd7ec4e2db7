import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
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

/** Time that a client has to answer the close frame at shutdown, in milliseconds. */
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
      if (closing) goAway(ws, socket);
      return socket;
    },

    /**
     * Closes every socket with 1001, in random order at even intervals over `spreadMs` milliseconds: each once its
     * pending operations are answered, or at `late`. Resolves when all are closed.
     */
    async close(spreadMs: number, late: Promise<void>): Promise<void> {
      closing = true;
      const turns = shuffled([...open]).map(async ([ws, socket], i, { length }) => {
        await delay((i * spreadMs) / length);
        await Promise.race([socket.stop(), late]);
        if (!open.has(ws)) return;
        const closed = new Promise((resolve) => ws.once('close', resolve));
        goAway(ws, socket);
        await closed;
      });
      await Promise.all(turns);
      clearInterval(heartbeat);
    },
  };
}

/** Closes a socket, and ends it if the client does not answer. */
function goAway(ws: WebSocket, socket: OpenSocket): void {
  socket.close(CLOSE.goingAway, 'Shutting down');
  setTimeout(() => ws.terminate(), CLOSE_GRACE_MS).unref();
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  const keyed = items.map((item) => ({ item, key: Math.random() }));
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item);
}

function ignore(): void {}
