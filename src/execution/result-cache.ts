import { isDeepStrictEqual } from 'node:util';
import { LRUCache } from 'lru-cache';
import { may } from '../chat/rules/access.ts';
import type { Context } from '../graphql/context.ts';
import type { Conversation } from '../model.ts';
import type { AuditEvent } from '../observability/audit.ts';
import type { PreparedOperation } from './prepared-operation.ts';
import type { Answer } from './response-writer.ts';
import { noViewer } from './shared-execution.ts';

/** Bytes of answers that are kept. */
const KEPT_BYTES = 16_000_000;

/** An answer, and the state of the conversation that it was made of. */
interface Kept {
  readonly conversation: Conversation;
  readonly answer: Answer;
  /** What was decided about the first who asked, and is decided about everybody who may see it. */
  readonly decision: AuditEvent;
}

/**
 * Keeps what queries of one conversation came to: a page of a log is the same for all who may see it, until the
 * conversation changes. Whether it has is read from the store each time, and so is whether the viewer may see it.
 */
export function createResultCache() {
  const answers = new LRUCache<string, Kept>({
    maxSize: KEPT_BYTES,
    maxEntrySize: KEPT_BYTES / 16,
    sizeCalculation: ({ answer }, key) => answer.json.length + key.length,
  });

  return {
    /** The answer to a query, `execute`d unless it is kept. */
    async read(
      { id, sharing }: PreparedOperation,
      variables: Readonly<Record<string, unknown>> | null | undefined,
      context: Context,
      execute: (context: Context) => Promise<Answer>,
    ): Promise<Answer> {
      const { chat, viewer, audit } = context;
      if (!viewer || !sharing.oneConversation || sharing.perViewer) return execute(context);
      const key = JSON.stringify([id, variables]);
      const kept = answers.get(key);
      // A stranger's question takes the way that tells nothing by its time.
      if (kept && may('conversation', viewer, kept.conversation)) {
        // What goes wrong goes wrong again in the execution, which says at which field.
        const now = await chat.conversation(viewer, { id: kept.conversation.id }).catch(() => null);
        if (isDeepStrictEqual(now, kept.conversation)) {
          audit(kept.decision);
          return kept.answer;
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
