import type { ConversationId, EmailAddress } from '../model.ts';
import type { Store, Typing } from '../store/store.ts';

/** How long a hint lasts that is not repeated, in milliseconds. */
const EXPIRY_MS = 6000;
/** A repeat within this time, in milliseconds, is not published: other processes see the hint that much shorter. */
const COALESCE_MS = 2000;

type Hint = Omit<Typing, 'kind'>;

export type TypingTracker = ReturnType<typeof createTypingTracker>;

/**
 * The members that type in each conversation. Nothing is stored: each process keeps the hints it got until they expire.
 * `onChange` is called when a member, of any process, begins or stops.
 */
export function createTypingTracker(store: Store, onChange: (hint: Hint) => void, onError: (error: unknown) => void) {
  const typing = new Map<string, { readonly since: number; readonly timer: NodeJS.Timeout }>();

  function stop(hint: Hint): void {
    const key = keyOf(hint);
    const known = typing.get(key);
    if (!known) return;
    clearTimeout(known.timer);
    typing.delete(key);
    onChange({ ...hint, typing: false });
  }

  return {
    /** Applies a hint from this or another process. */
    wake(hint: Hint): void {
      if (!hint.typing) return stop(hint);
      const key = keyOf(hint);
      const known = typing.get(key);
      clearTimeout(known?.timer);
      const timer = setTimeout(() => stop(hint), EXPIRY_MS).unref();
      typing.set(key, { since: performance.now(), timer });
      if (!known) onChange(hint);
    },
    /** Whether the hint differs from what is known, or is due to be repeated. */
    isNew(hint: Hint): boolean {
      const known = typing.get(keyOf(hint));
      return hint.typing ? !known || performance.now() - known.since >= COALESCE_MS : known !== undefined;
    },
    /** Sends the hint to all processes; a failure loses the hint alone. */
    publish(hint: Hint): void {
      store.tellTyping({ kind: 'typing', ...hint }).catch(onError);
    },
    close(): void {
      for (const { timer } of typing.values()) clearTimeout(timer);
      typing.clear();
    },
  };
}

function keyOf({ conversation, member }: { conversation: ConversationId; member: EmailAddress }): string {
  return `${conversation} ${member}`;
}
