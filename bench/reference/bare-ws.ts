/**
 * Reference: the least a broadcast server on `ws` does. Everything in memory, nothing durable, no client refused.
 *
 * With `--joined` it does even less: what comes up for a room in one turn goes to each socket in one write, past `ws`.
 */
import type { AddressInfo, Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';

interface Message {
  readonly seq: number;
  readonly sender: string;
  readonly text: string;
  readonly clientId: string | null;
  readonly sentAt: string;
}

interface Room {
  readonly messages: Message[];
  /** What `ws` made of a connection, and the connection itself. */
  readonly sockets: Map<WebSocket, Socket>;
  /** Frames to go out at the end of the turn. */
  readonly pending: Buffer[];
}

/** What a client sends; `id` comes back in the reply. */
type Frame =
  | { readonly type: 'join'; readonly room: string }
  | {
      readonly type: 'send';
      readonly id: string;
      readonly room: string;
      readonly text: string;
      readonly clientId: string;
    }
  | { readonly type: 'fill'; readonly id: string; readonly room: string; readonly texts: readonly string[] }
  | { readonly type: 'page'; readonly id: string; readonly room: string; readonly n: number; readonly before?: number };

const joinFrames = process.argv.includes('--joined');
const rooms = new Map<string, Room>();

function roomOf(name: string): Room {
  const known = rooms.get(name);
  if (known) return known;
  const room: Room = { messages: [], sockets: new Map(), pending: [] };
  rooms.set(name, room);
  return room;
}

function append(messages: Message[], sender: string, text: string, clientId: string | null): Message {
  const message = { seq: messages.length + 1, sender, text, clientId, sentAt: new Date().toISOString() };
  messages.push(message);
  return message;
}

function broadcast(room: Room, text: string): void {
  if (!joinFrames) {
    for (const socket of room.sockets.keys()) socket.send(text);
    return;
  }
  if (room.pending.push(textFrame(text)) > 1) return;
  setImmediate(() => {
    const frames = Buffer.concat(room.pending.splice(0));
    for (const socket of room.sockets.values()) socket.write(frames);
  });
}

/** A WebSocket frame (RFC 6455, 5.2) of a text of less than 64 KiB. */
function textFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  const { length } = payload;
  return Buffer.concat([Buffer.from(length < 126 ? [0x81, length] : [0x81, 126, length >> 8, length & 255]), payload]);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });

server.on('connection', (socket, request) => {
  const sender = new URL(request.url ?? '/', 'ws://localhost').searchParams.get('user') ?? '';
  const joined = new Set<Room>();

  socket.on('message', (data) => {
    const frame: Frame = JSON.parse(String(data));
    const room = roomOf(frame.room);
    const { messages } = room;
    switch (frame.type) {
      case 'join':
        joined.add(room);
        room.sockets.set(socket, request.socket);
        break;
      case 'send': {
        const message = append(messages, sender, frame.text, frame.clientId);
        broadcast(room, JSON.stringify({ type: 'message', room: frame.room, ...message }));
        socket.send(JSON.stringify({ id: frame.id, type: 'ack', seq: message.seq }));
        break;
      }
      case 'fill':
        for (const text of frame.texts) append(messages, sender, text, null);
        socket.send(JSON.stringify({ id: frame.id, type: 'ack', seq: messages.length }));
        break;
      case 'page': {
        const end = frame.before === undefined ? messages.length : frame.before - 1;
        const page = messages.slice(Math.max(0, end - frame.n), end);
        socket.send(JSON.stringify({ id: frame.id, type: 'page', messages: page }));
        break;
      }
    }
  });
  socket.on('close', () => {
    for (const room of joined) room.sockets.delete(socket);
  });
  socket.on('error', () => {});
});

server.on('listening', () => {
  const { port } = server.address() as AddressInfo; // a string only for pipes
  console.log(`bare ws listens on http://127.0.0.1:${port}`);
});
