import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Time that a client has to read the last answer while it still sends, in milliseconds. */
const LINGER_MS = 1000;

/**
 * Adds `Connection: close` to an answer if its connection cannot be reused: the server is `closing()`, or the request
 * body is incomplete when the answer begins, and of unknown length or longer than `maxBytes`. Node discards a shorter
 * one.
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
  // A handler may have read a part of the body; the rest precedes the next request.
  response.once('finish', () => request.complete || request.resume());
}

/**
 * Makes Node close a connection in two steps (RFC 9112, section 9.6): the server's side at once, the client's side when
 * the client closes it or after `LINGER_MS`. Closing with unread bytes resets the connection, and the answer may be
 * lost.
 */
export function closeInSteps(socket: Socket): void {
  socket.destroySoon = () => lingeringClose(socket);
}

/** Sends `last`, then closes in two steps; data that the client still sends is discarded. */
export function lingeringClose(socket: Socket, last?: string): void {
  if (socket.writableEnded) return;
  // The parser gets no more data, so no further request is served.
  socket.removeAllListeners('data').on('data', () => {});
  const end = () => {
    const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
    socket.once('close', () => clearTimeout(timer));
  };
  socket.resume();
  if (last === undefined) socket.end(end);
  else socket.end(last, 'latin1', end);
}

/** Resolves when the response is sent or its connection closed; at once without a response. */
export async function answered(response: ServerResponse | undefined): Promise<void> {
  if (response && !response.closed) await new Promise((resolve) => response.once('close', resolve));
}

/** Answers with a body, by default a plain text. */
export function respond(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
}

/**
 * Serves an upgrade request as if it had no `Upgrade` field (RFC 9110, section 7.8). Node has detached its parser from
 * the connection, so the connection is parsed anew, from this request on and without the field.
 * @param before the answer to an earlier request of the connection, which has to be complete first
 */
export async function serveWithoutUpgrade(
  server: Server,
  request: IncomingMessage,
  head: Buffer,
  before: ServerResponse | undefined,
): Promise<void> {
  const { socket } = request;
  // Put back at once, so that the connection cannot end before it is parsed.
  socket.unshift(Buffer.concat([headWithoutUpgrade(request), head]));
  await answered(before);
  if (!socket.writable) return;
  // Node leaves the listeners of the first parser.
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

/** Whether a field or connection option belongs to an upgrade, as to HTTP/2 (RFC 7540, section 3.2). */
function isOfUpgrade(name: string): boolean {
  return /^(upgrade|http2-settings)$/i.test(name);
}
