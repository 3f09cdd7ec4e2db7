import { isDeepStrictEqual } from 'node:util';
import { LRUCache } from 'lru-cache';
import { may } from '../chat/rules/access.ts';
import type { Context } from '../graphql/context.ts';
import type { Conversation } from '../model.ts';
import type { AuditEvent } from '../observability/audit.ts';
import type { PreparedOperation } from './prepared-operation.ts';
import type { Answer } from './response-writer.ts';
import { noViewer } from './shared-execution.ts';

/** Size of the cache, in bytes of answers. */
const CACHE_BYTES = 16_000_000;

/** An answer, and the state of the conversation from which it was made. */
interface CachedAnswer {
  readonly conversation: Conversation;
  readonly answer: Answer;
  /** The audit event of the first caller; the same for every caller with access. */
  readonly decision: AuditEvent;
}

/**
 * Caches the answers to queries of one conversation: a page of a log is the same for every viewer with access until the
 * conversation changes. Each read checks in the store that it has not changed, and that the viewer still has access.
 */
export function createResultCache() {
  const answers = new LRUCache<string, CachedAnswer>({
    maxSize: CACHE_BYTES,
    maxEntrySize: CACHE_BYTES / 16,
    sizeCalculation: ({ answer }, key) => answer.json.length + key.length,
  });

  return {
    /** The cached answer to a query, or else that of `execute`. */
    async read(
      { id, sharing }: PreparedOperation,
      variables: Readonly<Record<string, unknown>> | null | undefined,
      context: Context,
      execute: (context: Context) => Promise<Answer>,
    ): Promise<Answer> {
      const { chat, viewer, audit } = context;
      if (!viewer || !sharing.oneConversation || sharing.perViewer) return execute(context);
      const key = JSON.stringify([id, variables]);
      const cached = answers.get(key);
      // A viewer without access takes the uncached path, so timing does not reveal whether the conversation exists.
      if (cached && may('conversation', viewer, cached.conversation)) {
        // Ignore a failure: the execution repeats it, and reports the field.
        const now = await chat.conversation(viewer, { id: cached.conversation.id }).catch(() => null);
        if (isDeepStrictEqual(now, cached.conversation)) {
          audit(cached.decision);
          return cached.answer;
        }
      }
      const found: Conversation[] = [];
      const decisions: AuditEvent[] = [];
      const answer = await execute({
        ...context,
        audit: (decision) => {
          decisions.push(decision);
          audit(decision);
        },
        found: (conversation) => void found.push(conversation),
        get viewer() {
          return found.length > 0 ? noViewer() : viewer;
        },
      });
      const [conversation] = found;
      const [decision] = decisions;
      if (conversation && decision && answer.errors.length === 0) answers.set(key, { conversation, answer, decision });
      return answer;
    },
  };
}
