import { type Ask, DIALECTS, type Dialect, type MakeFrame, WORDS } from './dialects.ts';
import type { Target } from './servers.ts';
import { type ClientSocket, type Listener, openSocket } from './socket.ts';

/** A connection of the load. */
export interface Connection {
  /** Sends a request; `replied` gets the text of the reply. */
  request(makeFrame: MakeFrame, replied: (reply: string) => void): void;
  readonly ask: Ask;
  /** Subscribes; from here on every frame is a delivery. */
  subscribe(conversation: string, delivered: Listener): void;
}

/** All connections of one measurement. */
export interface Connections {
  readonly target: Target;
  readonly dialect: Dialect;
  /** `url` is the target's unless another of its addresses is given. */
  open(count: number, url?: string): Promise<Connection[]>;
  openOne(): Promise<Connection>;
  /** Opens a new conversation with a message. */
  openConversation(sender: Connection): Promise<string>;
  /** Rejects when a connection ends, a server answers with an error, or `fail` is called. */
  readonly failed: Promise<never>;
  readonly fail: (error: Error) => void;
  close(): Promise<void>;
}

/** Connections made at the same time; many more overflow the server's backlog. */
const AT_ONCE = 50;
/** Ids have equally many digits, so that equal replies are equally long. */
const FIRST_ID = 10_000_000;
const ID_DIGITS = 8;
/** No reply worth reading is as short; `{"id":"10000000","type":"complete"}` is. */
const COMPLETE_LENGTH = 40;

let conversations = 0;

/** Prepares to connect to a server. */
export function createConnections(target: Target): Connections {
  const dialect = DIALECTS[target.dialect];
  const sockets: ClientSocket[] = [];
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {}); // whoever races it hears of it

  async function connect(url: string): Promise<Connection> {
    let listener: Listener = () => {};
    const socket = await openSocket(
      url + dialect.path,
      dialect.protocols,
      (bytes, start, end) => listener(bytes, start, end),
      (reason) => fail(new Error(`a connection ended with ${reason}`)),
    );
    sockets.push(socket);
    const { hello } = dialect;
    if (hello !== null) {
      await new Promise<void>((resolve) => {
        listener = () => resolve();
        socket.send(hello);
      });
    }

    const pending = new Map<string, (reply: string) => void>();
    let lastId = FIRST_ID;
    listener = (bytes, start, end) => {
      const reply = bytes.toString('latin1', start, end);
      if (reply.length < COMPLETE_LENGTH && reply.includes('"complete"')) return;
      const idAt = reply.indexOf('"id":"') + 6;
      const id = reply.slice(idAt, idAt + ID_DIGITS);
      const replied = pending.get(id);
      if (!replied || reply.includes('"errors"') || reply.includes('"type":"error"')) {
        return fail(new Error(`unexpected reply ${reply}`));
      }
      pending.delete(id);
      replied(reply);
    };

    function request(makeFrame: MakeFrame, replied: (reply: string) => void): void {
      const id = String(++lastId);
      pending.set(id, replied);
      socket.send(makeFrame(id));
    }
    return {
      request,
      ask: (makeFrame) => new Promise((resolve) => request(makeFrame, resolve)),
      subscribe(conversation, delivered) {
        listener = delivered;
        socket.send(dialect.subscribe(conversation));
      },
    };
  }

  return {
    ...{ target, dialect, failed, fail },
    async open(count, url = target.url) {
      const connections: Connection[] = [];
      while (connections.length < count) {
        const size = Math.min(AT_ONCE, count - connections.length);
        connections.push(...(await Promise.all(Array.from({ length: size }, () => connect(url)))));
      }
      return connections;
    },
    openOne: () => connect(target.url),
    openConversation: ({ ask }) => dialect.open(ask, `bench-${process.pid}-${++conversations}`, `1 ${WORDS}`),
    async close() {
      await Promise.all(sockets.map((socket) => socket.close()));
    },
  };
}
