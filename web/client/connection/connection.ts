/**
 * The connection: operations over a socket that is reopened with backoff, probed, and given renewed credentials.
 *
 * It does not use the client of the `graphql-ws` package, which lacks three things: renewal of the credential over the
 * open socket (its pings carry no payload of the caller's), a probe with a deadline at the moment the machine wakes or
 * the network changes, and new variables when a subscription resumes (it repeats the first ones). What remains of the
 * protocol is the few frames in `socket.ts`.
 */
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
import { asError, KredichatError } from '../errors.ts';
import { isQuery } from './operation-kind.ts';
import { type ConnectionOptions, openReconnectingSocket, type ReconnectingSocket } from './reconnecting-socket.ts';
import type { Socket } from './socket.ts';

/** An operation with the types of its variables and result, as codegen generates it with `documentMode: string`. */
export type Operation<Result, Variables> = { toString(): string } & DocumentTypeDecoration<Result, Variables>;

/** A connection to the server that reconnects automatically. */
export interface Connection extends ReconnectingSocket {
  /** Runs a query, which is repeated after an interruption, or a mutation, which is sent once. */
  run<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables): Promise<Result>;
}

/** Opens a connection that is kept until it is closed or refused. */
export function createConnection(options: ConnectionOptions): Connection {
  const sockets = openReconnectingSocket(options);
  const { status, live } = sockets;

  /** Resolves with the present socket, or the next one. */
  function nextSocket(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        const [socket, present] = [live(), status.get()];
        if (socket) resolve(socket);
        else if (present.state === 'refused') reject(present.error);
        else if (present.state === 'closed') reject(closedError());
        else return;
        stop();
      };
      const stop = status.subscribe(settle);
      settle();
    });
  }

  return {
    ...sockets,
    async run<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables): Promise<Result> {
      const query = operation.toString();
      const repeatable = isQuery(query);
      for (;;) {
        const socket = await nextSocket();
        try {
          return (await execute(socket, query, variables)) as Result;
        } catch (error) {
          if (status.get().state === 'closed') throw closedError();
          if (!repeatable || asError(error).code !== 'DISCONNECTED') throw error;
        }
      }
    },
  };
}

function execute(socket: Socket, query: string, variables: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let result: unknown;
    socket.start(query, variables, {
      next(data) {
        result = data;
      },
      end: (error) => (error ? reject(error) : resolve(result)),
    });
  });
}

const closedError = () => new KredichatError('CLIENT_CLOSED', 'The client was closed.');
