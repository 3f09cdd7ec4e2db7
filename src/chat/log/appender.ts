import { setImmediate } from 'node:timers/promises';
import type { Conversation, ConversationId, EmailAddress, Instant, Message } from '../../model.ts';
import type { Metrics } from '../../observability/metrics.ts';
import { revAfter, type Store, StoreUnavailable } from '../../store/store.ts';
import { ChatError, outcomeUnknown } from '../rules/errors.ts';
import { type CommandResult, clientKey, startChangeSet, writeOf } from './change-set.ts';
import { type Command, decide, weightOf } from './command.ts';
import type { KnownStates } from './known-states.ts';
import { afterWrite } from './next-state.ts';

/** Messages one store write holds at most; what waits beyond that goes into the next. */
const MAX_BATCH = 500;
/** UTF-16 units of text one store write holds at most: some stores bound what is written at once. One send always fits. */
const MAX_BATCH_TEXT = 2_000_000;
/** A send that has waited this long, in milliseconds, is not begun any more: its sender has been answered. */
const EXPIRY_MS = 8000;

/** The sends of one conversation that are not answered yet; there is one as long as there are any. */
interface Queue {
  readonly waiting: Waiting[];
  /** Whoever is named in the key, where the first of them is to open the conversation. */
  readonly openers: readonly EmailAddress[];
  /** Settles with the newest of them. */
  last: Promise<unknown>;
}

interface Waiting {
  readonly command: Command;
  /** When it was accepted, in milliseconds of the process's clock. */
  readonly since: number;
  readonly resolve: (decided: CommandResult) => void;
  readonly reject: (error: unknown) => void;
}

export type Appender = ReturnType<typeof createAppender>;

/**
 * Appends to conversations, one batch at a time each: sends that arrive while a batch is being written join the next.
 * A batch is decided on the newest state known and written on condition that the state has not moved; when another
 * process was faster, it is decided again. `doubt` is told of a conversation that may have been written to, or not.
 */
export function createAppender(
  store: Store,
  knownStates: KnownStates,
  clock: () => Instant,
  metrics: Metrics,
  doubt: (id: ConversationId) => void,
) {
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
        for (const settle of await write(id, batch)) settle();
      } catch (error) {
        doubt(id);
        for (const { reject } of batch) reject(unavailable(error));
      }
    }
    queues.delete(id);
  }

  async function write(id: ConversationId, batch: readonly Waiting[]): Promise<(() => void)[]> {
    for (;;) {
      const known = knownStates.known(id);
      const before = known ?? (await knownStates.read(id));
      const changeSet = startChangeSet(before, await knownByClientId(before, batch), await knownBySeq(id, batch));
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
      // Only what is written has the store's word that the state was the newest.
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

  /** As of the state: what is newer than that makes the write fail, and is decided on again. */
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

  /** Read after the state: what is newer than that makes the write fail, and is decided on again. */
  async function knownBySeq(id: ConversationId, batch: readonly Waiting[]): Promise<Map<number, Message>> {
    const seqs = new Set(batch.flatMap(({ command }) => ('seq' in command ? [command.seq] : [])));
    const found = await Promise.all([...seqs].map((seq) => store.messages(id, seq, seq)));
    return new Map(found.flat().map((message) => [message.seq, message]));
  }

  return {
    /** Resolves once it is durable. @throws ChatError, and nothing of this was stored unless it is UNAVAILABLE and says so */
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
    /** The sends under way for this conversation, settled when those accepted so far are answered; undefined when there are none. */
    underWay(
      id: ConversationId,
    ): { readonly openers: readonly EmailAddress[]; readonly last: Promise<unknown> } | undefined {
      return queues.get(id);
    },
  };
}

/** How many of those that wait fit into one write; at least one. */
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
