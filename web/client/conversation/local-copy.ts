import type { KredichatError } from '../errors.ts';
import type {
  ConversationFieldsFragment as Conversation,
  ConversationRef,
  ListedConversationFieldsFragment as ListedConversation,
  MessageFieldsFragment as Message,
  PageFieldsFragment as Page,
} from '../generated/operations.ts';
import { createObservable } from '../observable.ts';
import type { Outbox } from '../outbox.ts';
import { type Outgoing, queueKeyOf } from '../outbox-items.ts';
import {
  applyFetched,
  applyListed,
  applyMessage,
  applyRead,
  firstUnread,
  type Snapshot,
} from './conversation-reducer.ts';
import type { ConversationState } from './conversation-state.ts';
import type { ConversationEvent } from './events.ts';
import { createMessageWindow } from './message-window.ts';
import { createOutgoingTracker } from './outgoing.ts';
import { consecutive } from './ranges.ts';

export type LocalCopy = ReturnType<typeof createLocalCopy>;

/**
 * The local copy of a conversation: its fetched state with later events applied, its loaded messages, and the viewer's
 * outgoing ones. It publishes them as one state, and sends nothing.
 */
export function createLocalCopy(outbox: Outbox, ref: ConversationRef) {
  const state = createObservable<ConversationState>({
    ...{ phase: 'loading', conversation: null, messages: [], outgoing: [] },
    ...{ hasOlder: false, hasNewer: false, firstUnread: null, error: null },
  });
  const window = createMessageWindow();
  const outgoingTracker = createOutgoingTracker(outbox, ref);
  let snapshot: Snapshot | null = null;
  let me = '';
  let id = ref.id;
  /** Members seen to write or read. */
  const activeMembers = new Set<string>();

  const isReady = () => state.get().phase === 'ready';

  /** Publishes the present data, together with other changes of the state. */
  function publish(change: Partial<ConversationState> = {}): void {
    const messages = window.shown();
    const [oldest, newest] = [messages[0]?.seq ?? 1, messages.at(-1)?.seq ?? 0];
    const conversation = snapshot?.conversation ?? null;
    const hasNewer = newest < Math.max(conversation?.lastSeq ?? 0, window.lastSeq());
    const outgoing = outgoingTracker.after(newest, id);
    state.set({ ...state.get(), ...change, conversation, messages, outgoing, hasOlder: oldest > 1, hasNewer });
  }

  /** Takes a newer snapshot, and publishes it if the viewer is a member in it. Returns whether that is so. */
  function replaceSnapshot(next: Snapshot): boolean {
    snapshot = next;
    const isMember = next.conversation.membership.leftAt === null;
    if (isMember) publish();
    return isMember;
  }

  /** Whether a member's role may have become known: that happens at the first write or read, without an event. */
  function mayHaveRole(email: string): boolean {
    if (activeMembers.has(email)) return false;
    activeMembers.add(email);
    return snapshot?.conversation.members.some((member) => member.email === email && member.role === null) === true;
  }

  function addPage(page: Page, change: Partial<ConversationState>): void {
    window.addPage(page);
    outgoingTracker.recordLoaded(page.nodes, me);
    publish({ ...change, error: null });
  }

  return {
    get: state.get,
    subscribe: state.subscribe,
    /** The conversation's id; undefined until the first message has opened it. */
    id: () => id,
    /** The id as soon as it is known: the key lacks members that joined later. */
    ref: (): ConversationRef => (id === undefined ? ref : { id }),
    isReady,
    publish,
    update: (change: Pick<Partial<ConversationState>, 'phase' | 'error'>) => state.set({ ...state.get(), ...change }),
    /** Runs `work`, which fetches a page and adds it, and keeps changes that arrive during it. */
    load: window.load,
    /** The server cursor at one end of the shown messages. */
    cursorAt: window.cursorAt,
    holds: window.holds,
    show(seq: number): void {
      window.show(seq);
      publish();
    },
    addPage: (page: Page) => addPage(page, {}),
    /** Adds the fetched page around `seq`, or by default around the first unread message or at the end; shows it. */
    open(conversation: Conversation, page: Page, viewer: string, seq: number | null | undefined): void {
      me = viewer;
      const unread = isReady() ? state.get().firstUnread : firstUnread(conversation, page.nodes, me);
      const [oldest, newest] = [page.nodes[0]?.seq ?? 0, page.nodes.at(-1)?.seq ?? 0];
      const wanted = seq ?? ((!isReady() && unread) || newest);
      window.show(Math.min(Math.max(wanted, oldest), newest));
      id = conversation.id;
      snapshot = applyFetched(snapshot, conversation);
      addPage(page, { phase: 'ready', firstUnread: unread });
    },
    /** Records a message that the outbox reports as stored. Returns whether it is in this conversation. */
    recordStored(outgoing: Outgoing, { conversationId, seq }: Message): boolean {
      if (conversationId !== id && queueKeyOf(outgoing.to) !== queueKeyOf(ref)) return false;
      id = conversationId;
      outgoingTracker.recordStored(outgoing, seq);
      return true;
    },
    /** Whether a message of the viewer is stored, but not loaded. */
    hasUnloaded: outgoingTracker.hasUnloaded,
    /** Drops all messages of a conversation that the viewer is not, or no longer, a member of. */
    markGone(error: KredichatError | null): void {
      window.clear();
      publish({ phase: 'gone', error });
    },
    applyFetched: (conversation: Conversation) => replaceSnapshot(applyFetched(snapshot, conversation)),
    applyListed: (listed: ListedConversation) => !snapshot || replaceSnapshot(applyListed(snapshot, listed)),
    /** Returns whether the conversation has to be fetched again: the events do not carry all of its new values. */
    applyEvents(events: readonly ConversationEvent[]): boolean {
      const [added, changed]: [Message[], Message[]] = [[], []];
      let outdated = false;
      for (const event of events) {
        if (snapshot && event.__typename === 'ReadMoved') {
          outdated = (event.readSeq > 0 && mayHaveRole(event.member)) || outdated;
          snapshot = applyRead(snapshot, event.member, event.readSeq);
        }
        if (!('message' in event)) continue;
        if (snapshot) snapshot = applyMessage(snapshot, event.message);
        (event.__typename === 'MessageChanged' ? changed : added).push(event.message);
      }
      // Events come in order of `rev`, where an edited message stands after messages that were sent later.
      added.sort((a, b) => a.seq - b.seq);
      for (const range of consecutive(added)) window.add(range);
      // Changes follow additions, since an added message may have changed already.
      for (const message of changed) window.change(message);
      outgoingTracker.recordLoaded(added, me);
      publish();
      for (const { kind, sender } of added) if (mayHaveRole(sender) || kind === 'SYSTEM') outdated = true;
      return outdated;
    },
  };
}
