import { EventEmitter } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import { createTurns, ReceiveQueue } from '../../../src/transport/websocket/receive-queue.ts';

/** A socket on which frames come in one read. */
function createSocket() {
  const socket = Object.assign(new EventEmitter(), {
    isPaused: false,
    pause() {
      socket.isPaused = true;
    },
    resume() {
      socket.isPaused = false;
    },
  });
  return {
    ws: socket as unknown as WebSocket,
    read: (frame: string) => socket.emit('message', Buffer.from(frame), false),
  };
}

/** The number of frames processed in each turn, if each takes this many milliseconds. */
async function takenByTurn(frames: number, milliseconds: number): Promise<number[]> {
  const { ws, read } = createSocket();
  let taken = 0;
  let now = 0;
  const turns = createTurns(() => now);
  new ReceiveQueue(ws, turns, () => {
    taken++;
    now += milliseconds;
  });
  for (let i = 0; i < frames; i++) read(`frame ${i}`);
  const byTurn = [taken];
  for (; taken < frames; byTurn.push(taken)) await setImmediate();
  return byTurn.map((count, i) => count - (byTurn[i - 1] ?? 0));
}

test('a flood of frames is processed a few a turn', async () => {
  expect(await takenByTurn(20, 0)).toEqual([8, 8, 4]);
});

test('one frame is processed a turn if turns become long', async () => {
  expect(await takenByTurn(5, 15)).toEqual([1, 1, 1, 1, 1]);
});
