import type { ClientSession } from 'mongodb';
import type { ConversationId, EmailAddress, Message, Rev } from '../../model.ts';
import { createBatcher } from '../batcher.ts';
import type { Store } from '../store.ts';
import { type Collections, type MessageDocument, toMessage } from './documents.ts';
import type { createWriter } from './writer.ts';

/** Client ids per query at most, except that those of one call go together. */
const MAX_KEYS = 500;

type Keys = Parameters<Store['messagesByClientId']>[1];

interface Call {
  readonly id: ConversationId;
  readonly keys: Keys;
  /** `lastRev` of the state to search; undefined for the newest. */
  readonly lastRev: Rev | undefined;
  readonly resolve: (found: Message[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Looks messages up by their client ids. All calls of one turn, and those that come while a look-up runs, share a
 * query, and one more for conversations without cached pending messages. Every send looks one up, and almost none
 * exists.
 */
export function createClientIdLookUp(
  { conversations, messages }: Pick<Collections, 'conversations' | 'messages'>,
  session: ClientSession,
  { pendingAt }: Pick<ReturnType<typeof createWriter>, 'pendingAt'>,
): Store['messagesByClientId'] {
  const add = createBatcher<Call>(callsWithin, answer);

  async function answer(calls: readonly Call[]): Promise<void> {
    try {
      const found = await look(calls);
      for (const { id, keys, resolve } of calls) {
        const own = new Set(keys.map(({ sender, clientId }) => nameOf(id, sender, clientId)));
        resolve([...own].flatMap((name) => found.get(name) ?? []).map(toMessage));
      }
    } catch (error) {
      for (const { reject } of calls) reject(error);
    }
  }

  /** The newest version of each message, by its name; and of others that are pending in the same conversations. */
  async function look(calls: readonly Call[]): Promise<Map<string, MessageDocument>> {
    const $or = calls.flatMap(({ id, keys }) =>
      keys.map(({ sender, clientId }) => ({ conversation: id, sender, clientId })),
    );
    // In this order, messages moved out of a conversation's document meanwhile are found in `messages`.
    const pending = await pendingOf(calls);
    const moved = await messages.find({ $or }, { session }).toArray();
    const newest = new Map<string, MessageDocument>();
    for (const document of [...moved, ...pending]) {
      const { conversation, sender, clientId, rev } = document;
      if (clientId === undefined) continue;
      const name = nameOf(conversation, sender, clientId);
      if (rev > (newest.get(name)?.rev ?? 0)) newest.set(name, document);
    }
    return newest;
  }

  /** The pending messages of these conversations. */
  async function pendingOf(calls: readonly Call[]): Promise<MessageDocument[]> {
    const known = calls.map(({ id, lastRev }) => (lastRev === undefined ? null : pendingAt(id, lastRev)));
    const unknown = new Set(calls.filter((_, i) => !known[i]).map(({ id }) => id));
    const projection = { tail: 1, changed: 1 };
    const found =
      unknown.size > 0
        ? await conversations.find({ _id: { $in: [...unknown] } }, { session, projection }).toArray()
        : [];
    return [...known, ...found].flatMap((one) => [...(one?.tail ?? []), ...(one?.changed ?? [])]);
  }

  return async (id, keys, lastRev) => {
    if (keys.length === 0) return [];
    return new Promise((resolve, reject) => add({ id, keys, lastRev, resolve, reject }));
  };
}

/** How many of the calls have at most MAX_KEYS keys together; at least one. */
function callsWithin(calls: readonly Call[]): number {
  let count = 0;
  const end = calls.findIndex(({ keys }, i) => {
    count += keys.length;
    return i > 0 && count > MAX_KEYS;
  });
  return end < 0 ? calls.length : end;
}

function nameOf(conversation: ConversationId, sender: EmailAddress, clientId: string): string {
  return JSON.stringify([conversation, sender, clientId]);
}
