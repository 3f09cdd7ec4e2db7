import { isUtf8 } from 'node:buffer';
import type { DocumentNode } from 'graphql';
import type { WebSocket } from 'ws';
import type { Chat } from '../../chat/chat.ts';
import { badInput } from '../../chat/errors.ts';
import { type EmailAddress, parseEmail } from '../../model.ts';
import type { Metrics } from '../../observe.ts';
import type { Context } from '../../operations/context.ts';
import type { Gate } from '../gate.ts';
import type { Socket } from '../sockets.ts';
import { errorFrame, FOLLOW, type Follow, frameType, type LegacyClient, messageFrame, reply } from './frames.ts';

/** Requests of one socket that may wait for their answers before the socket is read no further. */
const MAX_WAITING = 32;
/** Conversations one socket may follow. */
const MAX_FOLLOWED = 100;

export interface ShimOptions {
  readonly gate: Gate;
  readonly chat: Chat;
  readonly pageSize: number;
  readonly idleMs: number;
  readonly metrics: Metrics;
}

/** What the URL of an upgrade says: who connects, and whether new messages are to follow. */
export interface LegacyParams {
  readonly email: EmailAddress;
  readonly spelling: string;
  readonly live: boolean;
}

/** Reads the query string as legacy clients write it: `@` and `+` stand for themselves. Null where `email_id` is not one address. */
export function readParams(search: string): LegacyParams | null {
  const pairs = search
    .replace(/^\?/, '')
    .split('&')
    .map((pair) => pair.split(/=(.*)/s));
  const values = (name: string) => pairs.filter(([key]) => key === name).map(([, value]) => decode(value ?? ''));
  const [spelling, ...more] = values('email_id');
  const email = spelling == null ? null : parseEmail(spelling);
  return spelling && email && more.length === 0 ? { email, spelling, live: values('live').includes('1') } : null;
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** Serves the legacy frames on sockets handed to it: one answer a request, in order, each a GraphQL operation. */
export function createShim({ gate, chat, pageSize, idleMs, metrics }: ShimOptions) {
  return function open(ws: WebSocket, socket: Socket, { email, spelling, live }: LegacyParams): void {
    const context: Context = { chat, viewer: { email, role: null }, drained: () => socket.drained() };
    const client: LegacyClient = { email, spelling, pageSize, run };
    const followed = new Set<string>();
    let answered = Promise.resolve();
    let waiting = 0;

    const idle = setTimeout(() => socket.close(1000, 'Idle'), idleMs);

    function send(frame: object): void {
      socket.send(Buffer.from(JSON.stringify(frame)));
    }

    async function run<Data>(query: DocumentNode, variables: Record<string, unknown>): Promise<Data> {
      const result = await gate.run({ query, variables }, context);
      if (Symbol.asyncIterator in result) throw new Error('only subscriptions have events');
      if (result.errors?.[0]) throw result.errors[0];
      return result.data as Data;
    }

    async function answer(data: Buffer, isBinary: boolean): Promise<void> {
      let frame: unknown;
      try {
        frame = parseFrame(data, isBinary);
        const { frame: answer, follow } = await reply(frame, client);
        send(answer);
        if (live && follow) void deliver(follow);
      } catch (error) {
        const { message, extensions } = gate.mask(error);
        send(errorFrame(frameType(frame), { code: String(extensions.code), message }));
      }
    }

    async function deliver(follow: Follow): Promise<void> {
      const { conversationId, afterSeq } = follow;
      if (followed.has(conversationId) || followed.size >= MAX_FOLLOWED) return;
      followed.add(conversationId);
      clearTimeout(idle);
      const events = await gate.run({ query: FOLLOW, variables: { conversationId, afterSeq } }, context);
      if (Symbol.asyncIterator in events) {
        socket.onEnd(() => void events.return?.());
        for await (const { data } of events) {
          if (!data) continue;
          send(messageFrame(client, follow, data as Parameters<typeof messageFrame>[2]));
          metrics.delivered();
        }
      }
      followed.delete(conversationId);
    }

    ws.on('message', (data: Buffer, isBinary: boolean) => {
      if (followed.size === 0) idle.refresh();
      if (++waiting >= MAX_WAITING) ws.pause();
      answered = answered
        .then(() => answer(data, isBinary))
        .finally(() => {
          if (--waiting < MAX_WAITING && ws.isPaused) ws.resume();
        });
    });
    socket.onEnd(() => clearTimeout(idle));
  };
}

function parseFrame(data: Buffer, isBinary: boolean): unknown {
  if (isBinary || !isUtf8(data)) throw badInput('The frame is to be JSON in a text frame.');
  let frame: unknown;
  try {
    frame = JSON.parse(data.toString());
  } catch {
    throw badInput('The frame is not JSON.');
  }
  if (typeof frame !== 'object' || frame === null || Array.isArray(frame))
    throw badInput('The frame is to be a JSON object.');
  return frame;
}
