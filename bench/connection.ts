import { type ClientOptions, type RawData, WebSocket } from 'ws';
import { type Ask, DIALECTS, type MakeFrame } from './dialects.ts';
import type { Target } from './servers.ts';

/** A connection of the load. */
export interface Connection {
  /** Sends a request; `replied` gets the text of the reply. */
  request(makeFrame: MakeFrame, replied: (reply: string) => void): void;
  readonly ask: Ask;
  /** Subscribes; from here on every frame is a delivery and goes to `delivered` as it came. */
  subscribe(conversation: string, delivered: (frame: Buffer) => void): void;
}

/** All connections of one measurement. */
export interface Connections {
  /** `url` is the target's unless another of its addresses is given. */
  open(count: number, url?: string): Promise<Connection[]>;
  /** Rejects when a connection ends or a server answers with an error. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/** Connections made at the same time; many more overflow the server's backlog. */
const AT_ONCE = 50;
/** What a server may take to answer the end of a connection, in milliseconds. */
const CLOSE_MS = 2000;
/** Ids have equally many digits, so that equal replies are equally long. */
const FIRST_ID = 10_000_000;
const ID_DIGITS = 8;
/** No reply worth reading is as short; `{"id":"10000000","type":"complete"}` is. */
const COMPLETE_LENGTH = 40;

// Less work for the load, which shares the machine with the server: loopback does not garble text.
const OPTIONS: ClientOptions = { perMessageDeflate: false, skipUTF8Validation: true };

/** Prepares to connect to a server. */
export function createConnections(target: Target): Connections {
  const dialect = DIALECTS[target.dialect];
  const sockets: WebSocket[] = [];
  let closing = false;
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {}); // whoever races it hears of it

  async function connect(url: string): Promise<Connection> {
    const socket = new WebSocket(url.replace('http', 'ws') + dialect.path, [...dialect.protocols], OPTIONS);
    sockets.push(socket);
    socket.on('error', fail);
    socket.on('close', (code, reason) => {
      if (!closing) fail(new Error(`a connection was closed with ${code} ${reason}`));
    });
    await new Promise((resolve) => socket.once('open', resolve));
    if (dialect.hello !== null) {
      socket.send(dialect.hello);
      await new Promise((resolve) => socket.once('message', resolve));
    }

    const pending = new Map<string, (reply: string) => void>();
    let lastId = FIRST_ID;
    let delivered: ((frame: Buffer) => void) | null = null;
    socket.on('message', (data: RawData) => {
      const frame = data as Buffer; // ws gives nothing else while binaryType is nodebuffer
      if (delivered) return delivered(frame);
      if (frame.length < COMPLETE_LENGTH && frame.includes('"complete"')) return;
      const reply = frame.toString('latin1');
      const start = reply.indexOf('"id":"') + 6;
      const id = reply.slice(start, start + ID_DIGITS);
      const replied = pending.get(id);
      if (!replied || reply.includes('"errors"') || reply.includes('"type":"error"')) {
        return fail(new Error(`unexpected reply ${reply}`));
      }
      pending.delete(id);
      replied(reply);
    });

    function request(makeFrame: MakeFrame, replied: (reply: string) => void): void {
      const id = String(++lastId);
      pending.set(id, replied);
      socket.send(makeFrame(id));
    }
    return {
      request,
      ask: (makeFrame) => new Promise((resolve) => request(makeFrame, resolve)),
      subscribe(conversation, listener) {
        delivered = listener;
        socket.send(dialect.subscribe(conversation));
      },
    };
  }

  return {
    failed,
    async open(count, url = target.url) {
      const connections: Connection[] = [];
      while (connections.length < count) {
        const size = Math.min(AT_ONCE, count - connections.length);
        connections.push(...(await Promise.all(Array.from({ length: size }, () => connect(url)))));
      }
      return connections;
    },
    async close() {
      closing = true;
      // Not cut: a server may still have something to say, and the references complain where they cannot.
      const closed = sockets.map((socket) => {
        if (socket.readyState === WebSocket.CLOSED) return null;
        const gone = new Promise((resolve) => socket.once('close', resolve));
        socket.close();
        return gone;
      });
      const late = setTimeout(() => {
        for (const socket of sockets) socket.terminate();
      }, CLOSE_MS);
      await Promise.all(closed);
      clearTimeout(late);
    },
  };
}
