import type { Conversation, ConversationId, EmailAddress, Viewer } from '../model.ts';
import { type Store, StoreUnavailable } from '../store/store.ts';
import type { Appender } from './log/appender.ts';
import type { KnownStates } from './log/known-states.ts';
import { may, type Operation, requireAccess } from './rules/access.ts';
import { outcomeUnknown } from './rules/errors.ts';
import { singleFlight } from './single-flight.ts';

export type Visibility = ReturnType<typeof createVisibility>;

/** Reads of conversations as a viewer may see them. */
export function createVisibility(store: Store, knownStates: KnownStates, appender: Appender) {
  /** Makes the store write, after which reads return everything acknowledged before. */
  const catchUp = singleFlight(() => store.ping());

  /** The conversation after the sends under way in this process, so that a read after a send includes it. */
  async function read(operation: Operation, id: ConversationId, viewer: Viewer): Promise<Conversation | null> {
    const visible = (conversation: Conversation | null) =>
      conversation && may(operation, viewer, conversation) ? conversation : null;
    const conversation = visible(await store.conversation(id, viewer.email));
    const underWay = appender.underWay(id);
    // Only members and openers wait: for others the time would tell that the conversation exists.
    const waits = conversation ?? (!knownStates.known(id) && underWay?.openers.includes(viewer.email));
    if (!underWay || !waits) return conversation;
    await underWay.last;
    return visible(await store.conversation(id, viewer.email));
  }

  /** Reads for the same viewer at the same time share one, so that sends keep the order in which they arrived. */
  const reads = new Map<string, Promise<Conversation | null>>();
  function readOnce(id: ConversationId, reader?: EmailAddress): Promise<Conversation | null> {
    const key = `${id} ${reader ?? ''}`;
    const reading = reads.get(key);
    if (reading) return reading;
    const started = knownStates.read(id, reader);
    reads.set(key, started);
    const done = () => void reads.delete(key);
    started.then(done, done);
    return started;
  }

  return {
    read,
    catchUp,

    /** As `read`; where a position is beyond the end, another instance may have stored more: reads again. */
    async readTo(
      operation: Operation,
      id: ConversationId | null,
      viewer: Viewer,
      isBeyond: (conversation: Conversation) => boolean,
    ): Promise<Conversation> {
      const conversation = requireAccess(operation, viewer, id && (await read(operation, id, viewer)));
      if (!isBeyond(conversation)) return conversation;
      await catchUp();
      return requireAccess(operation, viewer, await read(operation, conversation.id, viewer));
    },

    /** The conversation after a write. A failed read does not mean that nothing was written. */
    async readAfterWrite(operation: Operation, id: ConversationId, viewer: Viewer): Promise<Conversation> {
      const conversation = await store.conversation(id, viewer.email).catch((error: unknown) => {
        throw error instanceof StoreUnavailable ? outcomeUnknown() : error;
      });
      return requireAccess(operation, viewer, conversation);
    },

    /**
     * Checks access before a write is queued: the wait for earlier writes would tell that the conversation exists.
     * @param opens whether the write may open the conversation
     * @throws ChatError NOT_FOUND
     */
    async admit(operation: Operation, id: ConversationId, viewer: Viewer, opens = false): Promise<void> {
      const known = knownStates.known(id);
      if (known && may(operation, viewer, known)) return;
      let conversation = await readOnce(id, viewer.email);
      // Null means that there is none, or that the viewer is no member; only the former may be opened.
      if (opens) conversation ??= await readOnce(id);
      if (conversation || !opens) requireAccess(operation, viewer, conversation);
    },
  };
}
