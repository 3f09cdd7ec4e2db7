import { setImmediate } from 'node:timers/promises';
import type { Conversation, ConversationId, EmailAddress, Instant, Message } from '../../model.ts';
import type { Metrics } from '../../observability/metrics.ts';
import { revAfter, type Store, StoreUnavailable } from '../../store/store.ts';
import { ChatError, outcomeUnknown } from '../rules/errors.ts';
import { type CommandResult, clientKey, type FirstTexts, startChangeSet, writeOf } from './change-set.ts';
import { type Command, decide, weightOf } from './command.ts';
import type { KnownStates } from './known-states.ts';
import { afterWrite } from './next-state.ts';

/** Messages that one store write holds at most; further ones wait for the next. */
const MAX_BATCH = 500;
/** UTF-16 units of text that one store write holds at most, as stores have limits. One send always fits. */
const MAX_BATCH_TEXT = 2_000_000;
/** A command that waited this long, in milliseconds, is not started: the caller already got a timeout. */
const EXPIRY_MS = 8000;

/** The unanswered commands of one conversation; it exists while there are any. */
interface Queue {
  readonly waiting: Waiting[];
  /** The members of the key if the first command may open the conversation; otherwise empty. */
  readonly openers: readonly EmailAddress[];
  /** Settles with the newest command. */
  last: Promise<unknown>;
}

interface Waiting {
  readonly command: Command;
  /** When it was accepted, by `performance.now()`. */
  readonly since: number;
  readonly resolve: (decided: CommandResult) => void;
  readonly reject: (error: unknown) => void;
}

export type Appender = ReturnType<typeof createAppender>;

/**
 * Appends to conversations, one batch at a time each: commands that arrive during a write join the next batch.
 * A batch is decided on the newest known state and written on condition that the state has not moved; when another
 * process was faster, it is decided again. `onDoubt` is called when the outcome of a write is unknown.
 */
export function createAppender(
  store: Store,
  knownStates: KnownStates,
  clock: () => Instant,
  metrics: Metrics,
  onDoubt: (id: ConversationId) => void,
  firstTexts: FirstTexts,
) {
  const queues = new Map<ConversationId, Queue>();

  async function writeAll(id: ConversationId, queue: Queue): Promise<void> {
    const { waiting } = queue;
    // Commands of the same turn of the event loop are one batch.
    await setImmediate();
    while (waiting.length > 0) {
      const taken = waiting.splice(0, batchLength(waiting));
      const batch = taken.filter(({ since }) => performance.now() - since < EXPIRY_MS);
      for (const entry of taken) if (!batch.includes(entry)) entry.reject(notStored());
      if (batch.length === 0) continue;
      try {
        for (const settle of await write(id, batch)) settle();
      } catch (error) {
        onDoubt(id);
        for (const { reject } of batch) reject(unavailable(error));
      }
    }
    queues.delete(id);
  }

  async function write(id: ConversationId, batch: readonly Waiting[]): Promise<(() => void)[]> {
    for (;;) {
      const known = knownStates.known(id);
      const before = known ?? (await knownStates.read(id));
      const changeSet = startChangeSet(
        before,
        await knownByClientId(before, batch),
        await knownBySeq(id, batch),
        firstTexts,
      );
      const now = clock();
      let allWritten = true;
      let after = before;
      const settlements = batch.map(({ command, resolve, reject }) => {
        try {
          const decided = decide(changeSet, command, now);
          allWritten &&= !decided.deduplicated;
          return () => resolve({ ...decided, conversation: after ?? decided.conversation });
        } catch (error) {
          allWritten = false;
          return () => reject(error);
        }
      });
      const write = writeOf(changeSet, id, before);
      // A decision on a cached head counts only if its write succeeds; otherwise decide again on a fresh read.
      if (!known || allWritten) {
        if (!write) return settlements;
        if (await store.write(write)) {
          metrics.appended(write.messages.length);
          const newest = knownStates.known(id);
          after = newest?.lastRev === revAfter(write) ? newest : afterWrite(before, write);
          return settlements;
        }
      }
      knownStates.forget(id);
    }
  }

  /** Read as of `before`: a newer message makes the write fail, and the batch is decided again. */
  async function knownByClientId(
    before: Conversation | null,
    batch: readonly Waiting[],
  ): Promise<Map<string, Message>> {
    const keys = batch.flatMap(({ command }) =>
      command.kind === 'send'
        ? command.drafts.flatMap(({ clientId }) =>
            clientId === null ? [] : [{ sender: command.viewer.email, clientId }],
          )
        : [],
    );
    const found = before && keys.length > 0 ? await store.messagesByClientId(before.id, keys, before.lastRev) : [];
    return new Map(found.map((message) => [clientKey(message.sender, message.clientId ?? ''), message]));
  }

  /** Read after `before`: a newer change makes the write fail, and the batch is decided again. */
  async function knownBySeq(id: ConversationId, batch: readonly Waiting[]): Promise<Map<number, Message>> {
    const seqs = new Set(batch.flatMap(({ command }) => ('seq' in command ? [command.seq] : [])));
    const found = await Promise.all([...seqs].map((seq) => store.messages(id, seq, seq)));
    return new Map(found.flat().map((message) => [message.seq, message]));
  }

  return {
    /** Resolves once the command is durable. @throws ChatError; nothing was stored, unless the outcome is unknown */
    write(command: Command): Promise<CommandResult> {
      const { conversation: id } = command;
      const openers = command.kind === 'send' ? (command.opening?.members ?? []) : [];
      const queue = queues.get(id) ?? { waiting: [], openers, last: Promise.resolve() };
      const done = new Promise<CommandResult>((resolve, reject) => {
        queue.waiting.push({ command, since: performance.now(), resolve, reject });
      });
      queue.last = done.catch(() => {});
      if (!queues.has(id)) {
        queues.set(id, queue);
        void writeAll(id, queue);
      }
      return done;
    },
    /** The commands under way for a conversation; `last` settles when those accepted so far are answered. */
    underWay(
      id: ConversationId,
    ): { readonly openers: readonly EmailAddress[]; readonly last: Promise<unknown> } | undefined {
      return queues.get(id);
    },
  };
}

/** How many of the waiting commands fit into one write; at least one. */
function batchLength(waiting: readonly Waiting[]): number {
  let messages = 0;
  let text = 0;
  let length = 0;
  for (const { command } of waiting) {
    const weight = weightOf(command);
    messages += weight.messages;
    text += weight.text;
    if (length > 0 && (messages > MAX_BATCH || text > MAX_BATCH_TEXT)) break;
    length++;
  }
  return length;
}

function unavailable(error: unknown): unknown {
  if (!(error instanceof StoreUnavailable)) return error;
  return error.nothingWritten ? notStored() : outcomeUnknown();
}

function notStored(): ChatError {
  return new ChatError('UNAVAILABLE', 'The store did not answer in time: not stored.');
}
