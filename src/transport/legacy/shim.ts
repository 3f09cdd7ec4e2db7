import { isUtf8 } from 'node:buffer';
import type { DocumentNode } from 'graphql';
import type { Chat } from '../../chat/chat.ts';
import { badInput, ChatError } from '../../chat/rules/errors.ts';
import type { Limits } from '../../config.ts';
import type { Executor } from '../../execution/executor.ts';
import { getOrMake } from '../../execution/memo.ts';
import type { PreparedOperation } from '../../execution/prepared-operation.ts';
import type { Context } from '../../graphql/context.ts';
import type { Viewer } from '../../model.ts';
import type { Audit, AuditActor } from '../../observability/audit.ts';
import type { Metrics } from '../../observability/metrics.ts';
import type { Quotas } from '../admission/quota.ts';
import type { Socket } from '../websocket/socket.ts';
import { errorFrame, frameType, liveFrame } from './frames.ts';
import type { LegacyParams } from './params.ts';
import { FOLLOW, type Follow, type LegacyClient, reply } from './replies.ts';

/** Unanswered requests of one socket at which reading from it pauses. */
const MAX_WAITING = 32;

export interface ShimOptions {
  readonly executor: Executor;
  readonly chat: Chat;
  readonly pageSize: number;
  readonly idleMs: number;
  readonly limits: Pick<Limits, 'subscriptionsPerSocket' | 'responseBytes'>;
  readonly quotas: Quotas;
  readonly audit: Audit;
  readonly metrics: Metrics;
}

/** An admitted legacy client. */
export interface LegacyConnection extends LegacyParams {
  readonly viewer: Viewer;
  /** The client's network address. */
  readonly address: string;
}

/** Serves legacy frames on the sockets passed to it: one answer per request, in order, from GraphQL operations. */
export function createShim({ executor, chat, pageSize, idleMs, limits, quotas, audit, metrics }: ShimOptions) {
  /** Prepared operations by document. */
  const operations = new Map<DocumentNode, PreparedOperation>();
  const prepared = (document: DocumentNode) => getOrMake(operations, document, () => executor.prepareTrusted(document));

  return function open(socket: Socket, connection: LegacyConnection): void {
    const { viewer, email, spelling, live, address } = connection;
    const actor: AuditActor = { user: email, address, transport: 'legacy' };
    const context: Context = {
      ...{ chat, viewer, free: () => socket.free(), drained: () => socket.drained() },
      audit: (event) => audit(actor, event),
    };
    const client: LegacyClient = { email, spelling, pageSize, maxBytes: limits.responseBytes, run };
    const followed = new Set<string>();
    let lastAnswer = Promise.resolve();
    const backlog = socket.createBacklog(MAX_WAITING);

    const startIdle = () => setTimeout(() => socket.close(1000, 'Idle'), idleMs);
    let idle = startIdle();

    function send(frame: object): void {
      socket.send(Buffer.from(JSON.stringify(frame)));
    }

    async function run<Data>(query: DocumentNode, variables: Record<string, unknown>): Promise<Data> {
      const result = await executor.run({ operation: prepared(query), variables }, context);
      if (result.kind === 'stream') throw new Error('Only a subscription has events.');
      if (result.errors[0]) throw result.errors[0];
      return JSON.parse(result.json.toString()).data;
    }

    async function answer(data: Buffer, isBinary: boolean): Promise<void> {
      let frame: unknown;
      try {
        frame = parseJson(data, isBinary);
        const { frame: answerFrame, follow } = await reply(frame, client);
        send(answerFrame);
        if (live && follow) void deliver(follow);
      } catch (error) {
        const { message, extensions } = executor.mask(error);
        // Errors of operations are GraphQLErrors, audited by the operation.
        if (error instanceof ChatError && error.code === 'FORBIDDEN')
          audit(actor, { action: frameType(frame), outcome: error.code });
        send(errorFrame(frameType(frame), { code: String(extensions.code), message }));
      }
    }

    async function deliver(follow: Follow): Promise<void> {
      const { conversationId, afterSeq } = follow;
      if (followed.has(conversationId) || socket.ended) return;
      if (followed.size >= limits.subscriptionsPerSocket || !quotas.subscriptions.take(email)) {
        audit(actor, {
          action: 'messageAdded',
          resource: conversationId,
          outcome: 'RATE_LIMITED',
          reason: 'subscriptions',
        });
        const error = {
          code: 'RATE_LIMITED',
          message: 'Too many subscriptions: the new messages of this conversation are not sent.',
        };
        return send(errorFrame('ERROR', error));
      }
      followed.add(conversationId);
      clearTimeout(idle);
      const events = await executor.run(
        { operation: prepared(FOLLOW), variables: { conversationId, afterSeq } },
        context,
      );
      if (events.kind === 'stream') {
        socket.onEnd(() => void events.return());
        await events.deliver((json) => {
          const { data } = JSON.parse(Buffer.concat(json).toString());
          if (!data) return;
          send(liveFrame(client, follow.key, data.messageAdded));
          metrics.delivered();
        });
      }
      followed.delete(conversationId);
      if (followed.size === 0 && !socket.ended) idle = startIdle();
      quotas.subscriptions.give(email);
    }

    socket.onMessage((data, isBinary) => {
      if (followed.size === 0) idle.refresh();
      backlog.add(data.length);
      // A frame may run several operations, each of which reads the conversation with its members.
      lastAnswer = lastAnswer
        .then(() => executor.slice(email))
        .then(() => answer(data, isBinary))
        .finally(() => backlog.remove(data.length));
    });
    socket.onEnd(() => clearTimeout(idle));
  };
}

function parseJson(data: Buffer, isBinary: boolean): unknown {
  if (isBinary || !isUtf8(data)) throw badInput('The frame must be a text frame of JSON in UTF-8.');
  let frame: unknown;
  try {
    frame = JSON.parse(data.toString());
  } catch {
    throw badInput('The frame must be JSON.');
  }
  if (typeof frame !== 'object' || frame === null || Array.isArray(frame))
    throw badInput('The frame must be a JSON object.');
  return frame;
}
