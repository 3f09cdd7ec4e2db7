import type { Conversation, ConversationId, ConversationStatus, EmailAddress, View, Viewer } from '../model.ts';
import type { Store } from '../store/store.ts';
import type { CommandResult } from './log/change-set.ts';
import type { Command } from './log/command.ts';
import type { MessageView } from './message-view.ts';
import { createRateLimit } from './rate-limit.ts';
import { type Operation, requireAccess } from './rules/access.ts';
import { badInput } from './rules/errors.ts';
import {
  checkLabelLengths,
  checkLabels,
  checkMessageText,
  checkName,
  checkText,
  requireId,
} from './rules/validation.ts';
import type { createTypingTracker } from './typing.ts';

/** Hints about typing that a user may give a minute, and at once; those that tell nothing new, or that it is over, are not counted. */
const HINTS = { perMinute: 120, burst: 20 } as const;

/** What is left out, or null but for the assignee, stays as it is. */
export interface UpdateInput {
  readonly status?: ConversationStatus | null | undefined;
  readonly assignee?: EmailAddress | null | undefined;
  readonly addLabels?: readonly string[] | null | undefined;
  readonly removeLabels?: readonly string[] | null | undefined;
  readonly addMembers?: readonly EmailAddress[] | null | undefined;
  readonly removeMembers?: readonly EmailAddress[] | null | undefined;
}

export interface ConversationsOptions {
  readonly store: Store;
  readonly typingTracker: ReturnType<typeof createTypingTracker>;
  /** The conversation as the viewer may see it, after the writes under way. */
  readonly read: (operation: Operation, id: ConversationId, viewer: Viewer) => Promise<Conversation | null>;
  /** The conversation after a write of the viewer's own. */
  readonly readAfterWrite: (operation: Operation, id: ConversationId, viewer: Viewer) => Promise<Conversation>;
  /** Decides an intent, and resolves once what comes of it is durable. */
  readonly write: (intent: Command) => Promise<CommandResult>;
  /** Has a change looked for of which nobody knows what became, and throws on. */
  readonly doubting: (id: ConversationId) => (error: unknown) => never;
  /** Makes sure that the viewer may do this, before it waits for others. @throws ChatError NOT_FOUND */
  readonly admit: (operation: Operation, id: ConversationId, viewer: Viewer) => Promise<void>;
  /** Counts a message. @throws ChatError RATE_LIMITED */
  readonly take: (viewer: Viewer) => void;
  /** Counts a change of the viewer's own view. @throws ChatError RATE_LIMITED */
  readonly takeView: (viewer: Viewer) => void;
}

/** What can be done to a conversation and its messages once they are there. */
export function createConversations({
  store,
  typingTracker,
  read,
  readAfterWrite,
  write,
  doubting,
  admit,
  take,
  takeView,
}: ConversationsOptions) {
  const takeHint = createRateLimit(HINTS.perMinute, HINTS.burst, () => performance.now());

  /** Changes what is there, for whoever may: counted as a message, and durable when it resolves. */
  async function change(operation: Operation, viewer: Viewer, intent: Exclude<Command, { kind: 'send' }>) {
    await admit(operation, intent.conversation, viewer);
    take(viewer);
    return write(intent);
  }

  async function changeMessage(
    operation: Operation,
    viewer: Viewer,
    intent: Extract<Command, { seq: number }>,
  ): Promise<MessageView> {
    const { messages, conversation } = await change(operation, viewer, intent);
    const [message] = messages;
    if (!message) throw new Error('a change of a message came to none');
    return { ...message, conversation };
  }

  return {
    /** Gives the viewer's own message another text; `expectedRev` is the `rev` it is to have. */
    async editMessage(
      viewer: Viewer,
      conversation: string,
      { seq, text, expectedRev }: { seq: number; text: string; expectedRev?: number | null | undefined },
    ): Promise<MessageView> {
      const about = { conversation: requireId(conversation), viewer, seq, expectedRev: expectedRev ?? null };
      return changeMessage('editMessage', viewer, { kind: 'edit', ...about, text: checkMessageText(text) });
    },

    /** Takes the texts of a message away for good. */
    async redactMessage(
      viewer: Viewer,
      conversation: string,
      { seq, reason }: { seq: number; reason: string },
    ): Promise<MessageView> {
      checkName('reason', checkText('reason', reason, 1, 500));
      const about = { conversation: requireId(conversation), viewer, seq, reason };
      return changeMessage('redactMessage', viewer, { kind: 'redact', ...about });
    },

    /** Changes a conversation for everybody; what changes nothing writes nothing. */
    async updateConversation(viewer: Viewer, conversation: string, input: UpdateInput): Promise<Conversation> {
      const [addMembers, removeMembers] = [distinct(input.addMembers), distinct(input.removeMembers)];
      const [addLabels, removeLabels] = [checkLabels(input.addLabels), checkLabelLengths(input.removeLabels)];
      for (const [added, removed] of [
        [addMembers, removeMembers],
        [addLabels, removeLabels],
      ]) {
        const gone: ReadonlySet<string> = new Set(removed);
        if (added?.some((one) => gone.has(one))) throw badInput('Something is added and removed at once.');
      }
      const lists = { addLabels, removeLabels, addMembers, removeMembers };
      const about = {
        conversation: requireId(conversation),
        viewer,
        status: input.status ?? null,
        assignee: input.assignee,
      };
      const decided = await change('updateConversation', viewer, { kind: 'update', ...about, ...lists });
      return decided.conversation;
    },

    /** Changes how the viewer sees a conversation. */
    async updateView(
      viewer: Viewer,
      conversation: string,
      view: { readonly [K in keyof View]?: boolean | null | undefined },
    ): Promise<Conversation> {
      const { id } = requireAccess('updateView', viewer, await read('updateView', requireId(conversation), viewer));
      takeView(viewer);
      const given = Object.entries(view).filter(([, value]) => value != null);
      await store.setView(id, viewer.email, Object.fromEntries(given) as Partial<View>).catch(doubting(id));
      return readAfterWrite('updateView', id, viewer);
    },

    /** Tells the other members that the viewer types, or no longer does. A hint, and forgotten after a few seconds. */
    async setTyping(viewer: Viewer, conversation: string, typing: boolean): Promise<void> {
      const { id } = requireAccess('setTyping', viewer, await read('setTyping', requireId(conversation), viewer));
      const hint = { conversation: id, member: viewer.email, typing };
      if (!typingTracker.isNews(hint)) return;
      // Others would go on being told that somebody types who has stopped.
      if (typing) takeHint(viewer.email, 1);
      typingTracker.say(hint);
    },
  };
}

function distinct(emails: readonly EmailAddress[] | null | undefined): EmailAddress[] {
  return [...new Set(emails ?? [])];
}
