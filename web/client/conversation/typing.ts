import type { Connection } from '../connection/connection.ts';
import { SetTypingDocument } from '../generated/operations.ts';
import { createObservable, type Readable } from '../observable.ts';

/** A typing state ends after this (ms) if its end event is lost: the server sends no event in between. */
const EXPIRY_MS = 60_000;

/** Interval between typing reports, in milliseconds. The server ends the typing state after 6 s without a report. */
const REPEAT_MS = 3000;

export interface TypingTracker extends Readable<readonly string[]> {
  /** Records that a member started or stopped typing. */
  record(member: string, typing: boolean): void;
  /** Clears all typing members. */
  clear(): void;
}

/** Tracks typing members, in the order they started. Entries expire after `EXPIRY_MS`. */
export function createTypingTracker(): TypingTracker {
  const typists = createObservable<readonly string[]>([]);
  const timers = new Map<string, ReturnType<typeof setTimeout>>();

  function record(member: string, typing: boolean): void {
    clearTimeout(timers.get(member));
    timers.delete(member);
    const known = typists.get().includes(member);
    if (typing) timers.set(member, setTimeout(record, EXPIRY_MS, member, false));
    if (typing && !known) typists.set([...typists.get(), member]);
    if (!typing && known) typists.set(typists.get().filter((other) => other !== member));
  }

  return {
    get: typists.get,
    subscribe: typists.subscribe,
    record,
    clear() {
      for (const member of typists.get()) record(member, false);
    },
  };
}

/** Reports the viewer's typing state. Callable with every key, sent every few seconds; failures are ignored. */
export function createTypingReporter(connection: Connection, id: () => string | undefined, clock: () => number) {
  let lastSentAt = Number.NEGATIVE_INFINITY;
  return function send(typing: boolean): void {
    const conversationId = id();
    // A delayed report would be outdated.
    if (conversationId === undefined || connection.status.get().state !== 'online') return;
    const now = clock();
    if (typing ? Math.abs(now - lastSentAt) < REPEAT_MS : lastSentAt === Number.NEGATIVE_INFINITY) return;
    lastSentAt = typing ? now : Number.NEGATIVE_INFINITY;
    connection.run(SetTypingDocument, { conversationId, typing }).catch(() => {});
  };
}
