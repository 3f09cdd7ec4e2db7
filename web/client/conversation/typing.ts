import type { Connection } from '../connection/connection.ts';
import { SetTypingDocument } from '../generated/operations.ts';
import { createObservable, type Readable } from '../observable.ts';

/** The server tells once that somebody began, and once that they stopped. Should the second be lost, it is over after this. */
const EXPIRY_MS = 60_000;

/** The server forgets after 6 s who does not say again that they type; said this often, that does not happen. */
const REPEAT_MS = 3000;

export interface TypingTracker extends Readable<readonly string[]> {
  /** Somebody began to type, or stopped. */
  note(member: string, typing: boolean): void;
  /** Nobody is known to type any more. */
  clear(): void;
}

/** Who types, in the order they began; forgets by itself. */
export function createTypingTracker(): TypingTracker {
  const typists = createObservable<readonly string[]>([]);
  const timers = new Map<string, ReturnType<typeof setTimeout>>();

  function note(member: string, typing: boolean): void {
    clearTimeout(timers.get(member));
    timers.delete(member);
    const known = typists.get().includes(member);
    if (typing) timers.set(member, setTimeout(note, EXPIRY_MS, member, false));
    if (typing && !known) typists.set([...typists.get(), member]);
    if (!typing && known) typists.set(typists.get().filter((other) => other !== member));
  }

  return {
    get: typists.get,
    subscribe: typists.subscribe,
    note,
    clear() {
      for (const member of typists.get()) note(member, false);
    },
  };
}

/** Tells the others that the viewer types: to be called with every key, said every few seconds. A hint: failures are not told of. */
export function createTypingHint(connection: Connection, conversation: () => string | undefined, clock: () => number) {
  let lastSentAt = Number.NEGATIVE_INFINITY;
  return function send(typing: boolean): void {
    const conversationId = conversation();
    // Said later, it would not be true any more.
    if (conversationId === undefined || connection.status.get().state !== 'online') return;
    const now = clock();
    if (typing ? Math.abs(now - lastSentAt) < REPEAT_MS : lastSentAt === Number.NEGATIVE_INFINITY) return;
    lastSentAt = typing ? now : Number.NEGATIVE_INFINITY;
    connection.run(SetTypingDocument, { conversationId, typing }).catch(() => {});
  };
}
