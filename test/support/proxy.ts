import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A wire between a client and a server that can be cut, or go dead. */
export interface Wire {
  /** `ws://127.0.0.1:PORT` */
  readonly ws: string;
  /** `http://127.0.0.1:PORT`, at this end of the wire. */
  readonly url: string;
  /** Connections made so far. */
  connections(): number;
  /** Cuts every connection. */
  cut(): void;
  /** From now on existing connections pass no data, without being closed. */
  freeze(): void;
  /** Connects to another server from now on; null for none. `pagesOnly` lets no WebSocket through. */
  aim(url: string | null, pagesOnly?: boolean): void;
}

/** A wire to `url`, gone when the test is. */
export async function wire(url: string | null): Promise<Wire> {
  const open = new Set<Socket>();
  let target = url;
  let noSockets = false;
  let connections = 0;
  const server = createServer((near) => {
    connections++;
    if (target === null) return near.destroy();
    const far = connect(Number(new URL(target).port), '127.0.0.1');
    near.once('data', (request) => {
      if (noSockets && /^upgrade: websocket/im.test(String(request))) near.destroy();
    });
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      open.add(from);
      from.pipe(to);
      from.on('error', () => from.destroy());
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    for (const socket of open) socket.destroy();
  };
  onTestFinished(() => {
    server.close();
    cut();
  });
  const { port } = server.address() as AddressInfo;
  return {
    ...{ ws: `ws://127.0.0.1:${port}`, url: `http://127.0.0.1:${port}` },
    ...{ connections: () => connections, cut },
    freeze() {
      for (const socket of open) {
        socket.unpipe();
        socket.pause();
      }
    },
    aim(next, pagesOnly = false) {
      target = next;
      noSockets = pagesOnly;
    },
  };
}
