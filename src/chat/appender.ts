import { setImmediate } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Conversation, ConversationId, EmailAddress, Instant, Message } from '../model.ts';
import type { Metrics } from '../observe.ts';
import { type Store, StoreUnavailable, type WakeUp } from '../store/store.ts';
import { ChatError, outcomeUnknown } from './errors.ts';
import { decide, type Intent, weightOf } from './intent.ts';
import { clientKey, type Decided, startPlan, writeOf } from './plan.ts';
import { afterWrite } from './state-after.ts';

/** Messages one store write holds at most; what waits beyond that goes into the next. */
const MAX_BATCH = 500;
/** UTF-16 units of text one store write holds at most: some stores bound what is written at once. One send always fits. */
const MAX_BATCH_TEXT = 2_000_000;
/** Conversations whose newest state is kept, so that the next batch is decided without reading it. */
const KEPT_HEADS = 10_000;
/** For how long at most, in milliseconds: that a read position moved elsewhere may be missed. */
const HEAD_MS = 1000;
/** A send that has waited this long, in milliseconds, is not begun any more: its sender has been answered. */
const EXPIRY_MS = 8000;

/** The sends of one conversation that are not answered yet; there is one as long as there are any. */
interface Queue {
  readonly waiting: Waiting[];
  /** The state they are written on, as far as it is known; a conversation that is being opened has none. */
  head: Conversation | null;
  /** Whoever is named in the key, where the first of them is to open the conversation. */
  readonly openers: readonly EmailAddress[];
  /** Settles with the newest of them. */
  last: Promise<unknown>;
  /** Something changed that `lastRev` does not tell of, since the state was read that is being written on. */
  stale: boolean;
}

/** A state of a conversation: as it was read, and with what was appended since. */
interface Head {
  readonly conversation: Conversation;
  /** Milliseconds of the process's clock. */
  readonly readAt: number;
}

