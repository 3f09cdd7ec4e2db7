import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

/** Gets the payload of a text frame where it was read: `bytes` from `start` to `end`, for the time of the call. */
export type Listener = (bytes: Buffer, start: number, end: number) => void;

/** An open WebSocket. */
export interface ClientSocket {
  send(text: string): void;
  /** Resolves when the connection is gone. */
  close(): Promise<void>;
}

/** What a server may take to answer the end of a connection, in milliseconds. */
const CLOSE_MS = 2000;

/** First bytes of unfragmented frames (RFC 6455, 5.2). */
const TEXT = 0x81;
const CLOSE = 0x88;
const PING = 0x89;
const PONG = 0x8a;
const MASKED = 0x80;
/** A length from which on it says only how many bytes hold the real one: 2, or 8 for the next. */
const LENGTH_16 = 126;
const NORMAL_CLOSURE = Buffer.from([1000 >> 8, 1000 & 255]);
const HEADER_END = '\r\n\r\n';

/** What all sockets read into, one after the other. */
const READ_BUFFER = Buffer.alloc(65_536);

/**
 * Opens a WebSocket that costs a fraction of what those of `ws` do, because the load must be able to take more than any
 * server sends: it looks at frames where they were read, and trusts its server with everything but their order.
 * `ended` hears why the connection ended, unless it was closed here.
 */
export function openSocket(
  address: string,
  protocols: readonly string[],
  onText: Listener,
  ended: (reason: string) => void,
): Promise<ClientSocket> {
  const { hostname: host, port, pathname, search } = new URL(address);
  return new Promise((resolve) => {
    let upgraded = false;
    /** The beginning of what has not been read to its end. */
    let rest: Buffer | null = null;
    let closing = false;
    let reason = 'no reason';
    const socket = connect({
      ...{ host, port: Number(port), noDelay: true },
      onread: {
        buffer: READ_BUFFER,
        callback(size) {
          const bytes: Buffer = rest ? Buffer.concat([rest, READ_BUFFER.subarray(0, size)]) : READ_BUFFER;
          const end = rest ? bytes.length : size;
          let used = upgraded ? 0 : upgrade(bytes, end);
          if (upgraded) used = readFrames(bytes, used, end);
          rest = used < end ? Buffer.from(bytes.subarray(used, end)) : null;
          return true;
        },
      },
    });
    const gone = new Promise<void>((resolve) => socket.once('close', resolve));
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('close', () => {
      if (!closing) ended(reason);
    });
    socket.write(
      [
        `GET ${pathname}${search} HTTP/1.1`,
        `Host: ${host}:${port}`,
        ...['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
        `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
        ...protocols.map((protocol) => `Sec-WebSocket-Protocol: ${protocol}`),
      ].join('\r\n') + HEADER_END,
    );

    /** Takes the answer to the request above; resolves with how much of `bytes` that was. */
    function upgrade(bytes: Buffer, end: number): number {
      const header = bytes.toString('latin1', 0, end);
      const length = header.indexOf(HEADER_END);
      if (length === -1) return 0;
      upgraded = header.startsWith('HTTP/1.1 101');
      if (upgraded) resolve({ send, close });
      else socket.destroy(new Error(`no WebSocket: ${header.slice(0, length)}`));
      return length + HEADER_END.length;
    }

    function readFrames(bytes: Buffer, from: number, end: number): number {
      let at = from;
      while (end - at >= 2) {
        let length = bytes[at + 1] ?? 0;
        let start = at + 2;
        if (length >= LENGTH_16) {
          start += length === LENGTH_16 ? 2 : 8;
          if (start > end) break;
          length = length === LENGTH_16 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
        }
        if (start + length > end) break;
        const kind = bytes[at];
        at = start + length;
        if (kind === TEXT) onText(bytes, start, at);
        else control(kind, bytes.subarray(start, at));
      }
      return at;
    }

    function control(kind: number | undefined, payload: Buffer): void {
      if (kind === PING) socket.write(frame(PONG, payload));
      else if (kind !== CLOSE) socket.destroy(new Error(`a frame that begins with ${kind}`));
      else reason = payload.length < 2 ? 'no code' : `${payload.readUInt16BE(0)} ${payload.subarray(2)}`;
    }

    function send(text: string): void {
      socket.write(frame(TEXT, Buffer.from(text)));
    }

    async function close(): Promise<void> {
      // Not cut: a server may still have something to say, and the references complain where they cannot.
      closing = true;
      socket.write(frame(CLOSE, NORMAL_CLOSURE));
      const late = setTimeout(() => socket.destroy(), CLOSE_MS);
      await gone;
      clearTimeout(late);
    }
  });
}

/** A frame of less than 64 KiB, masked the way that changes nothing. */
function frame(kind: number, payload: Buffer): Buffer {
  const { length } = payload;
  const lengthBytes = length < LENGTH_16 ? [MASKED | length] : [MASKED | LENGTH_16, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([kind, ...lengthBytes, 0, 0, 0, 0]), payload]);
}
