import type { Conversation, ConversationId, Instant, Seq, View, Viewer } from '../model.ts';
import type { Store } from '../store/store.ts';
import type { KnownStates } from './log/known-states.ts';
import type { RateLimits } from './rate-limit.ts';
import { may, requireAccess } from './rules/access.ts';
import { checkPosition, conversationOf, requireId } from './rules/validation.ts';
import type { TypingTracker } from './typing.ts';
import type { Visibility } from './visibility.ts';

interface MembershipOptions {
  readonly store: Store;
  readonly clock: () => Instant;
  readonly knownStates: KnownStates;
  readonly visibility: Visibility;
  readonly typingTracker: TypingTracker;
  readonly limits: RateLimits;
  /** Called when a write failed with an unknown outcome: the state of the conversation must be read again. */
  readonly onDoubt: (id: ConversationId) => void;
}

/** The changes that members make for themselves, outside the log: read position, view and typing. */
export function createMembership({
  store,
  clock,
  knownStates,
  visibility,
  typingTracker,
  limits,
  onDoubt,
}: MembershipOptions) {
  const doubting = (id: ConversationId) => (error: unknown) => {
    onDoubt(id);
    throw error;
  };

  return {
    /** Moves the viewer's read position forward to `seq`, and records the role that the credential names. */
    async markRead(viewer: Viewer, conversation: string, seq: Seq): Promise<Conversation> {
      const id = conversationOf(conversation);
      const known = () => {
        const state = id && knownStates.known(id);
        return state && may('markRead', viewer, state) && seq <= state.lastSeq ? state : null;
      };
      const before = known() ?? (await visibility.readTo('markRead', id, viewer, ({ lastSeq }) => seq > lastSeq));
      checkPosition('seq', seq, before.lastSeq);
      const { readSeq = 0, role = null } = before.members.get(viewer.email) ?? {};
      const hasNewRole = viewer.role !== null && viewer.role !== role;
      if (seq <= readSeq && !hasNewRole) return before;
      const moved = await store
        .advanceReadPosition(before.id, viewer.email, Math.max(seq, readSeq), viewer.role, before, clock())
        .catch(doubting(before.id));
      // Read again if a concurrent request moved the position, or the known state lacks this move.
      const after = moved ? known() : null;
      const isCurrent = (after?.members.get(viewer.email)?.readSeq ?? 0) >= seq;
      return after && isCurrent ? after : visibility.readAfterWrite('markRead', before.id, viewer);
    },

    /** Changes how the viewer sees a conversation; absent values and nulls change nothing. */
    async updateView(
      viewer: Viewer,
      conversation: string,
      view: { readonly [K in keyof View]?: boolean | null | undefined },
    ): Promise<Conversation> {
      const found = await visibility.read('updateView', requireId(conversation), viewer);
      const { id } = requireAccess('updateView', viewer, found);
      limits.views(viewer.email, 1);
      const given = Object.entries(view).filter(([, value]) => value != null);
      await store.setView(id, viewer.email, Object.fromEntries(given) as Partial<View>).catch(doubting(id));
      return visibility.readAfterWrite('updateView', id, viewer);
    },

    /** Tells the other members that the viewer types, or stopped. A hint, which expires after a few seconds. */
    async setTyping(viewer: Viewer, conversation: string, typing: boolean): Promise<void> {
      const found = await visibility.read('setTyping', requireId(conversation), viewer);
      const { id } = requireAccess('setTyping', viewer, found);
      const hint = { conversation: id, member: viewer.email, typing };
      if (!typingTracker.isNew(hint)) return;
      // A refused stop would leave the other members with a hint that is no longer true.
      if (typing) limits.typingHints(viewer.email, 1);
      typingTracker.publish(hint);
    },
  };
}