interface Waiting {
  readonly intent: Intent;
  /** When it was accepted, in milliseconds of the process's clock. */
  readonly since: number;
  readonly resolve: (decided: Decided) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Appends to conversations, one batch at a time each: sends that arrive while a batch is being written join the next.
 * A batch is decided on the newest state and written on condition that the state has not moved; when another
 * process was faster, it is decided again. So what is kept of a conversation need not be the newest: it is only tried first.
 */
export function createAppender(store: Store, clock: () => Instant, metrics: Metrics) {
  const heads = new LRUCache<ConversationId, Head>({ max: KEPT_HEADS });
  const queues = new Map<ConversationId, Queue>();

  async function writeAll(id: ConversationId, queue: Queue): Promise<void> {
    const { waiting } = queue;
    // Sends that came in the same turn of the event loop are one batch.
    await setImmediate();
    while (waiting.length > 0) {
      const taken = waiting.splice(0, batchLength(waiting));
      const batch = taken.filter(({ since }) => performance.now() - since < EXPIRY_MS);
      for (const entry of taken) if (!batch.includes(entry)) entry.reject(notStored());
      if (batch.length === 0) continue;
      try {
        for (const settle of await write(id, queue, batch)) settle();
      } catch (error) {
        for (const { reject } of batch) reject(unavailable(error));
      }
    }
    queues.delete(id);
  }

  async function write(id: ConversationId, queue: Queue, batch: readonly Waiting[]): Promise<(() => void)[]> {
    for (;;) {
      queue.stale = false;
      const kept = newEnough(heads.get(id));
      heads.delete(id);
      const { conversation, readAt } = kept ?? {
        readAt: performance.now(),
        conversation: await store.conversation(id),
      };
      queue.head = conversation;
      const plan = startPlan(conversation, await knownByClientId(id, batch), await knownBySeq(id, batch));
      const now = clock();
      let allWritten = true;
      let after = conversation;
      const settlements = batch.map(({ intent, resolve, reject }) => {
        try {
          const decided = decide(plan, intent, now);
          allWritten &&= !decided.deduplicated;
          return () => resolve({ ...decided, conversation: after ?? decided.conversation });
        } catch (error) {
          allWritten = false;
          return () => reject(error);
        }
      });
      // Only what is written has the store's word that the state was the newest.
      if (kept && !allWritten) continue;
      const write = writeOf(plan, id, conversation);
      if (!write) return settlements;
      if (await store.write(write)) {
        metrics.appended(write.messages.length);
        after = afterWrite(conversation, write);
        if (!queue.stale) heads.set(id, { conversation: after, readAt });
        return settlements;
      }
    }
  }

  async function knownByClientId(id: ConversationId, batch: readonly Waiting[]): Promise<Map<string, Message>> {
    const keys = batch.flatMap(({ intent }) =>
      intent.kind === 'send'
        ? intent.drafts.flatMap(({ clientId }) =>
            clientId === null ? [] : [{ sender: intent.viewer.email, clientId }],
          )
        : [],
    );
    const found = keys.length === 0 ? [] : await store.messagesByClientId(id, keys);
    return new Map(found.map((message) => [clientKey(message.sender, message.clientId ?? ''), message]));
  }

  /** Read after the state: what is newer than that makes the write fail, and is decided on again. */
  async function knownBySeq(id: ConversationId, batch: readonly Waiting[]): Promise<Map<number, Message>> {
    const seqs = new Set(batch.flatMap(({ intent }) => ('seq' in intent ? [intent.seq] : [])));
    const found = await Promise.all([...seqs].map((seq) => store.messages(id, seq, seq)));
    return new Map(found.flat().map((message) => [message.seq, message]));
  }

  return {
    /** Resolves once it is durable. @throws ChatError, and nothing of this was stored unless it is UNAVAILABLE and says so */
    write(intent: Intent): Promise<Decided> {
      const { conversation: id } = intent;
      const { conversation: head = null } = heads.get(id) ?? {};
      const openers = intent.kind === 'send' ? (intent.opening?.members ?? []) : [];
      const queue = queues.get(id) ?? { waiting: [], head, openers, last: Promise.resolve(), stale: false };
      const done = new Promise<Decided>((resolve, reject) => {
        queue.waiting.push({ intent, since: performance.now(), resolve, reject });
      });
      queue.last = done.catch(() => {});
      if (!queues.has(id)) {
        queues.set(id, queue);
        void writeAll(id, queue);
      }
      return done;
    },
    /** Something may have changed: nothing that is kept of it is relied on. */
    wake(wakeUp: WakeUp | null): void {
      if (!wakeUp) {
        for (const queue of queues.values()) queue.stale = true;
        return heads.clear();
      }
      const { kind, conversation: id } = wakeUp;
      const queue = queues.get(id);
      // Whether the log is longer a write under way finds out by itself, as its own wake-up comes here too.
      if (kind === 'typing' || (queue && kind === 'log')) return;
      if (queue) queue.stale = true;
      heads.delete(id);
    },
    /** The sends under way for this conversation, settled when those accepted so far are answered; undefined when there are none. */
    underWay(
      id: ConversationId,
    ): { readonly openers: readonly EmailAddress[]; readonly last: Promise<unknown> } | undefined {
      return queues.get(id);
    },
    /** A state of the conversation that is not old, if one is at hand. */
    known(id: ConversationId): Conversation | null {
      return queues.get(id)?.head ?? newEnough(heads.get(id))?.conversation ?? null;
    },
    /** Keeps a state that was just read, for the next send. */
    keep(conversation: Conversation, readAt: number): void {
      if (!queues.has(conversation.id)) heads.set(conversation.id, { conversation, readAt });
    },
  };
}

/** How many of those that wait fit into one write; at least one. */
function batchLength(waiting: readonly Waiting[]): number {
  let messages = 0;
  let text = 0;
  let length = 0;
  for (const { intent } of waiting) {
    const weight = weightOf(intent);
    messages += weight.messages;
    text += weight.text;
    if (length > 0 && (messages > MAX_BATCH || text > MAX_BATCH_TEXT)) break;
    length++;
  }
  return length;
}

function newEnough(head: Head | undefined): Head | undefined {
  return head && performance.now() - head.readAt < HEAD_MS ? head : undefined;
}

function unavailable(error: unknown): unknown {
  if (!(error instanceof StoreUnavailable)) return error;
  return error.nothingWritten ? notStored() : outcomeUnknown();
}

function notStored(): ChatError {
  return new ChatError('UNAVAILABLE', 'The store did not answer in time: not stored.');
}
