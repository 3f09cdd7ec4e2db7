import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Time that a client has to read the last answer of its connection while it still sends, in milliseconds. */
const LINGER_MS = 1000;

/**
 * Adds `Connection: close` to an answer whose connection cannot be used again: `closing()` says so, or a request body
 * of more than `maxBytes`, or of unknown length, is still to come when the answer begins. Node discards a shorter one.
 */
export function announceClose(
  request: IncomingMessage,
  response: ServerResponse,
  maxBytes: number,
  closing: () => boolean,
): void {
  const { 'content-length': length = 0, 'transfer-encoding': coding } = request.headers;
  const bounded = coding === undefined && Number(length) <= maxBytes;
  const { writeHead } = response;
  response.writeHead = (...head: unknown[]) => {
    if (closing() || !(bounded || request.complete)) response.shouldKeepAlive = false;
    return Reflect.apply(writeHead, response, head);
  };
  // A handler may have read a part of the body; the rest is in the way of the next request.
  response.once('finish', () => request.complete || request.resume());
}

/**
 * Makes Node close a connection in two steps (RFC 9112, section 9.6): the server's side at once, the rest when the
 * client has closed its own or after a while. Closing with bytes unread resets the connection, and the answer may be
 * lost.
 */
export function closeInSteps(socket: Socket): void {
  socket.destroySoon = () => lingeringClose(socket);
}

/** Sends `last`, then closes as `closeInSteps` does; what the client still sends is discarded. */
export function lingeringClose(socket: Socket, last?: string): void {
  if (socket.writableEnded) return;
  // The parser gets no more of it: no further request is served.
  socket.removeAllListeners('data').on('data', () => {});
  const end = () => {
    const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
    socket.once('close', () => clearTimeout(timer));
  };
  socket.resume();
  if (last === undefined) socket.end(end);
  else socket.end(last, 'latin1', end);
}

/** Resolves when an answer has been sent, or its connection is gone; at once where there is none. */
export async function answered(response: ServerResponse | undefined): Promise<void> {
  if (response && !response.closed) await new Promise((resolve) => response.once('close', resolve));
}

/**
 * Serves an upgrade request as if it had no `Upgrade` field (RFC 9110, section 7.8): by then Node has given up parsing
 * the connection, so that it is parsed anew, from this request on and without the field.
 * @param before the answer to an earlier request of the connection, which is to be whole first
 */
export async function serveWithoutUpgrade(
  server: Server,
  request: IncomingMessage,
  head: Buffer,
  before: ServerResponse | undefined,
): Promise<void> {
  const { socket } = request;
  // Put back at once, so that the connection cannot be at its end before it is parsed.
  socket.unshift(Buffer.concat([headWithoutUpgrade(request), head]));
  await answered(before);
  if (!socket.writable) return;
  // Node leaves those of the first parser behind.
  socket.removeAllListeners('pause').removeAllListeners('resume');
  server.emit('connection', socket);
}

function headWithoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    if (isOfUpgrade(name)) continue;
    const options = () => value.split(',').filter((option) => !isOfUpgrade(option.trim()));
    lines.push(`${name}: ${name.toLowerCase() === 'connection' ? options().join() : value}`);
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

/** Whether a field, or a connection option, is about an upgrade, to HTTP/2 (RFC 7540, section 3.2) among others. */
function isOfUpgrade(name: string): boolean {
  return /^(upgrade|http2-settings)$/i.test(name);
}
