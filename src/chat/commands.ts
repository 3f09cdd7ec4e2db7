import {
  type Conversation,
  type ConversationStatus,
  conversationId,
  type EmailAddress,
  type MessageOptions,
  NO_OPTIONS,
  type Rev,
  type Seq,
  type Viewer,
} from '../model.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { Appender } from './log/appender.ts';
import type { Command } from './log/command.ts';
import type { Draft } from './log/send.ts';
import type { MessageView } from './message-view.ts';
import type { RateLimits } from './rate-limit.ts';
import type { Operation } from './rules/access.ts';
import { badInput } from './rules/errors.ts';
import {
  type ConversationRef,
  checkLabelLengths,
  checkLabels,
  checkMessageText,
  checkName,
  checkOptional,
  checkOwnKey,
  checkText,
  requireId,
} from './rules/validation.ts';
import type { Visibility } from './visibility.ts';

/** Messages that one send holds at most. */
const MAX_MESSAGES = 100;

export interface SendInput {
  readonly to: ConversationRef;
  /** 1 to `MAX_MESSAGES`. */
  readonly messages: readonly ({ readonly text: string } & Partial<MessageOptions>)[];
  readonly subject?: string | null | undefined;
  readonly party?: string | null | undefined;
}

interface Sent {
  readonly messages: readonly MessageView[];
  readonly conversation: Conversation;
  readonly deduplicated: boolean;
}

/** Absent values change nothing, nor do nulls, but for the assignee. */
interface UpdateInput {
  readonly status?: ConversationStatus | null | undefined;
  readonly assignee?: EmailAddress | null | undefined;
  readonly addLabels?: readonly string[] | null | undefined;
  readonly removeLabels?: readonly string[] | null | undefined;
  readonly addMembers?: readonly EmailAddress[] | null | undefined;
  readonly removeMembers?: readonly EmailAddress[] | null | undefined;
}

/** Commands that append to the log: each is durable when it resolves. */
export function createCommands(visibility: Visibility, appender: Appender, limits: RateLimits, metrics: Metrics) {
  /** Appends a change of an existing conversation; it counts as a message for the rate limit. */
  async function change(operation: Operation, viewer: Viewer, command: Exclude<Command, { kind: 'send' }>) {
    await visibility.admit(operation, command.conversation, viewer);
    limits.messages(viewer.email, 1);
    return appender.write(command);
  }

  async function changeMessage(
    operation: Operation,
    viewer: Viewer,
    command: Extract<Command, { seq: Seq }>,
  ): Promise<MessageView> {
    const { messages, conversation } = await change(operation, viewer, command);
    const [message] = messages;
    if (!message) throw new Error(`${command.kind} returned no message`);
    return { ...message, conversation };
  }

  return {
    /** Stores the messages contiguously, all or none. */
    async send(viewer: Viewer, { to, messages, subject, party }: SendInput): Promise<Sent> {
      const started = performance.now();
      if (messages.length < 1 || messages.length > MAX_MESSAGES)
        throw badInput(`\`messages\` must hold 1 to ${MAX_MESSAGES} messages; got ${messages.length}.`);
      const drafts = messages.map(
        ({ text, clientId, ...options }): Draft => ({
          ...NO_OPTIONS,
          ...options,
          text: checkMessageText(text),
          clientId: checkOptional('clientId', clientId, 1, 64),
        }),
      );
      const clientIds = drafts.flatMap(({ clientId }) => clientId ?? []);
      if (new Set(clientIds).size < clientIds.length)
        throw badInput('Each `clientId` of a batch must be different; one is repeated.');
      const titles = {
        subject: checkOptional('subject', subject, 0, 200),
        party: checkOptional('party', party, 0, 64),
      };
      const key = to.key && checkOwnKey(viewer, to.key);
      const id = key ? conversationId(key) : requireId(to.id ?? '');
      await visibility.admit('sendMessage', id, viewer, key != null);
      limits.messages(viewer.email, drafts.length);
      const opening = key ? { ...key, ...titles } : null;
      const sent = await appender.write({ kind: 'send', conversation: id, viewer, opening, drafts });
      if (!sent.deduplicated) metrics.sent(drafts.length, performance.now() - started);
      return { ...sent, messages: sent.messages.map((message) => ({ ...message, conversation: sent.conversation })) };
    },

    /** Replaces the text of the viewer's own message, if its `rev` is `expectedRev`. */
    async editMessage(
      viewer: Viewer,
      conversation: string,
      { seq, text, expectedRev }: { seq: Seq; text: string; expectedRev?: Rev | null | undefined },
    ): Promise<MessageView> {
      const target = { conversation: requireId(conversation), viewer, seq, expectedRev: expectedRev ?? null };
      return changeMessage('editMessage', viewer, { kind: 'edit', ...target, text: checkMessageText(text) });
    },

    /** Erases the texts of a message. */
    async redactMessage(
      viewer: Viewer,
      conversation: string,
      { seq, reason }: { seq: Seq; reason: string },
    ): Promise<MessageView> {
      checkName('reason', checkText('reason', reason, 1, 500));
      const target = { conversation: requireId(conversation), viewer, seq, reason };
      return changeMessage('redactMessage', viewer, { kind: 'redact', ...target });
    },

    /** Changes a conversation for all members; an update that changes nothing writes nothing. */
    async updateConversation(viewer: Viewer, conversation: string, input: UpdateInput): Promise<Conversation> {
      const [addMembers, removeMembers] = [distinct(input.addMembers), distinct(input.removeMembers)];
      const [addLabels, removeLabels] = [checkLabels(input.addLabels), checkLabelLengths(input.removeLabels)];
      requireDisjoint('members', addMembers, removeMembers);
      requireDisjoint('labels', addLabels, removeLabels);
      const { conversation: after } = await change('updateConversation', viewer, {
        ...{ kind: 'update', conversation: requireId(conversation), viewer },
        ...{ status: input.status ?? null, assignee: input.assignee },
        ...{ addLabels, removeLabels, addMembers, removeMembers },
      });
      return after;
    },
  };
}

function distinct(emails: readonly EmailAddress[] | null | undefined): EmailAddress[] {
  return [...new Set(emails ?? [])];
}

function requireDisjoint(name: string, added: readonly string[], removed: readonly string[]): void {
  const removing = new Set(removed);
  if (added.some((one) => removing.has(one)))
    throw badInput(`The ${name} to add must differ from those to remove; one is in both lists.`);
}
