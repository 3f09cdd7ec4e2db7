import { type Ask, DIALECTS, type Dialect, type MakeFrame } from './dialects.ts';
import { excerpt, hasErrors, ID_DIGITS, idOf, typeOf } from './frames.ts';
import type { Target } from './servers.ts';
import { type ClientSocket, type Listener, openSocket } from './socket.ts';

/** A connection of the load. */
export interface Connection {
  /** Its address: each connection is another person. */
  readonly user: string;
  /** Sends a request; `replied` gets the reply. An error ends the load, unless there is a `refused` for it. */
  request(makeFrame: MakeFrame, replied: Listener, refused?: () => void): void;
  readonly ask: Ask;
  /** Subscribes; `delivered` gets every result. */
  subscribe(makeFrame: MakeFrame, delivered: Listener): void;
  close(): Promise<void>;
}

/** All connections of one job. */
export interface Connections {
  readonly target: Target;
  readonly dialect: Dialect;
  /** Opens a connection of a new user, or of a known one, to one of the server's addresses. */
  open(instance?: number, user?: string): Promise<Connection>;
  openMany(count: number, instance?: number): Promise<Connection[]>;
  /** Rejects when a connection ends, a server answers with an error, or `fail` is called. */
  readonly failed: Promise<never>;
  readonly fail: (error: Error) => void;
  close(): Promise<void>;
}

/** Connections made at the same time; many more overflow the server's backlog. */
export const AT_ONCE = 50;
/** Ids have equally many digits, so that equal replies are equally long. */
const FIRST_ID = 10 ** (ID_DIGITS - 1);

let users = 0;

/** Prepares to connect to a server. */
export function createConnections(target: Target): Connections {
  const dialect = DIALECTS[target.dialect];
  const sockets = new Set<ClientSocket>();
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {}); // rejections reach those that race it

  async function open(instance = 0, user = `user${++users}@example.com`): Promise<Connection> {
    let listener: Listener = () => {};
    const socket = await openSocket(
      `${target.urls[instance % target.urls.length]}${dialect.path(user)}`,
      dialect.protocols,
      (bytes, start, end) => listener(bytes, start, end),
      (reason) => fail(new Error(`a connection ended with ${reason}`)),
    );
    sockets.add(socket);
    const { hello } = dialect;
    if (hello !== null) {
      await new Promise<void>((resolve) => {
        listener = () => resolve();
        socket.send(hello(user));
      });
    }

    const replies = new Map<number, { replied: Listener; refused: (() => void) | undefined }>();
    const subscriptions = new Map<number, Listener>();
    /** What a server delivers without an id. */
    let broadcast: Listener | null = null;
    let lastId = FIRST_ID;
    listener = (bytes, start, end) => {
      const id = idOf(bytes, start);
      const wrong = () => fail(new Error(`unexpected frame ${excerpt(bytes, start, end)}`));
      if (Number.isNaN(id)) return broadcast ? broadcast(bytes, start, end) : wrong();
      const type = typeOf(bytes, start);
      if (type === 'c') return; // complete
      const delivered = subscriptions.get(id);
      if (delivered && type !== 'e') return delivered(bytes, start, end);
      const reply = replies.get(id);
      if (!reply) return wrong();
      replies.delete(id);
      if (type !== 'e' && !hasErrors(bytes, start, end)) return reply.replied(bytes, start, end);
      if (reply.refused) reply.refused();
      else wrong();
    };

    function request(makeFrame: MakeFrame, replied: Listener, refused?: () => void): void {
      const id = ++lastId;
      replies.set(id, { replied, refused });
      socket.send(makeFrame(String(id)));
    }
    return {
      user,
      request,
      ask: (makeFrame) =>
        new Promise((resolve) =>
          request(makeFrame, (bytes, start, end) => resolve(bytes.toString('utf8', start, end))),
        ),
      subscribe(makeFrame, delivered) {
        const id = ++lastId;
        subscriptions.set(id, delivered);
        broadcast = delivered;
        socket.send(makeFrame(String(id)));
      },
      async close() {
        sockets.delete(socket);
        await socket.close();
      },
    };
  }

  return {
    ...{ target, dialect, failed, fail, open },
    async openMany(count, instance) {
      const connections: Connection[] = [];
      while (connections.length < count) {
        const size = Math.min(AT_ONCE, count - connections.length);
        connections.push(...(await Promise.all(Array.from({ length: size }, () => open(instance)))));
      }
      return connections;
    },
    async close() {
      await Promise.all([...sockets].map((socket) => socket.close()));
    },
  };
}
