/** Reference: the least a broadcast server on `ws` does. Everything in memory, nothing durable, nobody refused. */
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';

interface Message {
  readonly seq: number;
  readonly sender: string;
  readonly text: string;
  readonly sentAt: string;
}

interface Room {
  readonly messages: Message[];
  readonly sockets: Set<WebSocket>;
}

/** What a client sends; `id` comes back in the reply. */
type Frame =
  | { readonly type: 'join'; readonly room: string }
  | { readonly type: 'send'; readonly id: string; readonly room: string; readonly text: string }
  | { readonly type: 'page'; readonly id: string; readonly room: string; readonly n: number; readonly before?: number };

const rooms = new Map<string, Room>();

function roomOf(name: string): Room {
  const known = rooms.get(name);
  if (known) return known;
  const room: Room = { messages: [], sockets: new Set() };
  rooms.set(name, room);
  return room;
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
        room.sockets.add(socket);
        break;
      case 'send': {
        const message = { seq: messages.length + 1, sender, text: frame.text, sentAt: new Date().toISOString() };
        messages.push(message);
        const text = JSON.stringify({ type: 'message', room: frame.room, ...message });
        for (const subscriber of room.sockets) subscriber.send(text);
        socket.send(JSON.stringify({ type: 'ack', id: frame.id, seq: message.seq }));
        break;
      }
      case 'page': {
        const end = frame.before === undefined ? messages.length : frame.before - 1;
        const page = messages.slice(Math.max(0, end - frame.n), end);
        socket.send(JSON.stringify({ type: 'page', id: frame.id, messages: page }));
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
