import type { ConversationId, EmailAddress } from '../model.ts';
import type { Store, Typing } from '../store/store.ts';

/** How long somebody types who does not say so again, in milliseconds. */
const EXPIRY_MS = 6000;
/** Who says so again within this time, in milliseconds, is not told of again: it leaves the others that much less time. */
const COALESCE_MS = 2000;

type Hint = Omit<Typing, 'kind'>;

/**
 * Who types where. Nothing of it is stored: a process knows what it was told, and forgets it by itself. `tell` is
 * called when somebody begins or stops, whoever said so and wherever.
 */
export function createTypingTracker(store: Store, tell: (hint: Hint) => void, onError: (error: unknown) => void) {
  const typing = new Map<string, { readonly since: number; readonly timer: NodeJS.Timeout }>();

  function stop(hint: Hint): void {
    const key = keyOf(hint);
    const known = typing.get(key);
    if (!known) return;
    clearTimeout(known.timer);
    typing.delete(key);
    tell({ ...hint, typing: false });
  }

  return {
    /** Takes up what a member of this or another process says. */
    wake(hint: Hint): void {
      if (!hint.typing) return stop(hint);
      const key = keyOf(hint);
      const known = typing.get(key);
      clearTimeout(known?.timer);
      const timer = setTimeout(() => stop(hint), EXPIRY_MS).unref();
      typing.set(key, { since: performance.now(), timer });
      if (!known) tell(hint);
    },
    /** Whether saying this would tell anybody something. */
    isNews(hint: Hint): boolean {
      const known = typing.get(keyOf(hint));
      return hint.typing ? !known || performance.now() - known.since >= COALESCE_MS : known !== undefined;
    },
    /** Says it to all processes; that it does not get through is nobody's loss but the hint's. */
    say(hint: Hint): void {
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
