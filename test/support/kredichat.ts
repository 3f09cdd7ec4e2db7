import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import {
  type Client,
  type ClientOptions,
  createClient,
  type MessageFieldsFragment as Message,
  type Outgoing,
  type Readable,
} from '../../web/client/index.ts';

/** Timeouts short enough for tests. */
export const IMPATIENT = {
  firstRetryMs: 20,
  lastRetryMs: 100,
  shutdownRetryMs: 20,
  heartbeatMs: 60_000,
  answerMs: 10_000,
};

/** A client of `user` (dev credential), closed when the test is done. */
export function clientOf(url: string, user: string, options: Partial<ClientOptions> = {}): Client {
  const client = createClient({
    ...{ url: `${url}/graphql`, token: () => user, webSocketImpl: WebSocket, timeouts: IMPATIENT, ...options },
  });
  onTestFinished(() => client.close());
  return client;
}

/** The value once it is as wanted. */
export function when<T>(readable: Readable<T>, wanted: (value: T) => unknown): Promise<T> {
  return new Promise((resolve) => {
    const look = () => {
      if (!wanted(readable.get())) return false;
      stop();
      resolve(readable.get());
      return true;
    };
    const stop = readable.subscribe(look);
    look();
  });
}

/** Puts a message into the outbox; resolves once it is stored. */
export function sent(client: Client, message: Parameters<Client['outbox']['send']>[0]): Promise<Message> {
  return new Promise((resolve) => {
    let outgoing: Outgoing | null = null;
    const stop = client.outbox.onSent((item, stored) => {
      if (item.clientId !== outgoing?.clientId) return;
      stop();
      resolve(stored);
    });
    outgoing = client.outbox.send(message);
  });
}

/** Storage that lives as long as the test, as a browser's over reloads. */
export function memoryStorage() {
  const entries = new Map<string, string>();
  return {
    get length() {
      return entries.size;
    },
    key: (index: number) => [...entries.keys()][index] ?? null,
    getItem: (key: string) => entries.get(key) ?? null,
    setItem: (key: string, value: string) => void entries.set(key, value),
    removeItem: (key: string) => void entries.delete(key),
  };
}
