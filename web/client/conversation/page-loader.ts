import type { Connection } from '../connection/connection.ts';
import { createRetryTimer } from '../connection/retry.ts';
import { asError } from '../errors.ts';
import { MessagesDocument } from '../generated/operations.ts';
import type { LocalCopy } from './local-copy.ts';

/** Loads pages at one end of the shown messages, one at a time, and again after a transient failure. */
export function createPageLoader(connection: Connection, copy: LocalCopy, end: 'older' | 'newer', size: number) {
  const retry = createRetryTimer();
  let loading: Promise<void> | null = null;
  let closed = false;

  function load(): Promise<void> {
    loading ??= copy.load(loadPage).then((grew) => {
      loading = null;
      // Notifies listeners that need another page, as on a high screen.
      if (grew) copy.publish();
    });
    return loading;
  }

  /** Resolves with whether the page held messages. */
  async function loadPage(): Promise<boolean> {
    const { hasOlder, hasNewer } = copy.get();
    const [id, cursor] = [copy.id(), copy.cursorAt(end)];
    if (id === undefined || cursor === undefined || !(end === 'older' ? hasOlder : hasNewer)) return false;
    retry.cancel();
    try {
      const slice = end === 'older' ? { last: size, before: cursor } : { first: size, after: cursor };
      const { conversation } = await connection.run(MessagesDocument, { id, ...slice });
      if (closed || !conversation || !copy.isReady()) return false;
      retry.reset();
      copy.addPage(conversation.messages);
      return conversation.messages.nodes.length > 0;
    } catch (thrown) {
      const error = asError(thrown);
      if (closed) return false;
      copy.update({ error });
      if (error.transient) retry.schedule(() => void load(), error);
      return false;
    }
  }

  return {
    load,
    close(): void {
      closed = true;
      retry.cancel();
    },
  };
}
