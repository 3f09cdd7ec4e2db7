import { connect, type Socket } from 'node:net';

/** An answer as it was read from a connection. */
interface RawAnswer {
  readonly status: number;
  /** By name in lower case; fields of one name are joined. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A TCP connection to a server, on which a test writes bytes of its own and reads answers one by one. */
export interface RawConnection {
  readonly socket: Socket;
  send(bytes: string): void;
  /** The next answer; null where the server closed the connection instead. Rejects where it was reset. */
  next(options?: { readonly toHead?: boolean }): Promise<RawAnswer | null>;
}

export function openRaw(url: string): RawConnection {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let received = '';
  let ended = false;
  let failure: Error | null = null;
  let wake = () => {};
  socket.setEncoding('latin1');
  socket.on('data', (text) => {
    received += text;
    wake();
  });
  socket.on('end', () => {
    ended = true;
    wake();
  });
  socket.on('error', (error) => {
    failure = error;
    wake();
  });
  return {
    socket,
    send: (bytes) => void socket.write(bytes, 'latin1'),
    async next({ toHead = false } = {}) {
      for (;;) {
        const whole = readAnswer(received, toHead);
        if (whole) {
          received = received.slice(whole.length);
          return whole.answer;
        }
        if (failure) throw failure;
        if (ended) {
          if (received !== '') throw new Error(`the connection ended within an answer: ${received}`);
          return null;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

/** The answer at the beginning of a text, and how long it is; null where it is not whole. */
function readAnswer(text: string, toHead: boolean): { answer: RawAnswer; length: number } | null {
  const end = text.indexOf('\r\n\r\n') + 4;
  if (end < 4) return null;
  const [line = '', ...fields] = text.slice(0, end - 4).split('\r\n');
  const headers = new Map<string, string>();
  for (const field of fields) {
    const [, name = '', value = ''] = /^([^:]+):\s*(.*)$/.exec(field) ?? [];
    const before = headers.get(name.toLowerCase());
    headers.set(name.toLowerCase(), before === undefined ? value : `${before}, ${value}`);
  }
  const status = Number(line.split(' ')[1]);
  const answer = (body: string, length: number) => ({ answer: { status, headers, body }, length });
  if (toHead || status < 200 || status === 204) return answer('', end);
  if (headers.get('transfer-encoding') === 'chunked') {
    let body = '';
    for (let at = end; ; ) {
      const [size] = /^[0-9a-f]+\r\n/i.exec(text.slice(at)) ?? [];
      if (!size) return null;
      const length = Number.parseInt(size, 16);
      const next = at + size.length + length + 2;
      if (text.length < next) return null;
      if (length === 0) return answer(body, next);
      body += text.slice(at + size.length, next - 2);
      at = next;
    }
  }
  const length = Number(headers.get('content-length') ?? 0);
  return text.length < end + length ? null : answer(text.slice(end, end + length), end + length);
}
